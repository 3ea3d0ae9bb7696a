package hlog

import (
	"context"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// clearedEntry is a store in which compaction has dropped a tombstone whose index entry had lost tag bits in growth: it
// stands for two other keys as well, which entries with all their tag bits tell apart.
type clearedEntry struct {
	*Store
	t    *testing.T
	dir  string
	opts *Options
	keys [][]byte           // those two, which are absent
	then checkpoint.Version // the newest version, whose image has the entry
}

func withClearedEntry(t *testing.T) *clearedEntry {
	t.Helper()
	c := &clearedEntry{t: t, dir: t.TempDir(), opts: &Options{MemoryBytes: 64 << 20, PageBytes: 64 << 10, NoCompaction: true}}
	c.Store = mustOpen(t, c.dir, c.opts)
	of := c.hash(k8(1))
	for i := uint64(1 << 32); len(c.keys) < 2; i++ {
		h := mix(i, c.seed) // that of k8(i)
		if (h^of)&(1<<23-1) == 0 && (len(c.keys) == 0 || (h^c.hash(c.keys[0]))>>23&7 != 0) {
			c.keys = append(c.keys, k8(i))
		}
	}
	must(t, c.Set(k8(1), k8(1)))
	must(t, c.Delete(k8(1)))
	for i := uint64(1000); i < 12000; i++ {
		must(t, c.Set(k8(i), make([]byte, 1000)))
	}
	eventually(t, "the index to grow", func() bool { return c.index().Bits() >= 10 })
	commit(t, c.Store)
	must(t, c.disk.WriteRunsUpTo(c.current().Cut))
	c.then = commit(t, c.Store)
	must(t, c.Compact(context.Background()))
	return c
}

func (c *clearedEntry) reopen() {
	c.t.Helper()
	must(c.t, c.Close())
	c.Store = mustOpen(c.t, c.dir, c.opts)
}

// writeAfterRestore goes back to the version that has the entry, writes the two keys, and finds both, live and opened
// again.
func (c *clearedEntry) writeAfterRestore() {
	c.t.Helper()
	_, err := c.Restore(context.Background(), c.then)
	must(c.t, err)
	for _, k := range c.keys {
		must(c.t, c.Set(k, []byte("here")))
	}
	commit(c.t, c.Store)
	c.found("live")
	c.reopen()
	c.found("opened again")
}

func (c *clearedEntry) found(when string) {
	c.t.Helper()
	for _, k := range c.keys {
		if v, err := c.Get(nil, k); err != nil || string(v) != "here" {
			c.t.Errorf("%s: %q, %v", when, v, err)
		}
	}
}

// The entry that compaction has cleared does not come back among new ones.
func TestCompact_FreedEntryDoesNotComeBack(t *testing.T) {
	withClearedEntry(t).writeAfterRestore()
}

// Nor does it when the log begins above the tombstone by now, the store was opened again, and no newer image came in
// between.
func TestCompact_DroppedEntryDoesNotComeBack(t *testing.T) {
	c := withClearedEntry(t)
	commit(t, c.Store)
	c.reopen()
	c.writeAfterRestore()
}

// A key that is deleted, and whose tombstone leaves with the log, is back after a restore to where it was there: the log that
// is left tells nothing of it, so that the index has to be opened anew.
func TestCompact_ForgottenTombstoneIsUndone(t *testing.T) {
	o := tiny()
	o.NoCompaction, o.KeepVersions = true, 10
	s := mustOpen(t, "/store", o)
	must(t, s.Set(k8(1), []byte("one")))
	check := fillKeys(t, s, 300)
	then := commit(t, s)
	must(t, s.Delete(k8(1)))
	for range 3 {
		for k := range 300 {
			must(t, s.Set(key8(k), []byte("undone")))
		}
		commit(t, s)
		must(t, s.Compact(context.Background()))
		commit(t, s)
	}
	if s.compactor.forgotten(s.log.Begin()) == 0 {
		t.Fatal("no tombstone has left the log")
	}
	if _, err := s.Restore(context.Background(), then); err != nil {
		t.Fatal(err)
	}
	check(s.Get)
	if v, err := s.Get(nil, k8(1)); err != nil || string(v) != "one" {
		t.Errorf("%q, %v", v, err)
	}
}
