package hlog

import (
	"bytes"
	"context"
	"testing"
)

// A record that was written with larger pages than the store has now cannot be moved. Compaction ends before it.
func TestCompact_RecordLargerThanPage(t *testing.T) {
	o := tiny()
	o.PageBytes = 256 << 10
	s := mustOpen(t, "/store", o)
	small, large := []byte("small"), []byte("large")
	must(t, s.Set(small, small))
	must(t, s.Set([]byte("dead"), make([]byte, 100<<10)))
	must(t, s.Delete([]byte("dead")))
	must(t, s.Set(large, bytes.Repeat(large, 20<<10)))
	must(t, s.Close())
	o.PageBytes = MinPageBytes
	s = mustOpen(t, "/store", o)
	begin := s.log.begin.Load()
	within(t, "Compact", func() { must(t, s.Compact(context.Background())) })
	commit(t, s)
	if s.log.begin.Load() == begin {
		t.Error("nothing was compacted before the record")
	}
	check := func() {
		t.Helper()
		if v, err := s.Get(nil, large); err != nil || !bytes.Equal(v, bytes.Repeat(large, 20<<10)) {
			t.Errorf("large: %d bytes, %v", len(v), err)
		}
		if v, err := s.Get(nil, small); err != nil || !bytes.Equal(v, small) {
			t.Errorf("small: %q, %v", v, err)
		}
	}
	check()
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	check()
	must(t, s.Set(large, large)) // superseded: out of the way
	commit(t, s)
	within(t, "Compact", func() { must(t, s.Compact(context.Background())) })
	commit(t, s)
	if m := s.current(); s.log.begin.Load() < m.DeltaStart-uint64(MinPageBytes)*2 {
		t.Errorf("log begins at %d, the last delta at %d", s.log.begin.Load(), m.DeltaStart)
	}
	if v, err := s.Get(nil, large); err != nil || !bytes.Equal(v, large) {
		t.Errorf("large: %q, %v", v, err)
	}
}
