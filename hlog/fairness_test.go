package hlog

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// One updater sleeps in its callback; others hammer the same key. It must get through, and nothing is lost.
func TestRMW_SlowCallbackIsNotStarved(t *testing.T) {
	s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key := []byte("hot")
	var stop atomic.Bool
	var fast atomic.Uint64
	inc := func(old []byte) []byte {
		if old == nil {
			old = make([]byte, 8)
		}
		binary.LittleEndian.PutUint64(old, binary.LittleEndian.Uint64(old)+1)
		return old
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			x := s.NewSession()
			defer x.Close()
			for !stop.Load() {
				if err := x.RMW(key, inc); err != nil {
					t.Error(err)
					return
				}
				fast.Add(1)
			}
		})
	}
	const slow = 3
	x := s.NewSession()
	for range slow {
		err := x.RMW(key, func(old []byte) []byte {
			testkit.Pause(100 * time.Microsecond)
			return inc(old)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	got, err := s.Get(nil, key)
	if err != nil || binary.LittleEndian.Uint64(got) != fast.Load()+slow {
		t.Fatalf("counted %d, %v, want %d", binary.LittleEndian.Uint64(got), err, fast.Load()+slow)
	}
	if control(s.control.Load()).contended() {
		t.Fatal("the contended bit is still set")
	}
}
