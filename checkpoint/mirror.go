package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// MirrorOptions are the settings of a Mirror. The zero value is usable.
type MirrorOptions struct {
	// PieceBytes is the size, in bytes, of the objects that longer stretches of log and images are cut into, and the
	// memory that a transfer takes. 0 = 4 MiB; at most 64 MiB.
	PieceBytes int
	// Attempts is how often a call of the remote is made before its error counts. 0 = 6.
	Attempts int
	// Backoff is the pause before the second attempt. Each further one waits twice as long, up to 5 s, plus or minus
	// a quarter. 0 = 50 ms.
	Backoff time.Duration
	// Epoch is the fencing token of the caller: a number that whoever takes the store over has a higher one of. Once a
	// mirror with a higher one has claimed the remote, this one fails with ErrFenced. 0: no token; it is fenced by any.
	Epoch uint64
	// Over lets a mirror of a directory that is another's (OpenOptions.Aside) move the head of a remote that is at a version
	// which that directory does not know: because it was rolled back from there and has purged it, or because somebody else has
	// gone on there. All versions of the remote stay. A store that has been writing there finds ErrDiverged.
	Over bool
	// Progress, unless nil, is told of each object that went up or came down, with its size in bytes.
	Progress func(name string, bytes int64)
}

func (o MirrorOptions) withDefaults() (MirrorOptions, error) {
	if o.PieceBytes == 0 {
		o.PieceBytes = 4 << 20
	}
	if o.Attempts == 0 {
		o.Attempts = 6
	}
	if o.Backoff == 0 {
		o.Backoff = 50 * time.Millisecond
	}
	if o.PieceBytes < 0 || o.PieceBytes > maxPiece || o.Attempts < 0 || o.Backoff < 0 {
		return o, fmt.Errorf("checkpoint: mirror: pieces of %d bytes (1 to %d), %d attempts, back-off %v",
			o.PieceBytes, maxPiece, o.Attempts, o.Backoff)
	}
	return o, nil
}

// Mirror keeps copies of the versions of one directory on one remote. Methods may be called from any goroutine; those
// that use the remote take turns. Several mirrors, of any processes, may meet on a remote: see J1 to J9 in the package
// comment. One that must not go on says so with ErrFenced or ErrDiverged, from then on to every change.
//
//	M1  A version's object is put after everything it names was put, and its entry last: a version that stands is whole.
//	M2  A piece is taken to be there only if a version names it that stands, or if its last byte was just read and this mirror
//	    has put it since its last claim, or others have before it and J6 lets it be named; else it is put again.
//	M3  Log that a version on the remote has is not sent again for another one if the two have a history in common,
//	    which their checksums prove (see Mirror.ours). Small pieces alone are put again, together with the log behind
//	    them (see Mirror.absorb), for the versions to come: those that name the old ones go on doing so.
//	M4  Nothing that came down is used before its checksum matched.
//	M5  An object is deleted only when no version names it; while a version's object cannot be read, none is.
//	M6  What a fetch finds in the directory counts as durable only if a version there has it, and every fetch that has
//	    failed to sync was repeated. Otherwise it is written again and given its name again, however right it is: the
//	    system may be showing what a sync that failed, perhaps of another process, has dropped (F5).
type Mirror struct {
	dir    *Dir
	remote Remote
	opts   MirrorOptions
	names  names

	turn       chan struct{} // holds one token; whoever took it may use the remote and what follows
	attached   bool
	format     uint32             // of the remote's STORE
	state      *remoteState       // what the sequence comes to, as far as it has been read
	inSync     bool               // its head is where this directory has put it, or found it (J4)
	claim      uint64             // number of this mirror's claim; 0: it has to claim before it puts anything
	generation uint64             // of new objects (J6)
	hinted     uint64             // number of the entry that HINT was last put for
	doubt      uint64             // nonce of an entry that moves the head and may stand or not; 0: none
	lists      map[uint64][]piece // decoded lists, by name
	loose      map[string]bool    // pieces that an interrupted upload has left since the claim
	left       map[string]uint64  // and those that others have left before it (leftBehind); nil: not looked for yet
	doubtful   map[Version]bool   // fetches that have failed to sync, and were not repeated (M6)
	segments   *fsx.Names         // of segments that were fetched into

	mu      lock.Mutex[lock.Mirror] // guards what follows
	there   map[Version]uint64      // versions that stand, and the checksums that end their manifests
	head    Version                 // the remote's
	known   map[Version]*replica    // of those that stand, what has been read
	damaged map[Version]error       // versions whose objects could not be read
	stopped error                   // ErrFenced or ErrDiverged (J5)
	sent    int64
}

// NewMirror returns the mirror of dir on remote. It does no I/O: the remote is first used, and claimed for this store,
// by the first method that needs it.
func NewMirror(dir *Dir, remote Remote, opts MirrorOptions) (*Mirror, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Mirror{
		dir: dir, remote: remote, opts: opts, names: namesOf(dir.id), turn: make(chan struct{}, 1), segments: fsx.NewNames(dir.fs, dir.LogPath()),
		state: &remoteState{}, lists: make(map[uint64][]piece), loose: make(map[string]bool), doubtful: make(map[Version]bool), known: make(map[Version]*replica), damaged: make(map[Version]error),
	}, nil
}

