package index

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// far is files that lie a second away. Nobody keeps what was read.
type far struct {
	files *shareFiles
	asked atomic.Int64
}

func (f *far) open(ref ShareRef) (ShareFile, error) { return farFile{f, ref.ID}, nil }

type farFile struct {
	far *far
	id  uint64
}

func (f farFile) Close() error { return nil }

func (f farFile) ReadAt(p []byte, off int64) (int, error) {
	f.far.asked.Add(1)
	testkit.Pause(time.Second)
	n := copy(p, f.far.files.files[f.id].b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// skewed returns where hashes are moved to that they ought not to be at.
func skewed(by float64) func(order uint64) uint64 {
	return func(order uint64) uint64 { return uint64(math.Pow(float64(order)/math.MaxUint64, by) * math.MaxUint64) }
}

// What a block of buckets takes of distant shares that are not open yet comes after one answer, by one request each: of short
// ones all, of long ones that which ought to hold it (I22), although nobody keeps what was read. Where hashes are not spread
// evenly, blocks lie elsewhere: that takes longer, and comes to the same.
func TestShareSet_DistantSharesAnswerAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		triples, requests int
		trips             time.Duration
		place             func(order uint64) uint64
	}{
		"short":              {5_000, 1, 1, nil},
		"middling":           {30_000, 1, 1, nil},
		"long":               {120_000, 1, 1, nil},
		"long and elsewhere": {120_000, 3, 3, skewed(3)},
		"long and before":    {120_000, 3, 3, skewed(1. / 3)},
	} {
		t.Run(name, func(t *testing.T) {
			const shares = 12
			var files shareFiles
			var refs Shares
			r := rand.New(rand.NewPCG(1, 2))
			for i := range shares {
				begin := word.Address(1+i) << 32
				var triples []Triple
				for n := range c.triples {
					tr := MakeTriple(r.Uint64(), begin+word.Address(64*n), 64, false)
					if c.place != nil {
						tr.order = c.place(tr.order)
					}
					triples = append(triples, tr)
				}
				refs = append(refs, files.write(t, begin, begin+word.Address(64*c.triples), triples))
			}
			synctest.Test(t, func(t *testing.T) {
				slowest, found := time.Duration(0), 0
				for _, place := range []float64{0, 0.3, 0.7, 0.999} {
					f := &far{files: &files}
					s := &shareSet{refs: refs, open: f.open, distant: true, opened: map[uint64]*openShare{}}
					first := uint64(place * math.MaxUint64)
					last := first + math.MaxUint64/2048
					began := time.Now()
					triples, err := s.read(nil, first, last)
					if err != nil {
						t.Fatal(err)
					}
					trips := time.Since(began) / time.Second
					if slowest = max(slowest, trips); trips > c.trips || f.asked.Load() > int64(shares*c.requests) {
						t.Errorf("at %v: %d answers one after the other, %d requests for %d shares", place, trips, f.asked.Load(), shares)
					}
					var want []Triple
					for _, share := range files.open(t, refs...) {
						all, err := share.all(first, last)
						if err != nil {
							t.Fatal(err)
						}
						want = append(want, all...)
					}
					if found += len(want); !slices.Equal(triples, want) || len(want) == 0 && c.place == nil {
						t.Errorf("at %v: %d triples, want %d, or others", place, len(triples), len(want))
					}
				}
				if slowest < c.trips || found == 0 {
					t.Errorf("at most %d answers one after the other, %d triples: the test tests nothing", slowest, found)
				}
			})
			if bytes := refs[0].Bytes; bytes > wholeShare != (name != "short") {
				t.Errorf("%d bytes are not %s", refs[0].Bytes, name)
			}
		})
	}
}

// A distant share whose blocks are damaged, or are those of another one, is an error and never other triples (I22).
func TestShareSet_DistantBlocksAreVerified(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const n = 120_000
	begin := word.Address(1) << 32
	make := func() (triples []Triple) {
		for i := range n {
			triples = append(triples, MakeTriple(r.Uint64(), begin+word.Address(64*i), 64, false))
		}
		return triples
	}
	var files shareFiles
	ref := files.write(t, begin, begin+64*n, make())
	other := files.write(t, begin, begin+64*n, make())
	f := files.files[ref.ID]
	whole := bytes.Clone(f.b)
	read := func() error {
		s := &shareSet{refs: Shares{ref}, open: (&far{files: &files}).open, distant: true, opened: map[uint64]*openShare{}}
		_, err := s.read(nil, math.MaxUint64/4, math.MaxUint64/4+math.MaxUint64/2048)
		return err
	}
	synctest.Test(t, func(t *testing.T) {
		if err := read(); err != nil {
			t.Fatal(err)
		}
		blocks := len(whole) / (shareBlock + 8)
		near := blockAt(blocks / 4)
		for name, damage := range map[string]func(b []byte){
			"a bit":         func(b []byte) { b[near+2000] ^= 4 },
			"a block twice": func(b []byte) { copy(b[near:][:shareBlock], b[near+shareBlock:]) },
			"blocks of another file": func(b []byte) {
				copy(b[near-40*shareBlock:near+40*shareBlock], files.files[other.ID].b[near-40*shareBlock:])
			},
		} {
			copy(f.b, whole)
			damage(f.b)
			var c *CorruptError
			if err := read(); !errors.As(err, &c) || c.Share != ref.ID {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
