package cold

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// said is a tier, and what it says of every key that it has a value of.
type said struct {
	tier  *Tier
	refs  index.Shares
	at    word.Address
	state map[string][]byte
}

// branches returns tiers that come from each other by demotions and merges, on several branches.
func branches(t testing.TB, rng *rand.Rand, f *files, rounds int) []*said {
	t.Helper()
	all := []*said{{at: word.FirstAddress, state: map[string][]byte{}}}
	tail := word.Address(word.FirstAddress)
	for range rounds {
		from := all[len(all)-1]
		if rng.IntN(4) == 0 {
			from = all[rng.IntN(len(all))] // a rollback
		}
		now := &said{refs: slices.Clone(from.refs), at: from.at, state: maps.Clone(from.state)}
		if rng.IntN(4) > 0 || len(now.refs) == 0 {
			tail += word.Address(8 * (1 + rng.IntN(1000)))
			records := randomRecords(rng, 1+rng.IntN(200), 5000)
			for i := range records {
				r := &records[i]
				if rng.IntN(2) == 0 {
					r.Value, r.Tombstone = []byte{byte(rng.IntN(2))}, false // it may have had that before
				}
				if now.state[string(r.Key)] = r.Value; r.Tombstone {
					delete(now.state, string(r.Key))
				}
			}
			now.refs = now.refs.Add(mustWrite(t, f, 32<<10, now.at, tail, records)...)
			now.at = tail
		}
		for rng.IntN(3) > 0 {
			m, ok := now.refs.NextMerge(int64(2000+rng.IntN(20_000)), nil, index.Known{})
			if !ok {
				break
			}
			cfg := config(f, 32<<10)
			cfg.DropTombstones = m.From == word.FirstAddress
			outs, err := Merge(context.Background(), cfg, m, f.open(t, m.Inputs...))
			if err != nil {
				t.Fatal(err)
			}
			now.refs = now.refs.Add(outs...)
		}
		var err error
		if now.tier, err = NewTier(now.at, 1, now.refs, f.open(t, now.refs...)); err != nil {
			t.Fatal(err)
		}
		all = append(all, now)
	}
	return all
}

// Every key of which two tiers say different things is told once, whatever demotions, merges and rollbacks lie between them.
// Of one that is not looked up the record is what the tier says.
func TestDiffer_MissesNone(t *testing.T) {
	var differ, told, counted, gone int
	for seed := range uint64(testkit.Scaled(4, 10, 40, 200)) {
		rng := rand.New(rand.NewPCG(seed, 17))
		f := newFiles()
		all := branches(t, rng, f, 25)
		for range 60 {
			old, now := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
			got := map[string]bool{}
			err := Differ(context.Background(), orderOf, old.tier, now.tier, func(d *Difference) error {
				k := string(d.Key)
				if got[k] {
					return fmt.Errorf("key %.30q is told twice", k)
				}
				got[k] = true
				for _, side := range []struct {
					r      *Record
					counts bool
					state  map[string][]byte
				}{{d.Old, d.OldCounts, old.state}, {d.New, d.NewCounts, now.state}} {
					v, there := side.state[k]
					if side.counts && (side.r.Tombstone == there || !bytes.Equal(side.r.Value, v)) {
						return fmt.Errorf("key %.30q: what counts is no tombstone or not the value: %v", k, side.r.Tombstone)
					}
					if side.counts {
						counted++
					}
				}
				return nil
			})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			told += len(got)
			check := func(a, b map[string][]byte) {
				for k, v := range a {
					w, there := b[k]
					if there && bytes.Equal(v, w) {
						continue
					}
					if differ++; !there {
						gone++
					}
					if !got[k] {
						t.Fatalf("seed %d: key %.30q is %d bytes in one and in the other %v, %d bytes, and is not told", seed, k, len(v), there, len(w))
					}
				}
			}
			check(old.state, now.state)
			check(now.state, old.state)
		}
	}
	if differ == 0 || gone == 0 || counted == 0 {
		t.Errorf("%d differ, %d of them are gone, %d were not to be looked up: this shows nothing", differ, gone, counted)
	}
	t.Logf("%d were told, %d differ, of them %d are gone; %d records counted", told, differ, gone, counted)
}

