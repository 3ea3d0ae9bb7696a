package hlog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/bits"
	"path/filepath"
	"syscall"
	"time"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// Open opens the store in dir at its current version: the newest, or the one that a later rollback went back to. It
// makes a store when there is no directory, or one that is empty or holds foreign files only; with Options.ReadOnly that is
// fs.ErrNotExist and nothing is written. nil options are the defaults. The time it takes does not follow the size of the
// state.
//
// The store keeps to the directory that was opened, whatever path leads to it later; ErrReplaced says what happens when
// others change what lies in it.
//
// ErrOptions when an option is out of range; ErrLocked when the store is open already, in this process or in another,
// by whatever path; errors.ErrUnsupported when the file system has no locks, see Options.NoLock; ErrCorrupt when what is needed to tell or to recover the current version is damaged or missing, and no
// remote has it: the error names it, and the versions that Options.Version can open instead; ErrFormat when the directory
// was written in a newer format; ErrRemote when a directory that has no version cannot be filled, because the remote fails.
// After an error every file is as it was.
//
// With Options.Remote, a directory that has no version is filled with the newest one behind Open's back: Open returns after
// some seven answers of the remote, whatever the size of the state. Until the directory is whole, operations on keys are served:
// what they read comes from the remote, at a few round trips each, and what they write is kept in an 8th of MemoryBytes; those
// that find it full wait for the rest. So does whatever else uses the store, checkpoints, scans and restores, as far as its
// context lets it, and Options.Version has Open wait. Metrics.FetchLeft and Events.Fetched tell how far it has come. A call
// that the remote fails meanwhile is ErrRemote; the fetch is tried again until Close. When the remote has purged the version
// before it was here, the error is ErrVersionNotFound as well, until the store is opened anew, at the next one. A process that
// ends before the directory is whole loses nothing that was durable: the next Open with the remote goes on, and one without it
// is ErrRemote.
//
// What lies beyond the version that is opened (a crash leaves log that was not committed; a copy may lack the manifests
// of newer versions) stays until the first commit, and is then removed; Options.Logger is warned of it.
func Open(dir string, opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, optionError("dir", `""`, "a path")
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("hlog: open %s: %w", dir, err)
	}
	epoch.Prepare()
	s, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("hlog: open %s: %w", dir, err)
	}
	return s, nil
}

func open(path string, o Options) (_ *Store, err error) {
	memory := newBudget(o)
	if err := memory.join(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			memory.leave()
		}
	}()
	if !o.ReadOnly {
		if err := makeDir(o.FS, path); err != nil {
			return nil, err
		}
	}
	root, err := o.FS.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	release, err := lockRoot(root, path, o)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	unlock := func() error { return errors.Join(release(), root.Close()) }
	s := &Store{settings: settings{opts: o, path: path, root: root, writable: !o.ReadOnly, logger: o.Logger, unlock: unlock}}
	s.life = life.New()
	s.counters.coldReads = xsync.NewCounter()
	s.views = xsync.NewMapOf[*View, struct{}]()
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.queues = fsx.Queues{AIO: fsx.AIOOf(o.FS), Refused: s.queueRefused}
	s.events.Events = o.Events
	s.gateCond.L = &s.gateMu
	s.units.Init(ErrClosed)
	s.units.patience = unitPatience
	s.precedence.epoch = time.Now()
	work := step.Of(o.FS)
	s.background.init(s, work)
	if work == nil {
		s.epochs = epoch.New()
	} else {
		s.epochs = epoch.NewOn(func(f func()) { work.Go(step.Drain, f) })
	}
	s.memory = memory
	s.cold.init(s)
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.closeFilling(), s.abandon())
	}
	if s.fill != nil {
		s.startFilling()
	} else {
		s.start()
	}
	return s, nil
}

// lockRoot locks the directory, against this process alone where the file system can do no more and Options.NoLock allows it.
func lockRoot(root fsx.Root, path string, o Options) (release func() error, err error) {
	release, err = root.Lock(path, o.ReadOnly)
	switch {
	case err == nil || !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.ENOLCK):
		return release, err
	case !o.NoLock:
		return nil, fmt.Errorf("%w: the file system cannot lock the directory; Options.NoLock opens it without", err)
	}
	return fsx.LockHere(root, path, o.ReadOnly)
}

// makeDir makes the directory of a store. As long as it is empty, the names that lead to it may be new, and a crash
// would lose them with everything below: each is made durable in the directory above it, as far as we may open that.
// What was made is removed again when that fails, because a later sync would say nothing about it.
func makeDir(fsys fsx.FS, path string) error {
	made := missing(fsys, path)
	if err := fsys.MkdirAll(path); err != nil {
		return err
	}
	entries, err := fsys.List(path)
	if err != nil || len(entries) > 0 {
		return err
	}
	for at, up := path, filepath.Dir(path); up != at; at, up = up, filepath.Dir(up) {
		err := fsys.SyncDir(up)
		if err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL) {
			continue
		}
		for _, dir := range made {
			err = errors.Join(err, fsys.Remove(dir))
		}
		return err
	}
	return nil
}

