package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
)

// errAgain: other entries have come in between, so that what was planned has to be planned anew.
var errAgain = errors.New("checkpoint: the remote has changed meanwhile")

// again calls f until it is not told to do so again.
func again(ctx context.Context, f func() error) error {
	for {
		err := f()
		if !errors.Is(err, errAgain) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// stop makes every change of the remote fail from now on (J5).
func (m *Mirror) stop(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped == nil {
		m.stopped = err
	}
	return m.stopped
}

// Stopped returns ErrFenced or ErrDiverged once this mirror will change the remote no more, nil before. It does no I/O.
func (m *Mirror) Stopped() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stopped
}

// mayWrite makes sure that the mirror may change the remote: no newer epoch is there, the head is where this directory
// has put it or found it, and there is a claim.
func (m *Mirror) mayWrite(ctx context.Context) error {
	if m.dir.readOnly {
		return ErrReadOnly
	}
	if err := m.Stopped(); err != nil {
		return err
	}
	if err := m.checkEpoch(); err != nil {
		return err
	}
	if !m.inSync {
		ours, err := m.headIsOurs(ctx)
		if err != nil {
			return err
		}
		switch {
		case ours:
		case m.dir.aside == nil:
			return m.stop(fmt.Errorf("%w: the remote's head is version %d, which this directory does not descend from", ErrDiverged, m.state.head))
		case !m.opts.Over:
			return m.stop(fmt.Errorf("%w: the remote's head is version %d, which is not here: it was purged here after a rollback, or somebody else has gone on there",
				ErrDiverged, m.state.head))
		default: // nothing moves if not all could follow
			for v, st := range m.state.versions {
				if sum := m.dir.sum(v); sum != 0 && sum != st.sum {
					return m.stop(sameStand(st, sum))
				}
			}
		}
		m.inSync = true
	}
	return m.putClaim(ctx)
}

// putClaim puts a claim, if there is none yet that counts, and begins the sequence, if there is none yet.
func (m *Mirror) putClaim(ctx context.Context) error {
	if m.state.root == 0 {
		if err := m.carryOver(ctx); err != nil {
			return err
		}
	}
	if m.format < sequenceFormat { // so that older releases keep away
		if err := m.put(ctx, storeName, encodeRemoteIdentity(m.dir.id)); err != nil {
			return err
		}
		m.format = sequenceFormat
	}
	if m.claim != 0 {
		return nil
	}
	e := &remoteEntry{kind: claimEntry, epoch: m.opts.Epoch}
	if err := m.put1(ctx, e); err != nil {
		return err
	}
	m.claim, m.generation = e.number, e.number
	clear(m.loose)
	m.left = nil
	return nil
}

// Claim claims the remote for the epoch of the options, before anything is read from it that counts: what stands then is the
// last that an older epoch has put. ErrFenced when a newer epoch has claimed it.
func (m *Mirror) Claim(ctx context.Context) error {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		err = again(ctx, func() error {
			if err := m.checkEpoch(); err != nil {
				return err
			}
			return m.putClaim(ctx)
		})
	}
	if err != nil {
		return fmt.Errorf("checkpoint: claim the remote: %w", err)
	}
	return nil
}

// checkEpoch returns ErrFenced once the remote has a newer epoch.
func (m *Mirror) checkEpoch() error {
	if m.state.epoch > m.opts.Epoch {
		return m.stop(fmt.Errorf("%w: epoch %d has claimed the remote, this is %d", ErrFenced, m.state.epoch, m.opts.Epoch))
	}
	return nil
}

// carryOver begins the sequence of a remote that has none, with the versions that it has (J9).
func (m *Mirror) carryOver(ctx context.Context) error {
	if err := m.identify(ctx); err != nil {
		return err
	}
	root := m.state.clone()
	root.root = rand.Uint64() | 1
	data := encodeRoot(root)
	err := m.retry(ctx, func() error {
		_, err := m.remote.PutIfAbsent(ctx, m.names.root(), data)
		return err
	})
	if err == nil {
		err = m.resync(ctx)
	}
	if err == nil && m.state.root == 0 {
		err = errAgain
	}
	return err
}

