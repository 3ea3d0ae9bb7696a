package index

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/internal/word"
)

// writeOwn writes triples of which Logged.Own is true, or not, into one share.
func (f *shareFiles) writeOwn(t testing.TB, from, to word.Address, triples []Triple, own bool) Written {
	t.Helper()
	written, err := WriteTriples(context.Background(), f.config(), from, to, slices.Clone(triples), own)
	if err != nil || len(written) != 1 {
		t.Fatalf("%+v, %v", written, err)
	}
	return written[0]
}

// A record is dead if a share whose keys are known has a newer one of its hash, and not if it has the record itself, an older one,
// or only neighbours (I21).
func TestSupersede_ByANewerRecordOfTheSameHash(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		triples := newestOf(randomTriples(r, 1+r.IntN(1<<r.IntN(16))))
		var f shareFiles
		s := f.open(t, f.writeOwn(t, 0, word.MaxAddress, triples, true).ShareRef)[0]
		var questions []Question
		want := map[int32]bool{}
		ask := func(order uint64, a word.Address, dead bool) {
			tag := int32(len(questions))
			questions = append(questions, Question{order: order, At: a, Tag: tag})
			want[tag] = dead
		}
		for _, q := range triples {
			if r.IntN(1+len(triples)/50) > 0 {
				continue
			}
			ask(q.order, q.Address(), false)
			ask(q.order, q.Address()-8, true)
			ask(q.order, q.Address()+8, false)
			for _, beside := range []uint64{q.order - 1, q.order + 1} {
				if _, there := slices.BinarySearchFunc(triples, beside, func(t Triple, o uint64) int {
					return compareTriples(Triple{order: t.order}, Triple{order: o})
				}); !there {
					ask(beside, 8, false)
				}
			}
		}
		r.Shuffle(len(questions), func(i, j int) { questions[i], questions[j] = questions[j], questions[i] })
		SortQuestions(questions)
		var a Answers
		if err := a.Of(t.Context(), s, questions); err != nil {
			t.Fatal(err)
		}
		for _, q := range questions {
			if q.Dead != want[q.Tag] {
				t.Fatalf("seed %d: a record at %#x of the order %#x: dead %v", seed, q.At, q.order, q.Dead)
			}
		}
	}
}

// A share that may have a triple of any key answers nothing, nor does one that was merged from such a share; what two shares have
// told whose keys are known, their merge tells as well, tombstone or not (I21).
func TestSupersede_OnlyWhereAllKeysAreKnown(t *testing.T) {
	older, newer := []Triple{MakeTriple(1, 4096, 32, false)}, []Triple{MakeTriple(1, 8192, 24, true), MakeTriple(2, 8216, 32, false)}
	for _, own := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
		var f shareFiles
		a, b := f.writeOwn(t, 0, 8192, older, own[0]), f.writeOwn(t, 8192, 16384, newer, own[1])
		m := Shares{a.ShareRef, b.ShareRef}.merge(span{0, math.MaxUint64}, 0, word.MaxAddress)
		merged, err := MergeShares(t.Context(), f.config(), m, f.open(t, m.Inputs...))
		if err != nil || len(merged) != 1 {
			t.Fatal(merged, err)
		}
		if all := own[0] && own[1]; a.Own != own[0] || b.Own != own[1] || merged[0].Own != all {
			t.Errorf("%v: the shares say %v, %v and the merge %v", own, a.Own, b.Own, merged[0].Own)
		}
		for _, w := range []Written{b, merged[0]} {
			questions := []Question{Ask(1, 4096, 0)}
			var x Answers
			if err := x.Of(t.Context(), f.open(t, w.ShareRef)[0], questions); err != nil || questions[0].Dead != w.Own {
				t.Errorf("%v: known %v, dead %v: %v", own, w.Own, questions[0].Dead, err)
			}
		}
	}
}

// A run whose records are of several versions, or were told in several pieces, says that its keys are known only if all were.
func TestSupersede_ARunKnowsItsKeysIfAllWereTold(t *testing.T) {
	for _, own := range [][3]bool{{true, true, true}, {false, true, true}, {true, false, true}, {true, true, false}} {
		d := NewDisk(DiskConfig{CutBytes: 1, MergeBytes: 1 << 20})
		d.Adopt(nil, 4096, 1)
		tell := func(h uint64, a word.Address, version uint64, own bool) {
			r := logged(h, a, version)
			r.Own = own
			d.Log(a, a+32, []Logged{r})
		}
		tell(1, 4096, 1, own[0])
		tell(2, 4128, 2, own[1])
		d.Committed(1) // both groups are of what every version to come will have
		tell(3, 4160, 2, own[2])
		r, ok := d.TakeRun(true)
		if !ok {
			t.Fatal("there is no run")
		}
		mixed := false
		for _, g := range r.Groups {
			mixed = mixed || g.Mixed
		}
		if want := !(own[0] && own[1] && own[2]); mixed != want {
			t.Errorf("%v: mixed %v", own, mixed)
		}
	}
}

// Only shares answer that are known to know their keys, and that have log behind what is asked for.
func TestSupersede_WhoTells(t *testing.T) {
	var f shareFiles
	d := NewDisk(DiskConfig{CutBytes: 1, MergeBytes: 1 << 20})
	d.Adopt(nil, 4096, 1)
	for i, own := range []bool{true, false, true} {
		a := word.Address(4096 + 4096*i)
		r := logged(1, a, uint64(i/2+1)) // the last is of a version under way
		r.Own = own
		d.Log(a, a+4096, []Logged{r})
		run, _ := d.TakeRun(true)
		for j := range run.Groups {
			g := &run.Groups[j]
			g.Shares = []Written{f.writeOwn(t, run.From, run.To, g.Triples, !g.Mixed)}
		}
		d.FinishRun(run, nil)
	}
	var from []word.Address
	for _, r := range d.Telling(0) {
		if r.Triples > 0 {
			from = append(from, r.From)
		}
	}
	slices.Sort(from)
	if !slices.Equal(from, []word.Address{4096, 12288}) {
		t.Errorf("shares of the log from %v on tell", from)
	}
	if got := d.Telling(8192); slices.ContainsFunc(got, func(r ShareRef) bool { return r.To <= 8192 }) {
		t.Errorf("%+v has no log behind 8192", got)
	}
	d.Adopt(Shares{{ID: 1, Last: math.MaxUint64, From: 4096, To: 8192}}, 8192, 3)
	if got := d.Telling(0); len(got) > 0 {
		t.Errorf("nobody has looked into %+v", got)
	}
}

// Damage is an error, and the questions behind it have no answer.
func TestSupersede_Damage(t *testing.T) {
	var triples []Triple
	for i := range 2000 {
		triples = append(triples, MakeTriple(benchHash(uint64(i)), word.Address(4096+32*i), 32, false))
	}
	var f shareFiles
	ref := f.writeOwn(t, 0, word.MaxAddress, triples, true).ShareRef
	s := f.open(t, ref)[0]
	f.files[ref.ID].b[blockAt(len(s.first)-1)+100] ^= 1
	var questions []Question
	for _, q := range triples {
		questions = append(questions, Question{order: q.order, At: 8})
	}
	SortQuestions(questions)
	var a Answers
	var c *CorruptError
	if err := a.Of(t.Context(), s, questions); !errors.As(err, &c) || c.Share != ref.ID {
		t.Errorf("of a damaged share: %v", err)
	}
	if questions[len(questions)-1].Dead {
		t.Error("a block that is damaged has answered")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Of(ctx, s, questions[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("of a context that has ended: %v", err)
	}
}