// missing returns the directories that are not there among path and those above it, deepest first.
func missing(fsys fsx.FS, path string) (dirs []string) {
	for {
		if _, err := fsys.List(path); !errors.Is(err, fs.ErrNotExist) {
			return dirs
		}
		dirs = append(dirs, path)
		up := filepath.Dir(path)
		if up == path {
			return dirs
		}
		path = up
	}
}

// abandon releases what an Open that failed has taken.
func (s *Store) abandon() error {
	s.moveTo(life.Failed)
	if x := s.index(); x != nil {
		shares.Opened{Index: x, Files: s.indexFiles}.Close()
	}
	s.background.jobs.End()
	s.cold.close()
	var err error
	if s.log != nil {
		s.log.CloseQueues()
		err = s.log.Free()
	}
	if s.segments != nil {
		s.segments.Close()
	}
	s.epochs.Close()
	return errors.Join(err, s.unlock())
}

// queueRefused logs, once, that the kernel has no queue for this store. It is called with locks held, which a handler of
// the log may want.
func (s *Store) queueRefused(err error) {
	if s.refusalTold.CompareAndSwap(false, true) {
		s.events.send(func() {
			s.logger.Warn("the kernel refuses asynchronous I/O: several reads at a time go through goroutines, which is slower; "+
				"Metrics.AsyncReads says how it is now", "err", err)
		})
	}
}

// start lets operations and the background begin.
func (s *Store) start() {
	s.pool.init(s)
	s.prepare()
	s.moveTo(life.Open)
	s.startJobs()
}

// prepare makes what operations and the background need besides log and index.
func (s *Store) prepare() {
	s.stagings.init(s.memory)
	s.prefetcher.init(s)
}

func newIdentity(o Options) checkpoint.Identity {
	id := checkpoint.Identity{SegmentBytes: o.SegmentBytes}
	rand.Read(id.StoreID[:]) // never fails: it aborts the process instead
	id.HashSeed = checkpoint.SeedOf(id.StoreID)
	return id
}

// recover opens the directory and makes log and index what they were at the current version. The directory is changed
// only when that has succeeded. When the directory has to be filled first, s.fill is set, and recoverDir is yet to be done.
func (s *Store) recover() error {
	d, err := s.openDir()
	if err != nil {
		return err
	}
	if err := s.fitSegments(d.Identity()); err != nil {
		return err
	}
	if s.fill != nil {
		s.fill.pageBytes = s.opts.PageBytes
		return s.canFitPages(s.fill.manifest, d.Identity().SegmentBytes)
	}
	return s.recoverDir(d)
}

// fitSegments takes over what the directory says of hashes and segments.
func (s *Store) fitSegments(id checkpoint.Identity) error {
	s.seed = hashingOf(id)
	if s.opts.pageChosen && int64(s.opts.PageBytes) > id.SegmentBytes {
		s.opts.PageBytes = 1 << (bits.Len64(uint64(id.SegmentBytes)) - 1)
		s.memory.setPage(s.opts.PageBytes)
	}
	if int64(s.opts.PageBytes) > id.SegmentBytes {
		return optionError("PageBytes", s.opts.PageBytes, fmt.Sprintf("at most the directory's segment size (%d)", id.SegmentBytes))
	}
	if id.SegmentBytes > mostSegment() {
		return optionError("SegmentBytes", id.SegmentBytes, fmt.Sprintf("at most %d on 32 bits, and is that of the directory", mostSegment()))
	}
	return nil
}

// recoverDir is the part of recover for which the directory has to be whole.
func (s *Store) recoverDir(d *checkpoint.Dir) error {
	for _, damage := range d.Damaged() {
		s.logger.Warn("a version that is not the current one cannot be read; nothing is collected until it is purged", "err", damage)
	}
	id := d.Identity()
	s.disk = s.newDisk(id.SegmentBytes)
	var err error
	s.ledger, err = ledger.New(d, ledger.Options{FS: s.root, Amend: s.copies.mirror == nil, Standing: s.disk})
	if err != nil {
		return err
	}
	s.disk.Ledger = s.ledger
	s.segments = reclog.NewSegments(reclog.SegmentsConfig{
		FS: s.root, Dir: s.ledger.LogPath(), Path: s.ledger.SegmentPath, Bytes: id.SegmentBytes,
		Writable: s.writable, Created: s.events.segmentCreated, Life: s.life,
	})
	m, err := s.versionToOpen()
	if err != nil {
		return err
	}
	if err := s.fitPages(m); err != nil {
		return err
	}
	err = s.recoverAt(m)
	if errors.Is(err, ErrCorrupt) && s.copies.mirror != nil {
		s.logger.Warn("the newest version is damaged and is repaired from the remote", "err", err)
		if _, fetchErr := s.copies.mirror.Fetch(s.life.Context(), m.Version, checkpoint.FetchOptions{Repair: true}); fetchErr != nil {
			return errors.Join(err, fetchErr)
		}
		err = s.recoverAt(m)
	}
	if err != nil {
		return s.wayBack(m, err)
	}
	if !s.writable {
		return nil
	}
	return s.takeOver(m)
}