// begin takes the turn and makes sure that the remote is ours. end gives the turn back.
func (m *Mirror) begin(ctx context.Context) (end func(), err error) {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	end = func() { <-m.turn }
	if !m.attached {
		if err := m.attach(ctx); err != nil {
			end()
			return nil, err
		}
		m.attached = true
	}
	return end, nil
}

// attach makes the remote the store's, or finds out that it is another's, and reads what versions it has.
func (m *Mirror) attach(ctx context.Context) error {
	if err := m.identify(ctx); err != nil {
		return err
	}
	if err := m.resync(ctx); err != nil {
		return err
	}
	return again(ctx, func() error {
		_, err := m.versions(ctx)
		return err
	})
}

// identify makes sure that the remote is that of this store, and notes the format of its STORE. A remote that is nobody's
// becomes the store's; nothing is written to one that is its already, so that a remote that cannot be written to can be read.
func (m *Mirror) identify(ctx context.Context) (err error) {
	var id Identity
	read := func() error {
		return m.retry(ctx, func() (err error) {
			id, m.format, err = remoteIdentity(ctx, m.remote)
			return err
		})
	}
	err = read()
	if errors.Is(err, fs.ErrNotExist) && !m.dir.readOnly {
		err = m.retry(ctx, func() error {
			_, err := m.remote.PutIfAbsent(ctx, storeName, encodeIdentity(m.dir.id))
			return err
		})
		if err == nil {
			err = read()
		}
	}
	if errors.Is(err, ErrUnfinished) && !m.dir.readOnly {
		if err = m.complete(ctx, err); err == nil {
			err = read()
		}
	}
	if err == nil && id != m.dir.id {
		err = fmt.Errorf("%w: it holds %x, this is %x", ErrStoreMismatch, id.StoreID, m.dir.id.StoreID)
	}
	return err
}

// readOldLayout returns what a remote of an older release holds, which had no sequence: the versions that a listing shows,
// and those that the local directory suggests in case the listing is late. The newest counts as the head (J9).
func (m *Mirror) readOldLayout(ctx context.Context) (*remoteState, error) {
	candidates := make(map[Version]bool)
	objects, err := m.listObjects(ctx, m.names.versions())
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if n, ok := parseName(strings.TrimPrefix(o.Name, m.names.versions()), manifestSuffix, versionDigits); ok {
			candidates[Version(n)] = true
		}
	}
	for _, info := range m.dir.Versions() {
		candidates[info.Version] = true
		candidates[info.Parent] = true
	}
	delete(candidates, 0)
	s := &remoteState{versions: make(map[Version]stand)}
	for _, v := range slices.Sorted(maps.Keys(candidates)) {
		r, err := m.loadStand(ctx, stand{version: v})
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, ErrCorrupt): // it stands, but nobody can tell as what
			s.versions[v] = stand{version: v, sum: m.dir.sum(v)}
		case err != nil:
			return nil, err
		default:
			s.versions[v] = stand{version: v, sum: r.sum, parent: r.m.Parent, parentSum: r.m.ParentSum, object: r.object}
		}
		s.head = v
	}
	return s, nil
}

// load returns a version that stands, from its object. fs.ErrNotExist when there is none; errAgain when it stood, and
// others have purged it or put it anew.
func (m *Mirror) load(ctx context.Context, v Version) (*replica, error) {
	st, ok := m.state.versions[v]
	if !ok {
		return nil, fs.ErrNotExist
	}
	m.mu.Lock()
	r := m.known[v]
	m.mu.Unlock()
	if r != nil {
		return r, nil
	}
	r, err := m.loadStand(ctx, st)
	if errors.Is(err, fs.ErrNotExist) {
		if err := m.catchUp(ctx); err != nil {
			return nil, err
		}
		if m.state.versions[v] != st {
			return nil, errAgain
		}
		err = corrupt(m.names.version(v, st.generation), 0, "missing")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.damaged, v)
	switch {
	case err == nil:
		m.known[v] = r
	case errors.Is(err, ErrCorrupt):
		m.damaged[v] = err
	}
	return r, err
}

// loadStand reads the object of a version.
func (m *Mirror) loadStand(ctx context.Context, st stand) (r *replica, err error) {
	name := m.names.version(st.version, st.generation)
	err = m.retry(ctx, func() error {
		data, err := getAll(ctx, m.remote, name, maxRemoteManifest)
		if err == nil {
			r, err = decodeReplica(name, data)
		}
		if err == nil && (r.m.Version != st.version || r.m.StoreID != m.dir.id.StoreID) {
			err = corrupt(name, 0, "holds version %d of store %x", r.m.Version, r.m.StoreID)
		}
		if err == nil && st.object != 0 && (r.object != st.object || r.sum != st.sum) {
			err = corrupt(name, len(data)-sumBytes, "is another object than the sequence says")
		}
		return err
	})
	return r, err
}

