package fuzz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// match compares a store that was just opened with what may be found, and returns the current version, nil if there is
// none, and all versions. It looks at the list only, not at the states.
func (o *Outcome) match(s *hlog.Store) (current *entry, found map[Version]*entry, err error) {
	infos, err := s.Versions()
	if err != nil {
		return nil, nil, err
	}
	found = map[Version]*entry{}
	var unnamed *entry
	for _, i := range infos {
		e := o.must[i.Version]
		if e == nil {
			e = o.may[i.Version]
		}
		if e == nil && o.unnamed != nil && unnamed == nil {
			u := *o.unnamed
			u.id = i.Version
			e, unnamed = &u, &u
		}
		switch {
		case e == nil:
			return nil, nil, disagree("version %d should not be there", i.Version)
		case !e.mayHave(i.Cookie):
			return nil, nil, disagree("version %d has cookie %x, want one of %x", i.Version, i.Cookie, e.cookies)
		case e.sure && i.Parent != e.parent:
			return nil, nil, disagree("version %d is a child of %d, want %d", i.Version, i.Parent, e.parent)
		case i.Current && current != nil:
			return nil, nil, disagree("versions %d and %d are both current", current.id, i.Version)
		}
		found[i.Version] = e
		if i.Current {
			current = e
		}
	}
	for id := range o.must {
		if found[id] == nil {
			return nil, nil, disagree("version %d is missing", id)
		}
	}
	return current, found, o.rightCurrent(current, unnamed)
}

func (o *Outcome) rightCurrent(current, unnamed *entry) error {
	id := Version(0)
	if current != nil {
		id = current.id
	}
	_, ok := o.current[id]
	switch {
	case unnamed != nil && current != unnamed:
		return disagree("opened at version %d, but there is the last one, %d", id, unnamed.id)
	case unnamed == nil && o.changed:
		return disagree("the version that closing made is missing; opened at %d", id)
	case unnamed == nil && !ok:
		return disagree("opened at version %d, want one of %v", id, slices.Sorted(maps.Keys(o.current)))
	}
	return nil
}

// Depth is how much of a recovered store is looked at.
type Depth int

const (
	// Shallow compares the versions that are listed and the whole state of the current one.
	Shallow Depth = iota
	// Versions compares the whole state of every version, by views.
	Versions
	// Deep also goes back to every version, goes on from there, commits, closes, opens again, and compares again.
	Deep
)

// Verify opens the store on disk, which it changes, and compares it with what may be found there.
func Verify(disk fsx.FS, opts hlog.Options, o *Outcome, depth Depth) (err error) {
	opts.FS = disk
	opts.KeepVersions = 1 << 20 // retention would take away what is compared
	s, err := hlog.Open(storeDir, &opts)
	if smallPages(err, &opts) {
		s, err = hlog.Open(storeDir, &opts)
	}
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, s.Close())
		}
	}()
	cur, found, err := o.match(s)
	if err != nil {
		return err
	}
	state := State{}
	if cur != nil {
		state = cur.state
	}
	if err := checkState(s, state); err != nil {
		return fmt.Errorf("recovered version %d: %w", idOf(cur), err)
	}
	if depth == Shallow {
		return nil
	}
	if err := verifyViews(s, found); err != nil || depth == Versions {
		return err
	}
	expect, err := verifyOn(s, cur, found)
	if err != nil {
		return err
	}
	closed = true
	if err := s.Close(); err != nil {
		return err
	}
	if err := Verify(disk, opts, expect, Versions); err != nil {
		return fmt.Errorf("going on after recovery: %w", err)
	}
	return nil
}

func idOf(e *entry) Version {
	if e == nil {
		return 0
	}
	return e.id
}

// verifyViews compares each version by a view, and what the newest has changed against the oldest.
func verifyViews(s *hlog.Store, found map[Version]*entry) error {
	ids := slices.Sorted(maps.Keys(found))
	for _, id := range ids {
		w, err := s.OpenVersion(context.Background(), id)
		if err == nil {
			err = errors.Join(checkState(w, found[id].state), w.Close())
		}
		if err != nil {
			return fmt.Errorf("view of version %d: %w", id, err)
		}
	}
	if len(ids) < 2 {
		return nil
	}
	from, to := ids[0], ids[len(ids)-1]
	if err := checkChanges(s, from, to, found[from].state, found[to].state); err != nil {
		return fmt.Errorf("changes from version %d to %d: %w", from, to, err)
	}
	return nil
}

// verifyOn goes on from every version and returns what the directory must hold then.
func verifyOn(s *hlog.Store, cur *entry, found map[Version]*entry) (*Outcome, error) {
	ctx := context.Background()
	m := NewModel()
	m.adopt(cur, maps.Clone(found))
	m.seq = 1 << 40
	goOn := func() error {
		for i := range 6 {
			m.seq++
			k, v := Key(int(m.seq*7)%wideKeys), Value(m.seq, 300*i)
			if err := s.Set(k, v); err != nil {
				return err
			}
			m.live[string(k)] = string(v)
		}
		if err := s.Delete(Key(5)); err != nil {
			return err
		}
		delete(m.live, string(Key(5)))
		m.begin(0, "")
		info, err := s.Checkpoint(ctx)
		if err != nil {
			return err
		}
		if info.Version <= m.maxID {
			return disagree("version %d comes after %d", info.Version, m.maxID)
		}
		m.named(info.Version)
		m.committed()
		return nil
	}
	if err := goOn(); err != nil {
		return nil, fmt.Errorf("going on after recovery: %w", err)
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		_, err := s.Restore(ctx, id)
		if errors.Is(err, hlog.ErrOptions) && s.Metrics().PageBytes < largestRecord {
			continue // the pages that were asked for are smaller than a record of that version
		}
		if err != nil {
			return nil, fmt.Errorf("restore of version %d after recovery: %w", id, err)
		}
		m.restored(id)
		if err := checkState(s, m.live); err != nil {
			return nil, fmt.Errorf("version %d restored after recovery: %w", id, err)
		}
	}
	if err := goOn(); err != nil {
		return nil, fmt.Errorf("going on after a restore: %w", err)
	}
	err := checkState(s, m.live)
	m.begin(0, "") // closing may commit what compaction has moved
	return m.outcome(), err
}