// A share that both tiers have may be older than what one of them has alone and newer than what the other has: then equal records
// say nothing. Every way in which four shares may have a key or not is tried.
func TestDiffer_AShareInBetween(t *testing.T) {
	f := newFiles()
	const kinds = 4 // nothing, a tombstone, one of two values
	var segments [4][]Record
	says := func(key int, newestFirst ...int) string {
		for _, segment := range newestFirst {
			if kind := key >> (2 * segment) % kinds; kind > 0 {
				return []string{"", "value", "other"}[kind-1]
			}
		}
		return ""
	}
	for key := range 256 {
		for i := range segments {
			if kind := key >> (2 * i) % kinds; kind > 0 {
				r := recordOf(fmt.Sprintf("key %03d", key), []byte(says(key, i)))
				r.Tombstone = kind == 1
				segments[i] = append(segments[i], r)
			}
		}
	}
	var refs [4]index.ShareRef
	at := word.Address(word.FirstAddress)
	for i, records := range segments {
		SortRecords(records)
		refs[i] = mustWrite(t, f, 1<<20, at, at+4096, records)[0]
		at += 4096
	}
	m := index.Merge{Inputs: refs[:2], First: 0, Last: ^uint64(0), From: refs[0].From, To: refs[1].To, Level: 1}
	cfg := config(f, 1<<20)
	cfg.DropTombstones = true
	merged, err := Merge(context.Background(), cfg, m, f.open(t, m.Inputs...))
	if err != nil {
		t.Fatal(err)
	}
	tier := func(refs ...index.ShareRef) *Tier {
		made, err := NewTier(refs[len(refs)-1].To, 1, refs, f.open(t, refs...))
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	before, after := tier(refs[:3]...), tier(merged[0], refs[2], refs[3])
	for _, pair := range [][2]*Tier{{before, after}, {after, before}} {
		told := map[string]bool{}
		if err := Differ(context.Background(), orderOf, pair[0], pair[1], func(d *Difference) error {
			told[string(d.Key)] = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for key := range 256 {
			name := fmt.Sprintf("key %03d", key)
			if was, is := says(key, 2, 1, 0), says(key, 3, 2, 1, 0); was != is && !told[name] {
				t.Errorf("%s, of shares %04b: one tier says %q, the other %q, and it is not told", name, key, was, is)
			}
		}
	}
}

// What two tiers have in common is not read.
func TestDiffer_ReadsWhatIsNotShared(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 18))
	f := newFiles()
	refs := index.Shares(mustWrite(t, f, 64<<10, word.FirstAddress, 1<<20, randomRecords(rng, 5000, 300)))
	more := refs.Add(mustWrite(t, f, 64<<10, 1<<20, 1<<21, randomRecords(rng, 10, 100))...)
	open := func(at word.Address, refs index.Shares) (*Tier, *int) {
		reads := 0
		var shares []*Share
		for _, r := range refs {
			s, err := OpenShare(&countedFile{f.byID[r.ID], &reads}, r)
			if err != nil {
				t.Fatal(err)
			}
			shares = append(shares, s)
		}
		reads = 0
		tier, err := NewTier(at, 1, refs, shares)
		if err != nil {
			t.Fatal(err)
		}
		return tier, &reads
	}
	old, oldReads := open(1<<20, refs)
	now, newReads := open(1<<21, more)
	told := 0
	count := func(*Difference) error { told++; return nil }
	if err := Differ(t.Context(), orderOf, old, now, count); err != nil || told != 10 {
		t.Errorf("%d keys are told, of 10: %v", told, err)
	}
	if *oldReads != 0 || *newReads > 4 {
		t.Errorf("%d reads of one tier and %d of the other for 10 keys of one share", *oldReads, *newReads)
	}
	told = 0
	if err := Differ(t.Context(), orderOf, now, now, count); err != nil || told != 0 || *newReads > 4 {
		t.Errorf("of a tier and itself: %d keys, %d reads, %v", told, *newReads, err)
	}
	enough := errors.New("enough")
	if err := Differ(t.Context(), orderOf, nil, now, func(*Difference) error { return enough }); err != enough {
		t.Errorf("the error of the function: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Differ(ended, orderOf, nil, now, count); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// countedFile counts its reads.
type countedFile struct {
	*memFile
	reads *int
}

func (c *countedFile) ReadAt(p []byte, off int64) (int, error) {
	*c.reads++
	return c.memFile.ReadAt(p, off)
}
