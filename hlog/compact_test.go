package hlog

import (
	"context"
	"testing"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// A tombstone has left the log with what was below it, but its index entry has not been freed yet, when the store is
// restored to a version in which the key is alive.
func TestRestore_BeforeEntriesOfDroppedTombstonesAreFreed(t *testing.T) {
	o := tiny()
	o.FS = &steppedFS{o.FS, step.New(1)} // nothing runs between a commit and a restore
	s := mustOpen(t, "/store", o)
	key := []byte("key")
	must(t, s.Set(key, []byte("alive")))
	v := commit(t, s)
	must(t, s.Delete(key))
	must(t, s.Set([]byte("other"), nil))
	commit(t, s)
	must(t, s.Compact(context.Background()))
	commit(t, s)
	if _, _, status := s.index().Find(s.hash(key)); status != index.Found {
		t.Fatal("the entry has been freed already: the test tests nothing")
	}
	_, err := s.Restore(context.Background(), v)
	must(t, err)
	if value, err := s.Get(nil, key); err != nil || string(value) != "alive" {
		t.Errorf("after the restore: %q, %v", value, err)
	}
}

// steppedFS is a file system on which a store does its background work step by step.
type steppedFS struct {
	fsx.FS
	work *step.Work
}

func (f *steppedFS) Work() *step.Work { return f.work }

// Housekeeping comes to an end while a compaction waits for the version that publishes it.
func TestCompact_OnceForAVersion(t *testing.T) {
	work, o := step.New(1), tiny()
	o.FS = &steppedFS{o.FS, work}
	s := mustOpen(t, "/store", o)
	for range 20 {
		for i := range 5000 {
			must(t, s.Set(key8(i), make([]byte, 8)))
		}
		commit(t, s)
		rounds := 0
		work.Until(func() bool { rounds++; return rounds > 1000 })
		if rounds > 1000 {
			t.Fatal("housekeeping does not end")
		}
	}
	if s.Metrics().ReclaimedBytes == 0 {
		t.Error("nothing was compacted")
	}
}

// A record is found to be the newest of its key; before it is moved, a newer one is written, or a tombstone, which is in
// memory or has left it again. The move must not cover it (K1).
func TestCompact_NewerRecordBeforeTheMove(t *testing.T) {
	for i := range 4 {
		newer, evicted := "newer", i%2 == 1
		if i >= 2 {
			newer = "" // it deletes
		}
		o := tiny()
		o.NoCompaction = true
		s := mustOpen(t, "/store", o)
		key := []byte("key")
		must(t, s.Set(key, []byte("old")))
		commit(t, s)
		evict(t, s)

		c := &compaction{picker: s.newPicker()}
		seen, err := c.leaves(key, 0)
		must(t, err)
		rec, sh, err := s.log.NewReader().Read(seen)
		must(t, err)
		if string(rec.Key(sh)) != string(key) {
			t.Fatalf("the chain leads to %q", rec.Key(sh))
		}
		if newer != "" {
			must(t, s.Set(key, []byte(newer)))
		} else {
			must(t, s.Delete(key))
		}
		if evicted {
			evict(t, s)
		}
		must(t, c.move(seen, seen, rec, sh))
		must(t, c.x.Close())
		if v, err := s.Get(nil, key); string(v) != newer || newer == "" && err != ErrNotFound {
			t.Errorf("after %q: %q, %v", newer, v, err)
		}
	}
}
