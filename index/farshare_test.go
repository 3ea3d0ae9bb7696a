package index

import (
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// far is files that lie a second away, behind somebody who keeps what was read.
type far struct {
	files *shareFiles
	mu    sync.Mutex
	asked int
	there map[[2]int64]time.Time // share and unit: when it is there
}

const farUnit = 64 << 10

func (f *far) open(ref ShareRef) (ShareFile, error) { return farFile{f, int64(ref.ID)}, nil }

type farFile struct {
	far *far
	id  int64
}

func (f farFile) Close() error { return nil }

func (f farFile) ReadAt(p []byte, off int64) (int, error) {
	now := time.Now()
	ready := now
	f.far.mu.Lock()
	for u := off / farUnit; u <= (off+int64(len(p))-1)/farUnit; u++ {
		at, ok := f.far.there[[2]int64{f.id, u}]
		if !ok {
			at = now.Add(time.Second)
			f.far.there[[2]int64{f.id, u}] = at
		}
		if at.After(ready) {
			ready = at
		}
		if !ok && (u == off/farUnit || !f.far.there[[2]int64{f.id, u - 1}].Equal(at)) {
			f.far.asked++ // units side by side are one request
		}
	}
	f.far.mu.Unlock()
	testkit.Pause(ready.Sub(now))
	n := copy(p, f.far.files.files[uint64(f.id)].b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// What a block of buckets takes of distant shares that are not open yet comes after one answer: of short ones all, by one
// request, and of long ones the directory and what it will probably say. No share is read whole that is long.
func TestShareSet_DistantSharesAnswerAtOnce(t *testing.T) {
	for name, c := range map[string]struct{ triples, requests int }{"short": {5_000, 1}, "middling": {30_000, 1}, "long": {120_000, 2}} {
		t.Run(name, func(t *testing.T) {
			const shares = 12
			var files shareFiles
			var refs Shares
			r := rand.New(rand.NewPCG(1, 2))
			for i := range shares {
				begin := word.Address(1+i) << 32
				var triples []Triple
				for n := range c.triples {
					triples = append(triples, MakeTriple(r.Uint64(), begin+word.Address(64*n), 64, false))
				}
				refs = append(refs, files.write(t, begin, begin+word.Address(64*c.triples), triples))
			}
			synctest.Test(t, func(t *testing.T) {
				for _, place := range []float64{0, 0.3, 0.7, 0.999} {
					f := &far{files: &files, there: map[[2]int64]time.Time{}}
					s := &shareSet{refs: refs, open: f.open, distant: true, opened: map[uint64]*openShare{}}
					first := uint64(place * math.MaxUint64)
					last := first + math.MaxUint64/2048
					began := time.Now()
					triples, err := s.read(nil, first, last)
					if err != nil {
						t.Fatal(err)
					}
					if trips := time.Since(began) / time.Second; trips > 1 || f.asked > shares*c.requests {
						t.Errorf("at %v: %d answers one after the other, %d requests for %d shares", place, trips, f.asked, shares)
					}
					want := 0
					for _, share := range files.open(t, refs...) {
						all, err := share.all(first, last)
						if err != nil {
							t.Fatal(err)
						}
						want += len(all)
					}
					if len(triples) != want || want == 0 {
						t.Errorf("at %v: %d triples, want %d", place, len(triples), want)
					}
				}
			})
			if bytes := refs[0].Bytes; bytes > wholeShare != (name != "short") || bytes > nearEnd != (name == "long") {
				t.Errorf("%d bytes are not %s", refs[0].Bytes, name)
			}
		})
	}
}