// put1 puts the next entry of the sequence. errAgain when others have put one there first, which has been read then.
func (m *Mirror) put1(ctx context.Context, e *remoteEntry) error {
	if err := m.Stopped(); err != nil {
		return err
	}
	s := m.state
	e.root, e.number, e.prev, e.base, e.claim = s.root, s.last+1, s.lastSum, s.base, m.claim
	switch e.kind {
	case claimEntry:
		e.claim = e.number
	case snapshotEntry:
		e.base, e.snapshot = e.number, s
	}
	if e.nonce == 0 {
		e.nonce = rand.Uint64()
	}
	data, name := encodeEntry(e), m.names.entry(e.root, e.number)
	err := m.retry(ctx, func() error {
		created, err := m.remote.PutIfAbsent(ctx, name, data)
		if err != nil || created {
			return err
		}
		there, err := getAll(ctx, m.remote, name, maxSequence)
		switch {
		case err != nil:
			return err
		case bytes.Equal(there, data): // the answer to an earlier attempt was lost
			return nil
		}
		return errAgain
	})
	if errors.Is(err, errAgain) || errors.Is(err, fs.ErrNotExist) {
		return m.readOn(ctx)
	}
	if err != nil {
		return err
	}
	genuine, err := m.nothingRemoved(ctx)
	if err != nil {
		return err
	}
	if !genuine {
		return m.readOn(ctx)
	}
	m.took(e, envelopeSum(data))
	m.count(name, len(data))
	return nil
}

// nothingRemoved reports whether nothing from the last known entry on has been removed from the sequence until now, so that
// the number behind it was free, or was taken, in earnest (J3).
func (m *Mirror) nothingRemoved(ctx context.Context) (bool, error) {
	s := m.state
	if still, err := m.untrimmed(ctx, s); !still || err != nil || s.last+1 >= farEntry {
		return still, err
	}
	root, err := m.readRoot(ctx)
	return root != nil && root.root == s.root, err
}

// untrimmed reports whether no entry behind the last one of s has been removed until now, if this is the sequence of s.
func (m *Mirror) untrimmed(ctx context.Context, s *remoteState) (bool, error) {
	n := s.last + 1
	if n < farEntry {
		far, _, err := m.getEntry(ctx, s.root, farEntry)
		return far == nil, err
	}
	w, sum, err := m.getEntry(ctx, s.root, witness(n))
	known := s.lastSum
	if witness(n) != s.last {
		known = s.before
	}
	return w != nil && sum == known, err
}

// took makes an entry of one's own part of what is known.
func (m *Mirror) took(e *remoteEntry, sum uint64) {
	next := m.state.clone()
	next.apply(e, sum)
	if e.nonce == m.doubt {
		m.doubt = 0
	}
	m.setState(next)
}

// setState replaces what is known of the sequence.
func (m *Mirror) setState(s *remoteState) {
	m.state = s
	m.mu.Lock()
	defer m.mu.Unlock()
	m.there = make(map[Version]uint64, len(s.versions))
	for v, st := range s.versions {
		m.there[v] = st.sum
	}
	maps.DeleteFunc(m.known, func(v Version, r *replica) bool { return m.there[v] != r.sum || s.versions[v].object != r.object })
	maps.DeleteFunc(m.damaged, func(v Version, _ error) bool { return m.there[v] == 0 })
	m.head = s.head
}

// readOn reads what others have put. It returns errAgain, or why this mirror must not go on (J5).
func (m *Mirror) readOn(ctx context.Context) error {
	if err := m.catchUp(ctx); err != nil {
		return err
	}
	if err := m.Stopped(); err != nil {
		return err
	}
	return errAgain
}

// catchUp reads the entries that have come since the last one that is known.
func (m *Mirror) catchUp(ctx context.Context) error {
	if m.state.root == 0 {
		return m.resync(ctx)
	}
	s := m.state.clone()
	for {
		e, sum, err := m.getEntry(ctx, s.root, s.last+1)
		if err != nil {
			return err
		}
		if e == nil {
			break
		}
		if e.prev != s.lastSum {
			return m.resync(ctx)
		}
		s.apply(e, sum)
	}
	genuine, err := m.nothingRemoved(ctx) // since the entry that was known before
	if err != nil {
		return err
	}
	if !genuine {
		return m.resync(ctx)
	}
	return m.meet(s)
}

// resync reads the sequence from its beginning.
func (m *Mirror) resync(ctx context.Context) error {
	s, err := m.readSequence(ctx)
	if err != nil {
		return err
	}
	if s == nil {
		if err = m.identify(ctx); err == nil && m.format >= sequenceFormat {
			err = corrupt(m.names.root(), 0, "missing")
		}
		if err == nil {
			s, err = m.readOldLayout(ctx)
		}
		if err != nil {
			return err
		}
	}
	return m.meet(s)
}

