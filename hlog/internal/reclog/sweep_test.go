package reclog

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// sweepOnce reads the records of all whose indices are given, ascending, and fails unless each comes once, as it was written.
func (k *kit) sweepOnce(t *testing.T, s *Sweep, all []stored, indices []int) {
	t.Helper()
	var wants []Wanted
	for _, i := range indices {
		wants = append(wants, Wanted{At: all[i].at, Tag: int32(i)})
	}
	var got []int
	must(t, s.Read(t.Context(), wants, func(w Wanted, rec record.Bytes, sh record.Shape, err error) {
		if err != nil || !all[w.Tag].is(rec, sh) || w.At != all[w.Tag].at {
			t.Errorf("record %d at %#x: %v", w.Tag, w.At, err)
		}
		got = append(got, int(w.Tag))
	}))
	slices.Sort(got)
	if !slices.Equal(got, indices) {
		t.Errorf("%d records came, %d were wanted", len(got), len(indices))
	}
}

// Records of every size come as they were written, however far they are from each other, and also those that cross the end of
// the blocks that were read for them.
func TestSweep_AllRecords(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			k := newKitOn(t, 64, fsys, dir)
			all := k.writeAll(8 * kitSegment)
			below := k.onDisk(all)
			s := k.NewSweep()
			rnd := rand.New(rand.NewPCG(1, 2))
			for _, every := range []int{1, 3, 30, 300} {
				var some []int
				for i := rnd.IntN(every); i < below; i += 1 + rnd.IntN(2*every) {
					some = append(some, i)
					if rnd.IntN(5) == 0 {
						some = append(some, i) // two that ask for one record
					}
				}
				before := s.Reads()
				k.sweepOnce(t, s, all, some)
				if n := s.Reads() - before; every == 1 && n > int64(len(some)/4) {
					t.Errorf("%d reads for %d neighbours", n, len(some))
				}
			}
			must(t, s.Rest())
			k.sweepOnce(t, s, all, []int{0, below - 1}) // takes the memory again
			must(t, s.Rest())
		})
	}
}

// Damage is told with the records that it concerns; the others come.
func TestSweep_MissingSegment(t *testing.T) {
	k := newKit(t, 16)
	all := k.writeAll(4 * kitSegment)
	below := k.onDisk(all)
	k.segments.Forget(1)
	must(t, k.segments.fs.Remove(k.segments.path(1)))
	s := k.NewSweep()
	defer func() { must(t, s.Rest()) }()
	var wants []Wanted
	for i := range all[:below] {
		wants = append(wants, Wanted{At: all[i].at, Tag: int32(i)})
	}
	came, failed := 0, 0
	must(t, s.Read(t.Context(), wants, func(w Wanted, rec record.Bytes, sh record.Shape, err error) {
		if missing := uint64(w.At)/kitSegment == 1; missing != errors.Is(err, fsx.ErrCorrupt) || !missing && !all[w.Tag].is(rec, sh) {
			t.Errorf("record at %#x: %v", w.At, err)
		}
		if came++; err != nil {
			failed++
		}
	}))
	if came != below || failed == 0 || failed == came {
		t.Errorf("of %d records %d came, %d of them with an error", below, came, failed)
	}
}

// An error of Turn ends a sweep, which is of use afterwards. Nothing is under way when it returns (D7).
func TestSweep_TurnEndsIt(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			k := newKitOn(t, 64, fsys, dir)
			all := k.writeAll(8 * kitSegment)
			below := k.onDisk(all)
			s := k.NewSweep()
			defer func() { must(t, s.Rest()) }()
			enough := errors.New("enough")
			turns := 0
			s.Turn = func(context.Context) error {
				if turns++; turns == 3 {
					return enough
				}
				return nil
			}
			var wants []Wanted
			var indices []int
			for i := range all[:below] {
				wants, indices = append(wants, Wanted{At: all[i].at, Tag: int32(i)}), append(indices, i)
			}
			if err := s.Read(t.Context(), wants, func(Wanted, record.Bytes, record.Shape, error) {}); err != enough {
				t.Fatal(err)
			}
			if !s.queue.Idle() || s.halves[0].n+s.halves[1].n > 0 {
				t.Error("reads are under way")
			}
			s.Turn = nil
			k.sweepOnce(t, s, all, indices)
		})
	}
}
