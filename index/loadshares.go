package index

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sort"
	"sync"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Source is what an index is opened from.
type Source struct {
	// Shares are what a version names, and Open opens one of their files, when a hash of its range is first asked for.
	// The files are closed when all is loaded or the index is closed.
	Shares Shares
	Open   func(ShareRef) (ShareFile, error)
	// Distant says that a read of a file takes long, but that many take as long as one: those that a block of buckets needs
	// are made together.
	Distant bool
	// Drop is where the log begins: records below it are left out.
	Drop word.Address
	// Image is the image of a version that was written before there were shares, ImageBytes its length, and Runs what lies
	// behind it. nil for all others.
	Image      io.ReaderAt
	ImageBytes int64
	Runs       []*Run
}

// ShareFile is an open file of a share. Its ReadAt is called by several goroutines at a time.
type ShareFile interface {
	io.ReaderAt
	io.Closer
}

// Open returns an index with what src holds. It reads nothing but what describes an image of old; blocks of buckets are
// filled on demand, see [Index.Load] and [Index.LoadAll]. What the log holds beyond the shares is replayed into it
// ([Index.Replay]). The table gets at least 2^Config.InitialBits buckets (I9), whether Config allows that memory or not.
//
// Errors are *[CorruptError], [ErrFormat], and those of Image.
func Open(cfg Config, src Source) (*Index, error) {
	if src.Image != nil && len(src.Shares) == 0 {
		return OpenImage(cfg, src.Image, src.ImageBytes, src.Drop, src.Runs...)
	}
	x, err := newIndex(cfg)
	if err != nil {
		return nil, err
	}
	im := &image{bits: max(cfg.InitialBits, defaultBits)}
	held := uint64(0)
	if src.Image != nil {
		if im, err = readImage(src.Image, src.ImageBytes); err != nil {
			return nil, err
		}
		for _, ref := range im.blocks {
			held += ref.overflow(im.buckets())
		}
	} else {
		im.mask, im.shift = 1<<im.bits-1, min(im.bits, blockBits)
		im.expect(1 << (im.bits - im.shift))
	}
	im.drop, im.runs = src.Drop, src.Runs
	// Shares that stand only for log below Drop hold nothing that is wanted, nor do those that they supersede.
	wanted := slices.DeleteFunc(slices.Clone(src.Shares), func(r ShareRef) bool { return r.To <= src.Drop })
	im.shares = &shareSet{refs: wanted, open: src.Open, distant: src.Distant, opened: map[uint64]*openShare{}}
	t, err := x.newTable(max(im.bits, cfg.InitialBits), held, false)
	if err != nil {
		return nil, err
	}
	t.image.Store(im)
	t.busy.Store(true)
	x.publish(t)
	return x, nil
}

// shareSet is the shares that an index is loaded from.
type shareSet struct {
	refs    Shares
	open    func(ShareRef) (ShareFile, error)
	distant bool

	mu     sync.Mutex
	opened map[uint64]*openShare // of mu; by id
	closed bool                  // of mu
}

type openShare struct {
	mu    sync.Mutex // held while it is being opened
	share *Share
	file  ShareFile
}

var errIndexClosed = errors.New("index: closed while it was being loaded")

// get returns a share, opened.
func (s *shareSet) get(ref ShareRef) (*Share, error) { return s.getWith(ref, held{}) }

// getWith is get that takes from h what it holds of the file.
func (s *shareSet) getWith(ref ShareRef, h held) (*Share, error) {
	s.mu.Lock()
	o := s.opened[ref.ID]
	if o == nil {
		o = &openShare{}
		s.opened[ref.ID] = o
	}
	closed := s.closed
	s.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.share != nil:
		return o.share, nil
	case closed:
		return nil, errIndexClosed
	}
	f, err := s.open(ref)
	if err != nil {
		return nil, err
	}
	h.ReaderAt = f
	share, err := OpenShare(h, ref)
	if err != nil {
		f.Close()
		return nil, err
	}
	share.r = f // who reads it keeps nothing of h
	o.share, o.file = share, f
	return share, nil
}