// versions returns the versions that stand and can be read, by id.
func (m *Mirror) versions(ctx context.Context) ([]*replica, error) {
	var all []*replica
	for _, v := range slices.Sorted(maps.Keys(m.state.versions)) {
		r, err := m.load(ctx, v)
		if errors.Is(err, ErrCorrupt) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Known returns the versions that are known to be on the remote, oldest first: those that it had when it was last
// read, and what was done since. It does no I/O.
func (m *Mirror) Known() []Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.there))
}

// Missing returns the local versions that are not known to be on the remote, oldest first. It does no I/O.
func (m *Mirror) Missing() []Version {
	var missing []Version
	for _, info := range m.dir.Versions() {
		sum := m.dir.sum(info.Version)
		m.mu.Lock()
		there := m.there[info.Version]
		broken := m.damaged[info.Version] != nil
		m.mu.Unlock()
		if there == 0 || there != sum || broken {
			missing = append(missing, info.Version)
		}
	}
	return missing
}

// Due returns those of Missing that the remote is to have when it keeps so many versions: a version that would be the first
// to go again is not sent there.
func (m *Mirror) Due(keep int) []Version {
	missing := m.Missing()
	newest := map[Version]bool{}
	for _, v := range m.Known() {
		newest[v] = true
	}
	var current Version
	for _, info := range m.dir.Versions() {
		newest[info.Version] = true
		if info.Current {
			current = info.Version
		}
	}
	ids := slices.Sorted(maps.Keys(newest))
	kept := ids[max(0, len(ids)-max(keep, 1)):]
	return slices.DeleteFunc(missing, func(v Version) bool { return v != current && !slices.Contains(kept, v) })
}

// SentBytes returns the bytes that went to the remote since the mirror was made, repeated attempts not counted.
func (m *Mirror) SentBytes() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sent
}

// ours reports whether r lies in the history of the local directory, which proves that they hold the same bytes at the
// same addresses: the directory has the very same manifest, or one whose parent it is. child is a manifest that may
// no longer be listed.
func (m *Mirror) ours(r *replica, child *Manifest) bool {
	if r.sum == m.dir.sum(r.m.Version) || r.m.Version == child.Parent && r.sum == child.ParentSum {
		return true
	}
	for _, info := range m.dir.Versions() {
		if c, err := m.dir.Manifest(info.Version); err == nil && c.Parent == r.m.Version && c.ParentSum == r.sum {
			return true
		}
	}
	return false
}

// pieces returns all pieces of log that r names, ascending.
func (m *Mirror) pieces(ctx context.Context, r *replica) ([]piece, error) {
	all := slices.Clone(r.log)
	for _, l := range r.lists {
		list, err := m.list(ctx, l)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return sortPieces(all), nil
}

// list returns the pieces of a list.
func (m *Mirror) list(ctx context.Context, l listRef) ([]piece, error) {
	if pieces, ok := m.lists[l.sum]; ok {
		return pieces, nil
	}
	name := m.names.list(l)
	err := m.retry(ctx, func() error {
		data, err := getAll(ctx, m.remote, name, maxList)
		if errors.Is(err, fs.ErrNotExist) {
			return corrupt(name, 0, "missing")
		}
		if err != nil {
			return err
		}
		pieces, err := decodeList(name, data)
		if err == nil && envelopeSum(data) != l.sum {
			err = corrupt(name, len(data)-sumBytes, "is another list")
		}
		if err == nil {
			m.lists[l.sum] = pieces
		}
		return err
	})
	return m.lists[l.sum], err
}

// put sends an object.
func (m *Mirror) put(ctx context.Context, name string, data []byte) error {
	err := m.retry(ctx, func() error { return m.remote.Put(ctx, name, data) })
	if err == nil {
		m.count(name, len(data))
	}
	return err
}

func (m *Mirror) count(name string, n int) {
	m.mu.Lock()
	m.sent += int64(n)
	m.mu.Unlock()
	m.progress(name, n)
}

func (m *Mirror) progress(name string, n int) {
	if m.opts.Progress != nil {
		m.opts.Progress(name, int64(n))
	}
}

const maxPause = 5 * time.Second

// retry calls f until it succeeds, fails for good, has failed often enough, or ctx ends. Damage may have happened on
// the way, so that is tried again too.
func (m *Mirror) retry(ctx context.Context, f func() error) error {
	pause := m.opts.Backoff
	for attempt := 1; ; attempt++ {
		err := f()
		final := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrFormat) || errors.Is(err, errAgain) || errors.Is(err, errLate)
		if err == nil || final || ctx.Err() != nil || attempt >= m.opts.Attempts {
			return err
		}
		quarter := max(int64(pause/4), 1)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause + time.Duration(rand.Int64N(2*quarter)-quarter)):
		}
		pause = min(2*pause, maxPause)
	}
}
