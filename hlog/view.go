package hlog

import (
	"cmp"
	"context"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/word"
)

// View is a version of the store, open for reading while the store goes on. Log and image that it needs stay on disk
// until it is closed; closing the store closes it, too. Its methods are safe for concurrent use. It reads from disk,
// through the store's cache of cold records. Its index is not counted in Options.MemoryBytes.
type View struct {
	s       *Store
	m       *checkpoint.Manifest
	version view.Version // what reads
	index   shares.Opened
	tier    *tier // nil: there is nothing below its log
	epochs  *epoch.Manager
	remote  *checkpoint.RemoteDirectory // where the version lies; nil: in the store's directory. The store is the view's own.
	reader  *checkpoint.RemoteReader    // of the remote; nil: it is not the view's own

	verified atomic.Int64 // bytes of log that Verify has gone over

	mu     lock.Mutex[lock.View]
	idle   sync.Cond // of mu
	active int       // of mu: calls under way
	closed bool      // of mu
}

// start begins a call: Close waits for its end.
func (w *View) start() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	w.active++
	return nil
}

func (w *View) end() {
	w.mu.Lock()
	w.active--
	w.mu.Unlock()
	w.idle.Broadcast()
}

func (w *View) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// ended returns ErrClosed when the view is closed.
func (w *View) ended() error {
	if w.isClosed() {
		return ErrClosed
	}
	return nil
}

// OpenVersion opens version v for reading; 0 is the one that the directory would open at. A version that only the
// remote still has is fetched first. The cost does not follow the size of the state: blocks of the index are read as
// they are needed. The caller closes the view.
//
// ErrVersionNotFound when there is no such version, ErrCorrupt when what it needs is damaged; the error of ctx;
// ErrClosed.
func (s *Store) OpenVersion(ctx context.Context, v checkpoint.Version) (*View, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	m, err := s.restoreTarget(ctx, v)
	if err != nil {
		return nil, err
	}
	return s.openView(ctx, m)
}

// openView opens version m, which is pinned; the view, or an error, takes the pin over.
func (s *Store) openView(ctx context.Context, m *checkpoint.Manifest) (_ *View, err error) {
	w := &View{s: s, m: m, epochs: epoch.New()}
	w.idle.L = &w.mu
	if w.tier, err = s.cold.openTier(coldFilesOf(m), 0); err != nil {
		s.ledger.Unpin(m.Version)
		w.epochs.Close()
		return nil, err
	}
	untold := view.UntoldOf(m)
	w.index, err = s.openIndex(ctx, m, index.Config{
		Epoch:    w.epochs,
		MaxBytes: func() int64 { return int64(word.MaxAddress) },
		Reserve:  func(int64) bool { return true },
	}, untold.Teller())
	if err != nil {
		w.tier.release()
		s.ledger.Unpin(m.Version)
		w.epochs.Close()
		return nil, err
	}
	w.version = view.Version{
		Store: s.forViews(m), Manifest: m, Index: w.index.Index, Epochs: w.epochs, Below: w.tier.forView(), Untold: untold, Ended: w.ended,
	}
	w.version.Init()
	if err := s.keepView(w); err != nil {
		return nil, err
	}
	return w, nil
}

// forViews returns what a view of version m has of the store.
func (s *Store) forViews(m *checkpoint.Manifest) view.Store {
	return view.Store{
		Log: s.log, Segments: s.segments, Queues: s.queues, Cache: s.cache, Reads: s.counters.coldReads,
		Hash: s.hash, OpenShare: s.disk.Open, ColdFault: s.cold.fault,
		IndexFault: func(err error) error { return s.disk.Fault(m.Index, err) },
		ScanBytes:  int(cmp.Or(s.opts.scanBytes, scanBytesOf(s.opts.MemoryBytes))), ProbeBytes: s.scanProbes(),
	}
}

// scanShare is the part of the memory of the store that a scan of a view may take besides, and leastScan what it takes anyway.
const (
	scanShare = 8
	leastScan = 2 << 20
)

// scanBytesOf returns how many bytes a scan of a view may take beside so much memory.
func scanBytesOf(memory int64) int64 { return max(memory/scanShare, leastScan) }

const _ = uint(view.MaxUntold - 2*shares.MaxUncovered) // versions of this release can be scanned by their shares (R4)

// belowView is the tier of a view.
type belowView struct {
	t       *tier
	readers sync.Pool // of *tierReader
}