// close closes all files. Nobody reads from them any more.
func (s *shareSet) close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, o := range s.opened {
		o.mu.Lock()
		if o.file != nil {
			o.file.Close() // what was read is verified
		}
		o.share, o.file = nil, nil
		o.mu.Unlock()
	}
}

// read appends the triples of the hashes with orders between first and last, of all shares.
func (s *shareSet) read(triples []Triple, first, last uint64) ([]Triple, error) {
	over := s.refs.Over(first, last)
	if s.distant {
		triples, over = s.fetch(triples, over, first, last)
	}
	var raw []byte
	for _, ref := range over {
		share, err := s.get(ref)
		if err != nil {
			return triples, err
		}
		first, last := max(first, ref.First), min(last, ref.Last)
		for i, end := share.within(first, last); i < end; {
			n := min(end-i, shareAhead/shareBlock)
			if len(raw) < n*shareBlock {
				raw = make([]byte, n*shareBlock)
			}
			if triples, err = share.read(triples, raw, i, i+n, first, last); err != nil {
				return triples, err
			}
			i += n
		}
	}
	return triples, nil
}

// sweep goes over all shares once, in order.
type sweep struct {
	set     *shareSet
	cursors map[uint64]*shareCursor // by id of the share
	ahead   int                     // blocks of each to read at a time
	reader  merging
	triples []Triple // of the last range; reused
}

func newSweep(set *shareSet) *sweep {
	if set == nil {
		return nil
	}
	return &sweep{set: set, cursors: map[uint64]*shareCursor{}, ahead: fewBlocks, reader: merging{ctx: context.Background()}}
}

// read is shareSet.read for a range that follows those before it.
func (w *sweep) read(triples []Triple, first, last uint64) ([]Triple, error) {
	refs := w.set.refs.Over(first, last)
	maps.DeleteFunc(w.cursors, func(id uint64, _ *shareCursor) bool { // of ranges that are done
		return !slices.ContainsFunc(refs, func(r ShareRef) bool { return r.ID == id })
	})
	for _, ref := range refs {
		c := w.cursors[ref.ID]
		if c == nil {
			share, err := w.set.get(ref)
			if err != nil {
				return triples, err
			}
			i, end := share.within(max(first, ref.First), ref.Last)
			c = &shareCursor{s: share, first: max(first, ref.First), last: ref.Last, block: i, end: end, ahead: w.ahead}
			w.cursors[ref.ID] = c
		}
		from, err := len(triples), error(nil)
		if triples, err = c.take(&w.reader, last, triples); err != nil {
			delete(w.cursors, ref.ID)
			return triples, err
		}
		passed := sort.Search(len(triples)-from, func(i int) bool { return triples[from+i].order >= first })
		triples = slices.Delete(triples, from, from+passed) // of blocks that were loaded already
	}
	return triples, nil
}

// replayShares replays what the shares hold of block b, which nobody else uses yet.
func (x *Index) replayShares(t *table, im *image, b uint64, w *sweep) error {
	first, last := blockRange(b, im.bits)
	var triples []Triple
	var err error
	if w != nil {
		triples, err = w.read(w.triples[:0], first, last)
		w.triples = triples
	} else {
		triples, err = im.shares.read(nil, first, last)
	}
	if err != nil {
		return err
	}
	for _, r := range triples {
		h, a := r.Hash(), r.Address()
		switch {
		case a < im.drop:
		case im.blocks != nil:
			err = x.raise(t, h, a)
		default:
			err = x.put(t, h, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// put is raise for a block that has been filled by put alone: all tags are of one length, and no slot was ever given back.
func (x *Index) put(t *table, h uint64, a word.Address) error {
	q := word.MakeQuery(h, t.Bits)
	for p := t.bucket(h & t.Mask); ; {
		for i := range bucketSlots {
			slot := slotOf(p, i)
			e := word.Entry(mem.Load(slot))
			if e != 0 && !q.Matches(e.Tag()) {
				continue
			}
			if e.Address() < a {
				mem.StorePlain(slot, uint64(word.MakeEntry(word.MakeTag(h, t.Bits), a)))
			}
			return nil
		}
		next := t.next(p)
		for next == nil {
			if x.extend(t, p) == full {
				if err := x.room(true); err != nil {
					return err
				}
			}
			next = t.next(p)
		}
		p = next
	}
}