// meet is what the mirror makes of entries that it has not put in this call.
func (m *Mirror) meet(s *remoteState) error {
	old := m.state
	switch {
	case s.root != 0 && old.root == s.root && old.lastSum == s.lastSum && old.last == s.last:
		return nil
	case old.root != s.root && old.root != 0:
		m.inSync, m.attached = false, false // the remote was emptied, and perhaps made again: it is judged anew
	case m.inSync && s.epoch > m.opts.Epoch: // checkEpoch says so
	case m.inSync && old.headNonce != s.headNonce && s.headNonce != m.doubt:
		m.stop(fmt.Errorf("%w: somebody else has moved the remote's head to version %d", ErrDiverged, s.head))
	}
	if s.headNonce == m.doubt {
		m.doubt = 0
	}
	m.setState(s)
	m.claim = 0 // what others have put may be a purge: what is named from now on carries a later number (J6)
	clear(m.loose)
	m.left = nil
	if m.inSync {
		_ = m.checkEpoch() // it stops the mirror
	}
	return nil
}

// headIsOurs reports whether the remote's head is where this directory has put it, or found it (J4).
func (m *Mirror) headIsOurs(ctx context.Context) (bool, error) {
	s := m.state
	if s.head == 0 {
		return true, nil
	}
	mark, err := m.dir.readMark()
	if err != nil {
		return false, err
	}
	known := s.root != 0 && mark.root == s.root
	if known && (mark.synced == s.headNonce || mark.next == s.headNonce && mark.next != 0) {
		return true, nil
	}
	h, sum := s.versions[s.head], m.dir.sum(s.head)
	if sum != 0 && sum != h.sum {
		return false, nil
	}
	c := m.dir.Current()
	if c != nil && c.Version == s.head && sum == h.sum {
		return true, nil
	}
	if known || c == nil {
		return false, nil
	}
	if sum != 0 && m.dir.aside != nil {
		return true, nil // the directory has gone on from it, or was rolled back from it
	}
	return m.descends(ctx, c, h)
}

// descends reports whether a local version descends from one that the remote has: by the checksums of parents, or because
// the log that the latter has added is here byte for byte (V9).
func (m *Mirror) descends(ctx context.Context, c *Manifest, from stand) (bool, error) {
	for p := c; p.Version > from.version; {
		if p.Parent == from.version {
			return p.ParentSum == from.sum, nil
		}
		var err error
		if p, err = m.dir.Manifest(p.Parent); err != nil {
			break
		}
	}
	if c.Version <= from.version {
		return false, nil
	}
	r, err := m.load(ctx, from.version)
	if err != nil {
		return false, err
	}
	pieces, err := m.pieces(ctx, r)
	if err != nil {
		return false, err
	}
	var added ExtentSet
	added.Add(r.m.DeltaStart, r.m.Cut)
	want := Log(c.Extents)
	for _, p := range overlapping(pieces, &added) {
		if m.holds(p, &want) {
			return true, nil
		}
	}
	return false, nil
}

// moveTo puts an entry that moves the head. Before it the mark says so, so that this directory knows its own entry again.
func (m *Mirror) moveTo(ctx context.Context, e *remoteEntry) error {
	if m.doubt == 0 {
		m.doubt = rand.Uint64() | 1
	}
	e.nonce = m.doubt // until an entry with it stands, or is known not to
	if err := m.dir.writeMark(mark{root: m.state.root, synced: m.state.headNonce, next: e.nonce}); err != nil {
		return err
	}
	return m.put1(ctx, e)
}

// MoveHead moves the remote's head to the nearest ancestor of the local current version, itself included, that the remote
// has: a rollback becomes that of every machine. It reports whether the head is at the current version then. ErrFenced or
// ErrDiverged when the mirror must not.
func (m *Mirror) MoveHead(ctx context.Context) (current bool, err error) {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		if err = m.catchUp(ctx); err == nil { // the head may be elsewhere than where it was seen last
			err = m.Stopped()
		}
		if err == nil {
			err = again(ctx, func() error { return m.moveHead(ctx) })
		}
	}
	if err != nil {
		return false, fmt.Errorf("checkpoint: move the head of the remote: %w", err)
	}
	return m.HeadIsCurrent(), nil
}

