package index

import (
	"math"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// However many runs have come without any merge between them, merges of runs with each other make few of them, whether all
// runs are short, or long and short, or some ranges of the image have taken in a part of them.
func TestDisk_ShallowerMergesEnd(t *testing.T) {
	const runs, want = 70, 20
	for name, c := range map[string]struct {
		keys  func(run int) int
		image bool // some merges into the image come first
	}{
		"short":          {keys: func(int) int { return 200 }},
		"long and short": {keys: func(run int) int { return 100 + 3_000*(run%7/6) }},
		"growing":        {keys: func(run int) int { return 20 * run }},
		"with an image":  {keys: func(run int) int { return 500 }, image: true},
	} {
		if testkit.Race && name != "short" {
			continue // one goroutine does all of it
		}
		t.Run(name, func(t *testing.T) {
			d := newTestDisk(t, 1)
			d.cfg.MergeBytes = 16 << 10 // a merge takes several pieces
			newest := map[uint64]word.Address{}
			at := word.Address(word.FirstAddress)
			for run := range runs {
				from := at
				var records []Logged
				for k := range c.keys(run) {
					h := uint64(k*7919+run%3) * 0x9e3779b97f4a7c15
					records = append(records, logged(h, at, 1))
					newest[h] = at
					at += 64
				}
				at += 64
				d.Log(from, at, records)
				d.run()
				if c.image && run < runs/2 && run%8 == 7 {
					d.merge()
				}
			}
			before := d.shares.Depth()
			if before <= want {
				t.Fatalf("%d shares for a hash: the test tests nothing", before)
			}
			merges, written := 0, int64(0)
			for !d.Shallow(want, 1, at) {
				m, ok, out := d.TakeShallower()
				if !ok || out != nil {
					t.Fatalf("%d shares for a hash, and no merge, after %d", d.shares.Depth(), merges)
				}
				if _, again, out := d.TakeShallower(); again || out == nil {
					t.Fatal("two merges are handed out")
				}
				w, err := MergeShares(t.Context(), d.config(), m, d.open(t, m.Inputs...))
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range w {
					written += r.Bytes
				}
				if !d.FinishMerge(m, w, nil) {
					t.Fatal("a merge is of no use")
				}
				merges++
			}
			t.Logf("%d shares for a hash before; %d merges wrote %d KiB, of %d", before, merges, written>>10, d.shares.Bytes()>>10)
			if deepest := d.shares.Depth(); deepest > want {
				t.Errorf("%d shares for a hash", deepest)
			}
			if err := d.shares.Check(word.FirstAddress, at); err != nil {
				t.Error(err)
			}
			n := 0
			for h, want := range newest {
				if n++; n%97 != 0 {
					continue
				}
				if got := d.leads(d.shares, h); got != want {
					t.Fatalf("the hash %#x leads to %#x, want %#x", h, got, want)
				}
			}
			for _, r := range d.shares { // as they were written (I22)
				b := d.files[r.ID].b
				trailer := b[len(b)-shareTrailer:]
				if first, last := mem.Load64(trailer[32:]), mem.Load64(trailer[40:]); first != r.First || last != r.Last {
					t.Errorf("share %d is named for the hashes from %#x to %#x, its file is for those from %#x to %#x", r.ID, r.First, r.Last, first, last)
				}
			}
		})
	}
}

// Depth is what a reader of any hash finds.
func TestShares_Depth(t *testing.T) {
	l := Shares{
		{ID: 1, First: 0, Last: math.MaxUint64, From: 8, To: 100, Level: 1},
		{ID: 2, First: 0, Last: math.MaxUint64, From: 100, To: 200},
		{ID: 3, First: 1 << 40, Last: 1<<41 - 1, From: 200, To: 300},
		{ID: 4, First: 1 << 41, Last: math.MaxUint64, From: 200, To: 300},
		{ID: 5, First: 1 << 40, Last: 1 << 41, From: 300, To: 400},
	}
	if n := l.Depth(); n != 4 {
		t.Errorf("%d shares, want 4", n)
	}
	if l.deeper(4) || !l.deeper(3) {
		t.Error("4 shares are more than 4, or not more than 3")
	}
	if n := l.With(ShareRef{ID: 6, First: 1 << 40, Last: math.MaxUint64, From: 8, To: 400, Level: 2}).Depth(); n != 2 {
		t.Errorf("%d shares, want 2", n)
	}
}
