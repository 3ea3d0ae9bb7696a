package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
)

// A reader that begins takes two guesses of where the sequence ends, and believes neither (J10): HINT, and a listing of the
// entries. It waits for four answers of the remote, whatever they are like, before it has what describes a version: STORE and
// HINT; SEQUENCE, the entry that the hint names and those around it; if these show that the hint is old or not of this sequence,
// the entries from the newest snapshot on that the listing shows, which was asked for meanwhile; the witness of J3, and the
// version's object. Where neither is of use the sequence is searched by gets alone (findEnd).

// maxListed bounds the entries that are got because of a listing.
const maxListed = 8 * snapshotEvery

// seek returns what the sequence comes to; nil when neither the hint, if there is one, nor a listing leads to its end. What is
// damaged where they lead may be of no consequence: who searches finds out.
func (r *RemoteReader) seek(ctx context.Context, hint *remoteState) (*remoteState, error) {
	s, err := r.guess(ctx, hint)
	if errors.Is(err, ErrCorrupt) {
		return nil, nil
	}
	return s, err
}

func (r *RemoteReader) guess(ctx context.Context, hint *remoteState) (*remoteState, error) {
	listing := r.listEntries(ctx)
	defer listing.end()
	var root *remoteState
	calls := []func() error{func() (err error) {
		root, err = r.m.readRoot(ctx)
		return err
	}}
	var entries []found
	untrimmed := false
	if hint != nil {
		calls = append(calls, func() (err error) {
			entries, err = r.m.getEntries(ctx, hint.root, hint.last, hint.last+firstLook)
			return err
		}, func() (err error) {
			untrimmed, err = r.m.untrimmed(ctx, hint)
			return err
		})
	}
	if err := together(calls...); root == nil || err != nil {
		return nil, err
	}
	var s *remoteState
	more := true
	if hint != nil && hint.root == root.root && hint.is(entries[0]) {
		s = hint.clone()
		useless := false
		if more, useless = s.join(entries[1:]); useless || !more && !untrimmed {
			s = nil // those behind it were removed long ago
		}
	}
	if more || s == nil {
		var err error
		if s, err = r.jump(ctx, root, s, listing.await(r.m.names, root.root)); s == nil || err != nil {
			return nil, err
		}
	}
	// The entry that would have been removed before the one that was not found is looked for after that (J3).
	genuine := false
	err := together(func() (err error) {
		genuine, err = r.nothingRemoved(ctx, s)
		return err
	}, func() error {
		if r.sequence() == nil { // nobody has anything of it yet
			r.loadEarly(ctx, s)
		}
		return nil
	})
	if !genuine || err != nil {
		return nil, err
	}
	return s, nil
}

// is reports whether the last entry that s comes to is this one.
func (s *remoteState) is(f found) bool {
	return f.e != nil && f.sum == s.lastSum && f.e.prev == s.before && f.e.base == s.base
}

// join adds entries that come next, up to the first that is missing; more tells that none is. useless tells that one does not
// follow the one before it: s is not of this sequence, or entries that it needs have been removed.
func (s *remoteState) join(next []found) (more, useless bool) {
	for _, f := range next {
		if f.e == nil {
			return false, false
		}
		if f.e.prev != s.lastSum {
			return false, true
		}
		s.apply(f.e, f.sum)
	}
	return true, false
}

// jump returns what the sequence comes to up to the first entry that is missing, where a listing says that it ends: from the
// newest snapshot on, or from s on, unless that is nil, if this is nearer. It is nil when it cannot be told so.
func (r *RemoteReader) jump(ctx context.Context, root, s *remoteState, l shownEnd) (*remoteState, error) {
	from := max(l.base, 1)
	on := s != nil && (s.last >= from || l.last <= s.last)
	if on {
		from = s.last + 1
	}
	last := max(l.last, from-1)
	if last-from >= maxListed && last >= from {
		return nil, nil
	}
	entries, err := r.m.getEntries(ctx, root.root, from, last+firstLook/2)
	if err != nil {
		return nil, err
	}
	for !on {
		n := last - from // of what was listed
		if last < from { // SEQUENCE is all there is
			s = root.clone()
			break
		}
		if entries[n].e == nil {
			return nil, nil
		}
		if base := max(entries[n].e.base, 1); base < from { // what looked like a snapshot is none
			if from-base > maxListed {
				return nil, nil
			}
			before, err := r.m.getEntries(ctx, root.root, base, from-1)
			if err != nil {
				return nil, err
			}
			entries, from = append(before, entries...), base
			continue
		}
		if s, _, err = r.m.fold(root, from, entries[n].e.base, entries[:n+1]); s == nil || err != nil {
			return nil, err
		}
		entries = entries[n+1:]
		break
	}
	if useless, err := r.readOn(ctx, s, entries); useless || err != nil {
		return nil, err
	}
	return s, nil
}

// shownEnd is what a listing shows of a sequence: its last entry, and the newest of the size of a snapshot; 0 when none does.
type shownEnd struct{ base, last uint64 }

// listing is one of all entries that is under way.
type listing struct {
	objects chan []Object
	cancel  context.CancelFunc
}

// listEntries lists entries for whoever awaits it, if anybody does.
func (r *RemoteReader) listEntries(ctx context.Context) *listing {
	limit := r.opts.Timeout
	if limit < 0 {
		limit = math.MaxInt64
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	l := &listing{make(chan []Object, 1), cancel}
	go func() {
		objects, err := r.m.remote.List(ctx, r.m.names.entries())
		if err != nil {
			objects = nil // as if nothing were shown: the entries are found without
		}
		l.objects <- objects
		close(l.objects)
	}()
	return l
}

// end ends it, and waits for that.
func (l *listing) end() {
	l.cancel()
	for range l.objects {
	}
}

// await returns what is shown of a sequence.
func (l *listing) await(names names, root uint64) (found shownEnd) {
	prefix := strings.TrimSuffix(names.entry(root, 0), fmt.Sprintf("%016x", 0))
	for _, o := range <-l.objects {
		name, ok := strings.CutPrefix(o.Name, prefix)
		if !ok {
			continue
		}
		n, ok := parseName(name, "", entryDigits)
		if !ok {
			continue
		}
		found.last = max(found.last, n)
		if least := o.Size - snapshotBytes; least >= 0 && least%standBytes == 0 {
			found.base = max(found.base, n)
		}
	}
	return found
}

// nothingRemoved is Mirror.nothingRemoved for a state that is not the mirror's, in one round trip.
func (r *RemoteReader) nothingRemoved(ctx context.Context, s *remoteState) (bool, error) {
	still := false
	calls := []func() error{func() (err error) {
		still, err = r.m.untrimmed(ctx, s)
		return err
	}}
	root := s
	if s.last+1 < farEntry {
		calls = append(calls, func() (err error) {
			root, err = r.m.readRoot(ctx)
			return err
		})
	}
	err := together(calls...)
	return still && root != nil && root.root == s.root, err
}

// loadEarly reads what describes the version that is going to be opened first.
func (r *RemoteReader) loadEarly(ctx context.Context, s *remoteState) {
	v := r.opts.Version
	if v == 0 {
		v = s.head
	}
	if st, ok := s.versions[v]; ok {
		if c, err := r.m.loadStand(ctx, st); err == nil { // else whoever opens it finds out
			r.early[st] = c
		}
	}
}
