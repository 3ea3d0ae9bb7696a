package reclog

import (
	"errors"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

func (s stored) end() uint64 {
	return uint64(s.at) + uint64(record.ShapeFor(len(s.key), len(s.value), 0).Size)
}

// checkCompanions expects the records behind the i-th of all: those of its last block at the least, and none from head on. It
// returns how many there are.
func checkCompanions(t *testing.T, all []stored, i int, c *Companions, head uint64) (n int) {
	t.Helper()
	j := i + 1
	for ; ; j++ {
		a, rec, ok := c.Next()
		if !ok {
			break
		}
		sh, _ := rec.Shape()
		if j == len(all) || a != all[j].at || !all[j].is(rec, sh) || all[j].end() > head {
			t.Fatalf("companion %d of the record at %#x is at %#x", j-i, all[i].at, a)
		}
	}
	if j < len(all) && all[j].end() <= min(AlignBlock(all[i].end()), head) {
		t.Fatalf("the record at %#x has %d companions, the one at %#x is none", all[i].at, j-i-1, all[j].at)
	}
	return j - i - 1
}

// companionsTaker checks the companions of what a fetcher reads.
type companionsTaker struct {
	t    *testing.T
	f    *Fetcher
	all  []stored
	head uint64
	n    int
}

func (c *companionsTaker) Fetched(_ word.Address, tag int, _ record.Bytes, _ record.Shape, err error) {
	must(c.t, err)
	c.n += checkCompanions(c.t, c.all, tag, c.f.Companions(), c.head)
}

// Whoever reads a record gets those behind it, as they were written, up to the end of what was read, to the head of the log, or
// to the first that is damaged.
func TestCompanions_AreTheRecordsBehind(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			k := newKitOn(t, 64, fsys, dir)
			all := k.writeAll(8 * kitSegment)
			below, head := k.onDisk(all), k.Head()
			r, n := k.NewReader(), 0
			for i, s := range all[:below] {
				_, _, err := r.Read(s.at)
				must(t, err)
				n += checkCompanions(t, all, i, r.Companions(), head)
			}
			f := k.NewFetcher(16)
			defer func() { must(t, f.Rest()) }()
			must(t, f.Open())
			take := &companionsTaker{t, f, all, head, 0}
			for i, s := range all[:below] {
				f.Want(s.at, i)
			}
			for f.Flush(take); f.Waiting(); {
				f.Wait(take, 1)
			}
			if n < below || take.n < below {
				t.Errorf("%d records had %d companions for a reader, %d for a fetcher", below, n, take.n)
			}
			if _, _, ok := f.Companions().Next(); ok {
				t.Error("companions outlive the call")
			}

			i := below / 2
			for AlignBlock(all[i].end()) != AlignBlock(all[i+1].end()) {
				i++
			}
			seg := uint64(all[i+1].at) / kitSegment
			file, err := fsys.Open(k.segments.path(seg), fsx.Write)
			must(t, err)
			b := make([]byte, 1)
			off := int64(uint64(all[i+1].at)%kitSegment) + 17
			_, err = file.ReadAt(b, off)
			must(t, err)
			_, err = file.WriteAt([]byte{b[0] ^ 4}, off)
			must(t, errors.Join(err, file.Close()))
			if _, _, err := r.Read(all[i].at); err != nil {
				t.Fatal(err)
			}
			if a, _, ok := r.Companions().Next(); ok {
				t.Errorf("a companion at %#x behind damage at %#x", a, all[i+1].at)
			}
			if _, _, err := r.Read(all[i+1].at); !errors.Is(err, fsx.ErrCorrupt) {
				t.Errorf("read of what is damaged: %v", err)
			}
			if _, _, ok := r.Companions().Next(); ok {
				t.Error("companions of a record that is damaged")
			}
		})
	}
}
