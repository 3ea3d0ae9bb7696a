package hlog

import (
	"context"
	"fmt"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
)

// Change is what has become of a key from one version to another. Key and Value are valid until the function that they are
// given to returns, and must not be changed.
type Change struct {
	Key     []byte
	Value   []byte // in the later version; nil when Deleted
	Deleted bool   // the key has no value there
}

// Changes calls fn for every key whose state in version to is another than in version from: once, in no particular order,
// until fn returns false. A key that has been written and has its old value again has not changed. Version 0 as from is the
// empty state, as to the current version. Neither need be an ancestor of the other: rollbacks between them are undone like
// any change. Whoever holds the state of from and applies all changes holds the state of to.
//
// The time it takes follows the log and the cold files (Options.ColdAfter) that only one of the two versions has: what was
// written since, and what compaction, demotions and merges have moved. It needs some MiB of memory, and what a View needs of
// each version. Writers, checkpoints, compaction and purges go on meanwhile. fn may use
// the store, but must not close it.
//
// ErrVersionNotFound when there is no such version (one that only the remote has is fetched), before fn is called; ErrCorrupt
// when log or index of one is damaged; ErrClosed when the store is closed meanwhile; the error of ctx.
func (s *Store) Changes(ctx context.Context, from, to checkpoint.Version, fn func(Change) bool) error {
	var old *View
	if from != 0 {
		w, err := s.OpenVersion(ctx, from)
		if err != nil {
			return err
		}
		defer w.Close()
		old = w
	}
	w, err := s.OpenVersion(ctx, to)
	if err != nil {
		return err
	}
	defer w.Close()
	return w.changes(ctx, old, fn)
}

// Changes is Store.Changes for versions that are open: it calls fn for every key whose state in the view is another than in
// from, nil for the empty state. Nothing can have purged what a view shows: whoever keeps the view of the version that was
// applied last, and asks the next one for its changes, misses none.
//
// Both may have been opened on a remote (OpenRemote, Follower.View): then what only one of them has is read from there, and
// kept in memory as far as the views have it.
//
// ErrOtherStore when from is a view of another Store, or of a remote with another history, or one of the two is on a remote and
// the other is not; ErrVersionNotFound when one was purged from the remote: all that before fn is called. Views of a store keep
// what they show. Those on a remote cannot, since nobody there knows of them: when one of the two is purged meanwhile, that is
// ErrVersionNotFound, too, after fn was called for some of the changes. ErrClosed when one of the views, or the store, is closed
// or is closed meanwhile; ErrRemote; ErrCorrupt; the error of ctx. Whenever there is an error, what fn was told is right, and
// not all. fn must not close the views.
func (w *View) Changes(ctx context.Context, from *View, fn func(Change) bool) error {
	if w.remote != nil {
		return w.changesOnRemote(ctx, from, fn)
	}
	if from != nil && from.s != w.s {
		return fmt.Errorf("%w: the versions whose changes are asked for", ErrOtherStore)
	}
	return w.changes(ctx, from, fn)
}

// changes is Changes for a view that is in the same place: both in the directory of a store, or both on a remote.
func (w *View) changes(ctx context.Context, from *View, fn func(Change) bool) error {
	if err := w.start(); err != nil {
		return err
	}
	defer w.end()
	var old *view.Version
	if from != nil {
		if err := from.start(); err != nil {
			return err
		}
		defer from.end()
		old = &from.version
	}
	return w.version.Changes(ctx, old, func(c view.Change) bool { return fn(Change(c)) })
}