// forView returns a tier as a view has it, nil if there is none. The view holds it.
func (t *tier) forView() view.Below {
	if t == nil {
		return nil
	}
	return &belowView{t: t, readers: sync.Pool{New: func() any { return &tierReader{} }}}
}

func (b *belowView) Tier() *cold.Tier { return b.t.Tier }

func (b *belowView) Find(dst, key []byte, h uint64) (value []byte, found bool, err error) {
	r := b.readers.Get().(*tierReader)
	defer b.readers.Put(r)
	return b.t.find(dst, key, h, r, reading)
}

func (b *belowView) Over(ctx context.Context, fn func(key, value []byte) (more bool, err error)) error {
	return b.t.over(ctx, fn)
}

func (b *belowView) Verify(ctx context.Context, damaged func(error) error) error {
	return b.t.verify(ctx, damaged)
}

// keepView notes w as open, so that closing the store closes it.
func (s *Store) keepView(w *View) error {
	s.views.Store(w, struct{}{})
	if err := s.check(); err != nil { // closed meanwhile
		w.Close()
		return err
	}
	return nil
}

// closeViews closes what is still open.
func (s *Store) closeViews() {
	s.views.Range(func(w *View, _ struct{}) bool {
		w.Close()
		return true
	})
}

// Close ends the scans that are under way, waits for them, and gives up what the view holds. It must not be called by a
// scan's own callback. A second Close returns ErrClosed.
func (w *View) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return ErrClosed
	}
	w.closed = true
	if w.remote != nil {
		w.remote.Interrupt(ErrClosed)
	}
	for w.active > 0 {
		w.idle.Wait()
	}
	w.mu.Unlock()
	w.s.views.Delete(w)
	w.index.Close()
	w.tier.release()
	w.epochs.Close()
	w.s.ledger.Unpin(w.m.Version)
	if w.remote != nil {
		return w.closeRemote()
	}
	w.s.kickMaintenance()
	return nil
}

// Info describes the version, also after the view was closed.
func (w *View) Info() checkpoint.Info {
	i, err := w.s.ledger.Info(w.m.Version)
	if err != nil { // being purged
		i = checkpoint.Info{Version: w.m.Version, Parent: w.m.Parent, Created: w.m.Created, Cookie: w.m.Cookie}
	}
	if w.remote != nil {
		i.Place = checkpoint.OnRemote
	}
	return i
}

// Get appends the value that key had in the version to dst and returns the extended slice. ErrNotFound when it had none,
// ErrCorrupt when its record is damaged; ErrEmptyKey, ErrTooLarge, ErrClosed.
func (w *View) Get(dst, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return dst, err
	}
	if err := w.start(); err != nil {
		return dst, err
	}
	defer w.end()
	value, found, err := w.version.Get(dst, key)
	if err == nil && !found {
		err = ErrNotFound
	}
	return value, err
}

// Scan calls fn once for every key that had a value in the version, in no particular order, until fn returns false. key
// and value are valid until fn returns and must not be changed. fn may use the view and the store, but must not close
// the view.
//
// It reads the index files of the version before the first call, and then its log, both in their order on disk. Besides
// Options.MemoryBytes it takes an eighth of that at most, or 2 MiB; how much it is depends on the length of the log and on how
// many keys were written more than once. The error is that of ctx, ErrCorrupt, ErrClosed when the store was closed meanwhile,
// or one of the disk.
func (w *View) Scan(ctx context.Context, fn func(key, value []byte) bool) error {
	if err := w.start(); err != nil {
		return err
	}
	defer w.end()
	return w.version.Scan(ctx, fn)
}

// Damage is what View.Verify has found.
type Damage struct {
	*CorruptionError
	LogBytes int64 // log that could not be looked at because of it: what it holds cannot be read. 0 for the index
}

// Verify reads everything that the version consists of, and calls fn for each damage: all of its log, records that are dead
// included, and all of its index. It goes on behind a damage, at the next page of the log. It returns how many bytes of log
// it has found whole; the error is that of the disk or of ctx, ErrClosed, and not that of a damage. Verified tells how far it is.
func (w *View) Verify(ctx context.Context, fn func(Damage)) (whole int64, err error) {
	if err := w.start(); err != nil {
		return 0, err
	}
	defer w.end()
	return w.version.Verify(ctx, &w.verified, func(e *CorruptionError, log int64) { fn(Damage{e, log}) })
}

// Verified returns how many bytes of log the Verify of the view that is under way has gone over, or the last one had. It may be
// called from any goroutine.
func (w *View) Verified() int64 { return w.verified.Load() }
