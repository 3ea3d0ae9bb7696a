package index

import (
	"io"
	"math"
	"sync"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// wholeShare is how long a distant share may be that is read whole, by one request.
const wholeShare = 128 << 10

// held is a file of which a stretch is in memory.
type held struct {
	io.ReaderAt
	off int64
	b   []byte
}

func (h held) ReadAt(p []byte, off int64) (int, error) {
	if off >= h.off && off+int64(len(p)) <= h.off+int64(len(h.b)) {
		return copy(p, h.b[off-h.off:]), nil
	}
	return h.ReaderAt.ReadAt(p, off)
}

// fetch appends the triples of the hashes with orders between first and last that it finds in shares, all of which it reads at a
// time, by one request each (I22). Nothing of what it reads is read again, so that nobody has to keep it. It returns the shares
// of which it has found nothing out: what is wrong with them is found when they are read one after the other.
func (s *shareSet) fetch(triples []Triple, over Shares, first, last uint64) ([]Triple, Shares) {
	found := make([][]Triple, len(over))
	var all sync.WaitGroup
	for k, ref := range over {
		all.Go(func() { found[k] = s.fetchOf(ref, max(first, ref.First), min(last, ref.Last)) })
	}
	all.Wait()
	var left Shares
	for k, f := range found {
		if triples = append(triples, f...); f == nil {
			left = append(left, over[k])
		}
	}
	return triples, left
}

// fetchOf is fetch for one share; nil when it has found nothing out. A share that is not open yet is read where the blocks ought
// to lie: a short one whole, and one in which they lie last to its end, so that it can be opened by what was read.
func (s *shareSet) fetchOf(ref ShareRef, first, last uint64) []Triple {
	var h held
	if !s.isOpen(ref) {
		i, j, blocks := guess(ref, first, last)
		switch {
		case ref.Bytes <= wholeShare:
			h.b = make([]byte, ref.Bytes)
		case i < j && j == blocks:
			h.off = min(blockAt(i), max(ref.Bytes-shareTail, 0))
			h.b = make([]byte, ref.Bytes-h.off)
		default:
			if found := s.unopened(ref, i, j, blocks, first, last); found != nil {
				return found
			}
		}
		if len(h.b) > 0 && s.readFar(ref, h.b, h.off) != nil {
			return nil
		}
	}
	share, err := s.getWith(ref, h)
	if err != nil {
		return nil
	}
	i, j := share.within(first, last)
	if i >= j {
		return []Triple{}
	}
	h.ReaderAt = share.r
	near := *share // of which a stretch is at hand
	near.r = h
	triples, err := near.read(make([]Triple, 0, 64), make([]byte, (j-i)*shareBlock), i, j, first, last)
	if err != nil {
		return nil
	}
	return triples
}

// unopened returns the triples between first and last of a share, if blocks i..j-1 of at most blocks turn out to be all that
// may have some; else nil. It needs nothing but what the version says of the share: the sums of the blocks tell that they are
// those of this file, at this place, and their first orders tell what lies between them. What does not fit is for those to tell
// who open the share.
func (s *shareSet) unopened(ref ShareRef, i, j, blocks int, first, last uint64) []Triple {
	raw := make([]byte, max(j-i, 0)*shareBlock)
	if len(raw) == 0 || s.readFar(ref, raw, blockAt(i)) != nil {
		return nil
	}
	share := &Share{ref: ref, seed: shareSeed(ref.ID, ref.First, ref.From)}
	block := func(n int) []byte { return raw[(n-i)*shareBlock:][:shareBlock] }
	order := func(n int) uint64 { return mem.Load64(block(n)[16:]) }
	if !share.verifies(block(j-1), j-1) || i > 0 && order(i) > first || j < blocks && order(j-1) <= last {
		return nil
	}
	triples := make([]Triple, 0, 64)
	for n := i; n < j; n++ {
		end := ref.Last
		if n+1 < j {
			end = order(n+1) - 1
		}
		var err error
		if triples, err = share.decodeUpTo(triples, block(n), n, end, first, last); err != nil {
			return nil
		}
	}
	return triples
}

func (s *shareSet) isOpen(ref ShareRef) bool {
	s.mu.Lock()
	o := s.opened[ref.ID]
	s.mu.Unlock()
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.share != nil
}

// guess returns, of a share whose directory has not come yet, the blocks i..j-1 that probably hold the orders between first and
// last, of no more than blocks in all: hashes are uniform, so that the place of a block follows from that of its orders in the
// range of the share. Of a file of which a version names a part nothing is known (older releases named them so): there are none.
func guess(ref ShareRef, first, last uint64) (i, j, blocks int) {
	blocks = int((ref.Bytes - shareHead - shareTrailer) / (shareBlock + 8)) // and their entries of the directory
	if 2*tripleBytes*ref.Triples < ref.Bytes {
		return 0, 0, blocks
	}
	place := func(order uint64) float64 {
		return span{ref.First, order}.size() / ref.span().size() * float64(blocks)
	}
	stray := 1 + math.Sqrt(float64(blocks))/8 // of blocks of some hundred triples
	return int(max(place(first)-stray, 0)), min(int(place(last)+stray+1), blocks), blocks
}

// readFar fills b with what a share that may not be open has at off.
func (s *shareSet) readFar(ref ShareRef, b []byte, off int64) error {
	f, err := s.open(ref)
	if err != nil {
		return err
	}
	defer f.Close()
	return readAt(f, b, off)
}
