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
// that use the remote take turns. One process at a time may change a store's remote.
//
//	M1  A version's object is put after everything it names was put: a version that is there is whole.
//	M2  A piece is taken to be there only if a version names it or its last byte was just read; else it is put again.
//	M3  Log that a version on the remote has is not sent again for another one if the two have a history in common,
//	    which their checksums prove (see Mirror.ours).
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

	turn     chan struct{} // holds one token; whoever took it may use the remote and what follows
	attached bool
	lists    map[uint64][]piece // decoded lists, by name
	loose    map[string]bool    // pieces that an interrupted upload may have left; nil = not looked yet
	doubtful map[Version]bool   // fetches that have failed to sync, and were not repeated (M6)
	segments *fsx.Names         // of segments that were fetched into

	mu      lock.Mutex[lock.Mirror] // guards what follows
	known   map[Version]*replica
	damaged map[Version]error // versions whose objects could not be read
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
		lists: make(map[uint64][]piece), doubtful: make(map[Version]bool), known: make(map[Version]*replica), damaged: make(map[Version]error),
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

// attach claims the remote for the store, or finds out that it is another's, and reads what versions it has.
func (m *Mirror) attach(ctx context.Context) error {
	if !m.dir.readOnly {
		err := m.retry(ctx, func() error {
			_, err := m.remote.PutIfAbsent(ctx, storeName, encodeIdentity(m.dir.id))
			return err
		})
		if err != nil {
			return err
		}
	}
	var id Identity
	err := m.retry(ctx, func() (err error) {
		id, err = RemoteIdentity(ctx, m.remote)
		return err
	})
	if err != nil {
		return err
	}
	if id != m.dir.id {
		return fmt.Errorf("%w: it holds %x, this is %x", ErrStoreMismatch, id.StoreID, m.dir.id.StoreID)
	}
	return m.refresh(ctx)
}

// refresh reads the versions of the remote that are not known yet: those that a listing shows, and those that the
// local directory suggests in case the listing is late.
func (m *Mirror) refresh(ctx context.Context) error {
	candidates := make(map[Version]bool)
	objects, err := m.listObjects(ctx, m.names.versions())
	if err != nil {
		return err
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
	for _, v := range slices.Sorted(maps.Keys(candidates)) {
		m.mu.Lock()
		known := m.known[v] != nil
		m.mu.Unlock()
		if known {
			continue
		}
		if _, err := m.load(ctx, v); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	return nil
}

// load reads the object of a version and keeps what it says. fs.ErrNotExist when there is none.
func (m *Mirror) load(ctx context.Context, v Version) (*replica, error) {
	var r *replica
	name := m.names.version(v)
	err := m.retry(ctx, func() error {
		data, err := getAll(ctx, m.remote, name, maxRemoteManifest)
		if err == nil {
			r, err = decodeReplica(name, data)
		}
		if err == nil && (r.m.Version != v || r.m.StoreID != m.dir.id.StoreID) {
			err = corrupt(name, 0, "holds version %d of store %x", r.m.Version, r.m.StoreID)
		}
		return err
	})
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

// forget drops what is known of a version that is on the remote no more.
func (m *Mirror) forget(v Version) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, v)
	delete(m.damaged, v)
}

// versions returns what is known of the remote, by id.
func (m *Mirror) versions() []*replica {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*replica
	for _, v := range slices.Sorted(maps.Keys(m.known)) {
		all = append(all, m.known[v])
	}
	return all
}

// Known returns the versions that are known to be on the remote, oldest first: those that it had when it was first
// used, and what was done since. It does no I/O.
func (m *Mirror) Known() []Version {
	var ids []Version
	for _, r := range m.versions() {
		ids = append(ids, r.m.Version)
	}
	return ids
}

// Missing returns the local versions that are not known to be on the remote, oldest first. It does no I/O.
func (m *Mirror) Missing() []Version {
	var missing []Version
	for _, info := range m.dir.Versions() {
		m.mu.Lock()
		r := m.known[info.Version]
		m.mu.Unlock()
		if r == nil || r.sum != m.dir.sum(info.Version) {
			missing = append(missing, info.Version)
		}
	}
	return missing
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
	name := m.names.list(l.sum)
	err := m.retry(ctx, func() error {
		data, err := getAll(ctx, m.remote, name, maxList)
		if errors.Is(err, fs.ErrNotExist) {
			return corrupt(name, 0, "missing")
		}
		if err != nil {
			return err
		}
		pieces, err := decodeList(name, data)
		if err == nil && sealSum(data) != l.sum {
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
		final := errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrFormat)
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
