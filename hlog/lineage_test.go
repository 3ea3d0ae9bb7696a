package hlog

import (
	"context"
	"errors"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// A version ends in a stretch that holds a record of the next one, which a rollback undoes. A store that opens at an
// older version counts log versions on from there, so that a version with nothing of its own, made after going back to
// the first, may have the very same log version. What the rollback undid must not come back with that one's child.
func TestRestore_UndoneFuzzyEndStaysUndone(t *testing.T) {
	ctx := context.Background()
	o := tiny()
	s := mustOpen(t, "/store", o)
	first := commit(t, s)
	must(t, s.Set(key8(1), key8(1)))
	commit(t, s)
	g := s.epochs.Register()
	g.Enter() // an operation of the old version that takes its time
	p, err := s.BeginCheckpoint()
	must(t, err)
	must(t, s.Set(key8(1), key8(3))) // of the next version, and below the cut
	must(t, s.Set(key8(2), key8(3)))
	g.Exit()
	_, err = p.Wait(ctx)
	must(t, err)
	fuzzy := p.Version()
	_, err = s.Restore(ctx, first)
	must(t, err)
	must(t, s.Close())

	s = mustOpen(t, "/store", o)
	_, err = s.Restore(ctx, fuzzy)
	must(t, err)
	versions := []checkpoint.Version{fuzzy, commit(t, s), commit(t, s), commit(t, s)}
	check := func(where string, g getter) {
		t.Helper()
		if v, err := g.Get(nil, key8(1)); err != nil || string(v) != string(key8(1)) {
			t.Errorf("%s: the changed key holds %x, %v, want %x", where, v, err, key8(1))
		}
		if v, err := g.Get(nil, key8(2)); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: the new key holds %x, %v", where, v, err)
		}
	}
	check("live", s)
	for _, v := range versions {
		w, err := s.OpenVersion(ctx, v)
		must(t, err)
		check("view of version "+v.String(), w)
		must(t, w.Close())
	}
	for _, v := range versions {
		_, err = s.Restore(ctx, first)
		must(t, err)
		_, err = s.Restore(ctx, v)
		must(t, err)
		check("version "+v.String()+" restored", s)
	}
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	check("reopened", s)
}
