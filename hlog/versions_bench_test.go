package hlog

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
)

// BenchmarkCheckpoint commits versions of one change each, beside so many that are kept. What it takes must not follow their
// number.
func BenchmarkCheckpoint(b *testing.B) {
	for _, versions := range []int{10, 1000, 3000} {
		b.Run(fmt.Sprintf("versions=%d", versions), func(b *testing.B) {
			s, err := Open(b.TempDir(), &Options{MemoryBytes: 16 << 20, KeepVersions: versions})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			n := uint64(0)
			commit := func() {
				n++
				key := binary.BigEndian.AppendUint64(nil, n)
				if err := s.Set(key, key); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Checkpoint(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			for range versions {
				commit()
			}
			b.ReportAllocs()
			for b.Loop() {
				commit()
			}
			if infos, err := s.Versions(); err != nil || len(infos) < versions {
				b.Fatalf("%d versions, %v", len(infos), err)
			}
		})
	}
}
