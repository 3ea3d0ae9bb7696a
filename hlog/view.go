package hlog

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
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
	index   openedIndex
	tier    *tier // nil: there is nothing below its log
	epochs  *epoch.Manager
	begin   word.Address
	behind  behindShares
	readers sync.Pool                   // of *viewReader
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

// viewReader is what one call on a view uses.
type viewReader struct {
	guard *epoch.Guard
	cold  *reclog.Reader
	rec   []byte
	below tierReader
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
	w.begin = logBegin(m)
	var tell func(from, to uint64, records []index.Logged)
	if w.isListed() {
		tell = w.behind.tell
	}
	w.index, err = s.openIndex(ctx, m, index.Config{
		Epoch:    w.epochs,
		MaxBytes: func() int64 { return int64(word.MaxAddress) },
		Reserve:  func(int64) bool { return true },
	}, tell)
	if err != nil {
		w.tier.release()
		s.ledger.Unpin(m.Version)
		w.epochs.Close()
		return nil, err
	}
	w.readers.New = func() any { return &viewReader{guard: w.epochs.Register(), cold: s.log.NewReader()} }
	if err := s.keepView(w); err != nil {
		return nil, err
	}
	return w, nil
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
	r := w.readers.Get().(*viewReader)
	defer w.readers.Put(r)
	_, rec, sh, err := w.find(r, key)
	if err != nil {
		return dst, err
	}
	if rec == nil {
		value, found, err := w.findInTier(r, dst, key)
		if err == nil && !found {
			err = ErrNotFound
		}
		return value, err
	}
	if rec.State().Tombstone() {
		return dst, ErrNotFound
	}
	value := rec.Value(sh)
	return append(slices.Grow(dst, len(value)), value...), nil
}

// findInTier appends the value of a key that the version's log has nothing of.
func (w *View) findInTier(r *viewReader, dst, key []byte) (value []byte, found bool, err error) {
	if w.tier == nil {
		return dst, false, nil
	}
	if value, found, err = w.tier.find(dst, key, w.s.hash(key), &r.below, reading); !found {
		value = dst
	}
	return value, found, err
}

// find returns the newest record of key in the version, and its address; nil if it has none.
func (w *View) find(r *viewReader, key []byte) (word.Address, record.Bytes, record.Shape, error) {
	a, err := w.entry(r, w.s.hash(key))
	if err != nil {
		return word.None, nil, record.Shape{}, err
	}
	for a >= w.begin {
		rec, sh, err := w.read(r, a)
		if err != nil {
			return word.None, nil, record.Shape{}, err
		}
		if string(rec.Key(sh)) == string(key) && !w.excluded(a, rec) {
			return a, rec, sh, nil
		}
		if rec.Link().Prev() >= a {
			return word.None, nil, record.Shape{}, w.s.segments.Corrupt(uint64(a), "chain does not descend")
		}
		a = rec.Link().Prev()
	}
	return word.None, nil, record.Shape{}, nil
}

// entry returns where the chain of h begins.
func (w *View) entry(r *viewReader, h uint64) (word.Address, error) {
	for {
		r.guard.Enter()
		_, e, status := w.index.Find(h)
		r.guard.Exit()
		if status != index.NeedLoad {
			return e.Address(), nil
		}
		if err := w.index.Load(h); err != nil {
			return 0, w.s.indexError(w.m.Index, err)
		}
	}
}

// read returns the record at a, from the store's cache or from disk.
func (w *View) read(r *viewReader, a word.Address) (record.Bytes, record.Shape, error) {
	if rec, ok := w.s.cache.Get(a, r.rec[:0]); ok {
		r.rec = rec
		sh, _ := record.Bytes(rec).Shape()
		return rec, sh, nil
	}
	rec, sh, err := r.cold.Read(a)
	w.s.counters.coldReads.Inc()
	if err == nil {
		w.s.cache.Put(a, rec)
	}
	return rec, sh, err
}

// excluded reports whether the record at a was written past the version's cut (C4).
func (w *View) excluded(a word.Address, rec record.Bytes) bool {
	i, _ := slices.BinarySearchFunc(w.m.Extents, uint64(a), func(e checkpoint.Extent, a uint64) int {
		if e.End <= a {
			return -1
		}
		return 1
	})
	return i < len(w.m.Extents) && recordSkip(w.m.Extents[i])(a, rec)
}

// prefetch has the buckets that a scan is about to look into on their way to the cache: they lie in no order that the log
// would know, so that each would be waited for otherwise.
func (w *View) prefetch(r *viewReader, group []reclog.Found) {
	r.guard.Enter()
	for i := range group {
		w.index.Prefetch(w.s.hash(group[i].Rec.Key(group[i].Shape)))
	}
	r.guard.Exit()
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
	if w.isListed() {
		return w.scanListed(ctx, fn)
	}
	return w.scanChains(ctx, fn)
}

// scanChains is Scan for a version that was written before there were shares: it asks the index of the view for each record,
// and follows the chains of those that may have been superseded.
func (w *View) scanChains(ctx context.Context, fn func(key, value []byte) bool) error {
	r := w.readers.Get().(*viewReader)
	defer w.readers.Put(r)
	probes := prober{log: w.s.log, top: uint64(word.MaxAddress), skip: w.excluded, limit: w.s.scanProbes(), reads: w.s.counters.coldReads}
	defer probes.close()
	ended := false
	flush := func() error {
		return probes.answer(ctx, func(q *probe) (bool, error) {
			if q.newest {
				ended = !fn(probes.keyOf(q), probes.valueOf(q))
			}
			return !ended, nil
		})
	}
	walk := w.s.segments.NewWalker()
	walk.Prepare = func(group []reclog.Found) error {
		w.prefetch(r, group)
		return nil
	}
	for _, e := range w.m.Extents {
		skip := recordSkip(e)
		err := walk.Walk(ctx, e.Start, e.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if w.isClosed() {
				return false, ErrClosed
			}
			if skip(a, rec) || rec.State().Tombstone() {
				return true, nil
			}
			from, err := w.entry(r, w.s.hash(rec.Key(sh)))
			switch {
			case err != nil:
				return false, err
			case from == a:
				ended = !fn(rec.Key(sh), rec.Value(sh))
			case from > a && probes.add(a, from, rec.Key(sh), rec.Value(sh)):
				err = flush()
			}
			return !ended, err
		})
		if err != nil || ended {
			return err
		}
	}
	if err := flush(); err != nil || ended || w.tier == nil {
		return err
	}
	err := w.tier.over(ctx, func(key, value []byte) (bool, error) {
		if w.isClosed() {
			return false, ErrClosed
		}
		from, err := w.entry(r, w.s.hash(key))
		switch {
		case err != nil:
			return false, err
		case from < w.begin:
			ended = !fn(key, value)
		case probes.addCold(from, uint64(w.begin), key, value):
			err = flush()
		}
		return !ended, err
	})
	if err != nil || ended {
		return err
	}
	return flush()
}