// Follow is MoveHead for a mirror of a directory that is another's (OpenOptions.Aside), which brings the remote to where that
// directory is, its rollbacks included. A remote that has gone on from there stays as it is; one that has gone on from
// elsewhere is ErrDiverged. With MirrorOptions.Over both move.
func (m *Mirror) Follow(ctx context.Context) error {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		err = again(ctx, func() error {
			if !m.opts.Over && m.goneOn() {
				return nil
			}
			return m.moveHead(ctx)
		})
	}
	if err != nil {
		return fmt.Errorf("checkpoint: move the head of the remote: %w", err)
	}
	return nil
}

// goneOn reports whether the remote's head descends from the local current version, in a way that the directory has not.
func (m *Mirror) goneOn() bool {
	c := m.dir.Current()
	if c == nil || m.dir.sum(m.state.head) != 0 {
		return c == nil
	}
	st := m.state.versions[m.state.head]
	for st.parent > c.Version {
		parent, ok := m.state.versions[st.parent]
		if !ok || parent.sum != st.parentSum {
			return false
		}
		st = parent
	}
	return st.parent == c.Version && st.parentSum == m.dir.sum(c.Version)
}

// HeadIsCurrent reports whether the remote's head, as far as it is known, is the local current version. It does no I/O.
func (m *Mirror) HeadIsCurrent() bool {
	c := m.dir.Current()
	if c == nil {
		return true
	}
	sum := m.dir.sum(c.Version)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.head == c.Version && m.there[c.Version] == sum
}

func (m *Mirror) moveHead(ctx context.Context) error {
	if m.HeadIsCurrent() && m.Stopped() == nil {
		return nil
	}
	if err := m.mayWrite(ctx); err != nil {
		return err
	}
	near := m.nearest(m.dir.Current())
	if near == 0 || near == m.state.head {
		return nil
	}
	return m.moveTo(ctx, &remoteEntry{kind: headEntry, head: near})
}

// nearest returns the nearest ancestor of a local version, itself included, that the remote has, 0 when none is known.
func (m *Mirror) nearest(c *Manifest) Version {
	for c != nil {
		if st, ok := m.state.versions[c.Version]; ok && st.sum == m.dir.sum(c.Version) {
			return c.Version
		}
		if st, ok := m.state.versions[c.Parent]; ok && st.sum == c.ParentSum {
			return c.Parent
		}
		c, _ = m.dir.Manifest(c.Parent)
	}
	return 0
}

// leadsTo reports whether v is the local current version or one of its ancestors.
func (m *Mirror) leadsTo(v Version) bool {
	for c := m.dir.Current(); c != nil && c.Version >= v; c, _ = m.dir.Manifest(c.Parent) {
		if c.Version == v {
			return true
		}
	}
	return false
}

// purge puts a purge entry. Versions that it names are gone when it returns nil.
func (m *Mirror) purge(ctx context.Context, gone []Version) error {
	e := &remoteEntry{kind: purgeEntry, gone: gone}
	if err := m.put1(ctx, e); err != nil {
		return err
	}
	m.generation, m.left = e.number, nil // J6
	return nil
}

// tidySequence puts a snapshot when it is due, and removes entries that no reader needs any more. What fails is done
// another time.
func (m *Mirror) tidySequence(ctx context.Context) error {
	s := m.state
	if s.last-s.base < min(max(snapshotEvery, uint64(len(s.versions)/snapshotShare)), snapshotMost) {
		return nil
	}
	below := s.base // readers that are under way read from there on
	if below >= firstTrim {
		trimmed, err := m.trim(ctx, s.trimmed, below)
		if err != nil {
			return err
		}
		next := s.clone()
		next.trimmed = trimmed
		m.state = next
	}
	return m.put1(ctx, &remoteEntry{kind: snapshotEntry})
}

// maxTrim bounds the entries that are removed at a time: more than ever come between two snapshots, so that what was left is
// made up for.
const maxTrim = 2 * snapshotMost

// trim removes entries, in order, those that were kept before included (J8), and returns up to where.
func (m *Mirror) trim(ctx context.Context, from, below uint64) (uint64, error) {
	below = min(below, from+maxTrim)
	var doomed []uint64
	for low := range uint64(64) { // kept below from
		if n := from >> low << low; n > 0 && n < from && !keptEntry(n, below) {
			doomed = append(doomed, n)
		}
	}
	slices.Sort(doomed)
	for n := max(from, 3); n < below; n++ {
		if !keptEntry(n, below) {
			doomed = append(doomed, n)
		}
	}
	for _, n := range slices.Compact(doomed) {
		if err := m.deleteObject(ctx, m.names.entry(m.state.root, n)); err != nil {
			return from, err
		}
	}
	return below, nil
}