// newDisk returns the index on disk of the store, whose ledger is not there yet.
func (s *Store) newDisk(segmentBytes int64) *shares.Index {
	b := &s.background
	wake := func(j *step.Job) func() { // read-only stores have neither runs nor merges
		if j == nil {
			return func() {}
		}
		return j.Wake
	}
	return shares.New(shares.Config{
		MemoryBytes: s.opts.MemoryBytes, Pace: s.opts.indexPace, Logger: s.logger,
		Version: func() uint64 { return control(s.control.Load()).logVersion() },
		Own:     s.ownHash, ColdRefs: s.cold.refs, ColdIDs: s.cold.ids, Distant: s.opts.Remote != nil,
		GiveWay: s.giveWay, RunDue: wake(b.runs), RunMade: wake(b.merges), Merged: wake(b.housekeeping),
	}, &shares.Files{
		Root: s.root, Queues: s.queues, Life: s.life, SegmentShift: uint(bits.TrailingZeros64(uint64(segmentBytes))),
		Rest: s.giveWayAfter, Yield: func() { s.yield() },
		Made: func(bytes int64, took time.Duration) {
			s.counters.imageBytes.Add(bytes)
			s.events.imageWritten(bytes, took)
		},
	})
}

// wayBack adds to the error of an open that damage has stopped which other versions there are.
func (s *Store) wayBack(m *checkpoint.Manifest, err error) error {
	var others []checkpoint.Version
	for _, i := range s.ledger.Versions() {
		if i.Version != m.Version {
			others = append(others, i.Version)
		}
	}
	if !errors.Is(err, ErrCorrupt) || len(others) == 0 {
		return err
	}
	return fmt.Errorf("version %d: %w; Options.Version opens another one (there are %v)", m.Version, err, others)
}

// versionToOpen returns the version to open at, nil for the empty store.
func (s *Store) versionToOpen() (*checkpoint.Manifest, error) {
	if s.opts.viewsOnly {
		return nil, nil
	}
	cur := s.ledger.Current()
	v := s.opts.Version
	if v == 0 || cur != nil && cur.Version == v {
		return cur, nil
	}
	m, err := s.ledger.Manifest(v)
	if errors.Is(err, ErrVersionNotFound) && s.copies.mirror != nil {
		if _, err = s.copies.mirror.Fetch(s.life.Context(), v, checkpoint.FetchOptions{}); err == nil {
			m, err = s.ledger.Manifest(v)
		}
	}
	return m, err
}

// takeOver makes the directory that of this store, which has recovered version m. With Options.Version that is a
// rollback, durable like that of Restore.
func (s *Store) takeOver(m *checkpoint.Manifest) error {
	if err := s.ledger.TakeOver(); err != nil {
		return err
	}
	if cur := s.ledger.Current(); m != nil && (cur == nil || cur.Version != m.Version) {
		if err := s.ledger.SetHead(m.Version); err != nil {
			return err
		}
	}
	s.catchUp(m)
	return nil
}

// openDir opens the directory, and brings it to where its remote is, if there is one.
func (s *Store) openDir() (*checkpoint.Dir, error) {
	if s.opts.Remote != nil && s.writable {
		return s.openRemote(s.life.Context())
	}
	d, err := checkpoint.OpenDirWith(s.root, s.path, checkpoint.OpenOptions{
		Identity: newIdentity(s.opts), ReadOnly: !s.writable, Version: s.opts.Version,
	})
	if errors.Is(err, checkpoint.ErrFilling) {
		err = fmt.Errorf("%w: %w", ErrRemote, err)
	}
	return d, err
}

// maxSkipped bounds the size of segments of which the rest is left unused after a crash. Addresses are never used twice:
// more than this each time would use them up.
const maxSkipped = 1 << 30

// logStart returns where new log begins: behind all log that lies in the directory, whether a version refers to it or
// not (V12). What lies beyond the committed end is of a process that has crashed, was undone by a rollback after which nothing
// was committed, or is of versions whose manifests a copy has not got. It stays until the first commit, and new log begins in
// a segment of its own: the names of segments that no version refers to may not be durable, and no sync makes them so after
// one that has failed (G8).
func (s *Store) logStart() uint64 {
	committed := reclog.AlignBlock(s.ledger.MaxEnd())
	there := reclog.AlignBlock(s.ledger.LogEnd())
	if !s.writable || there <= committed {
		return committed
	}
	size := s.segments.Bytes()
	start := (there + size - 1) / size * size
	if cut := committed - committed%size; cut < committed && start-there > maxSkipped && there-cut < size {
		start = there // in the segment that the committed log ends in, whose name is durable
	}
	s.gap = checkpoint.Range{Start: committed, End: start}
	s.logger.Warn("log lies beyond the newest version: a crash left it, a rollback has undone it, or a copy has not got all versions; it stays until the next commit",
		"committed", committed, "until", there, "files", s.ledger.Strays())
	return start
}

// sweep removes the files that nothing refers to, which an earlier process left: a crash may leave many.
func (s *Store) sweep() {
	if len(s.ledger.Damaged()) == 0 {
		s.collectOrLog()
	}
}
