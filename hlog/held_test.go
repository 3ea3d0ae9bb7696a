package hlog

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
)

// While the store goes back to a version, the versions that it has gone on to since are purged. Log of theirs that the
// store's own log has no more, because it was compacted, still links the chains to where they were.
func TestRestore_VersionInBetweenIsPurgedMeanwhile(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	files := &readHookFS{FS: o.FS}
	o.FS = files
	s := mustOpen(t, "/store", o)
	ctx := context.Background()
	check := fillKeys(t, s, 500)
	first := commit(t, s)
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 512<<10) // a segment at least that only the next version has
	for k := range 500 {
		must(t, s.Set(key8(k), []byte("to be undone")))
	}
	spill(t, x, 512<<10)
	second := commit(t, s)
	must(t, s.Compact(ctx))
	commit(t, s)
	evict(t, s)
	var once atomic.Bool
	purged := make(chan error, 1)
	files.set(func(name string) {
		if strings.HasSuffix(name, ".seg") && !once.Swap(true) {
			go func() { purged <- s.Purge(ctx, second) }()
			eventually(t, "the purge and the collection", func() bool { return len(purged) > 0 })
		}
	})
	_, err := s.Restore(ctx, first)
	must(t, err)
	if !once.Load() {
		t.Fatal("the restore read nothing from disk")
	}
	files.set(nil)
	must(t, <-purged)
	check(s.Get)
}
