package cold

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"slices"
)

// errEnded ends a Join of which nobody wants more.
var errEnded = errors.New("cold: enough")

// Difference is a key of which two tiers may say different things, and what those of their shares say of it that only one of
// them has. It is of use until the function that it is given to returns.
type Difference struct {
	Key      []byte
	Old, New *Record // nil: these shares have nothing of the key
	// OldCounts and NewCounts say that Old or New is what the tier says of the key: no newer share stands for its hash.
	OldCounts, NewCounts bool
}

// Differ tells fn of every key of which two tiers say different things, each once, in the order of hashes; and perhaps of
// others, for fn to look up. It goes over the shares that only one of the two has, and over what they have in common only where
// it must be looked up. Either tier may be nil, and then says nothing of any key. order returns the order of a key's hash.
//
// No key is missed: of all that both tiers have of a key, each takes what is in its newest share. If the share that the one
// takes is in the other, too, and the other way round, both take the same. Otherwise one of them takes it from a share that only
// it has. A share counts as had only for the hashes for which it stands: a tier that has merged it since has it no more.
//
// Errors are those of fn, of ctx and of files; *[CorruptError] says which share is damaged.
func Differ(ctx context.Context, order func(key []byte) uint64, old, new *Tier, fn func(d *Difference) error) error {
	all := stretches(old, new)
	var shares []*Share
	for _, s := range all {
		shares = append(append(shares, s.old...), s.new...)
	}
	slices.SortFunc(shares, func(a, b *Share) int { return cmp.Compare(a.ref.ID, b.ref.ID) })
	if err := OpenAll(slices.Compact(shares)); err != nil {
		return err
	}
	for _, s := range all {
		if err := s.differ(ctx, order, fn); err != nil {
			return err
		}
	}
	return nil
}

// stretch is a range of orders for which the same shares are in only one of two tiers, newer ones first.
type stretch struct {
	first, last uint64
	old, new    []*Share
	oldOnTop    bool // no share that both have is newer than one of old
	newOnTop    bool
	level       bool // the shares that both have are newer than all of old and new, or older than all of them
}

// stretches returns the ranges of orders for which two tiers do not have the same shares, ascending.
func stretches(old, new *Tier) (all []stretch) {
	starts := []uint64{0}
	for _, t := range []*Tier{old, new} {
		if t != nil {
			starts = append(starts, t.starts...)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	for i, first := range starts {
		s := stretch{first: first, last: math.MaxUint64}
		if i+1 < len(starts) {
			s.last = starts[i+1] - 1
		}
		a, b := old.sharesOver(first), new.sharesOver(first)
		var oldAbove, oldBetween, newAbove, newBetween int
		s.old, oldAbove, oldBetween = lacking(a, b)
		s.new, newAbove, newBetween = lacking(b, a)
		if len(s.old)+len(s.new) == 0 {
			continue
		}
		s.oldOnTop, s.newOnTop = oldAbove+oldBetween == 0, newAbove+newBetween == 0
		s.level = oldBetween+newBetween == 0 && oldAbove == newAbove
		if n := len(all); n > 0 && all[n-1].continues(&s) {
			all[n-1].last = s.last
		} else {
			all = append(all, s)
		}
	}
	return all
}

// sharesOver is over for a tier that may be nil.
func (t *Tier) sharesOver(order uint64) []*Share {
	if t == nil {
		return nil
	}
	return t.over(order)
}

// lacking returns the shares of a whose files b has not. Of those that both have, above are newer than all that are returned,
// and between are newer than some of them and older than others.
func lacking(a, b []*Share) (only []*Share, above, between int) {
	common := 0
	for _, s := range a {
		if slices.ContainsFunc(b, func(o *Share) bool { return o.ref.ID == s.ref.ID }) {
			common++
			continue
		}
		if only = append(only, s); len(only) == 1 {
			above = common
		}
		between = common - above
	}
	return only, above, between
}

// continues reports whether s begins where o ends, and is like it otherwise.
func (o *stretch) continues(s *stretch) bool {
	return o.last+1 == s.first && slices.Equal(o.old, s.old) && slices.Equal(o.new, s.new) &&
		o.oldOnTop == s.oldOnTop && o.newOnTop == s.newOnTop && o.level == s.level
}

// differ is Differ for the keys of one stretch.
func (s *stretch) differ(ctx context.Context, order func(key []byte) uint64, fn func(d *Difference) error) error {
	var failed error
	nextOld, stopOld := iter.Pull(s.records(ctx, order, s.old, &failed))
	defer stopOld()
	nextNew, stopNew := iter.Pull(s.records(ctx, order, s.new, &failed))
	defer stopNew()
	a, haveA := nextOld()
	b, haveB := nextNew()
	for failed == nil && (haveA || haveB) {
		c := 0
		switch {
		case !haveB:
			c = -1
		case !haveA:
			c = 1
		default:
			c = compareRecords(a, b)
		}
		d := Difference{}
		if c <= 0 {
			d.Key, d.Old, d.OldCounts = a.Key, a, s.oldOnTop
		}
		if c >= 0 {
			d.Key, d.New, d.NewCounts = b.Key, b, s.newOnTop
		}
		// Where the shares that both have are all above or all below, equal records are hidden in both tiers or in none.
		if !s.level || c != 0 || a.Tombstone != b.Tombstone || !bytes.Equal(a.Value, b.Value) {
			if err := fn(&d); err != nil {
				return err
			}
		}
		if c <= 0 {
			a, haveA = nextOld()
		}
		if c >= 0 {
			b, haveB = nextNew()
		}
	}
	return failed
}

// records returns the newest records of all keys of some shares in the stretch. What ends them is put into failed, if it is an
// error.
func (s *stretch) records(ctx context.Context, order func(key []byte) uint64, shares []*Share, failed *error) iter.Seq[*Record] {
	return func(yield func(*Record) bool) {
		err := Join(ctx, order, s.first, s.last, shares, func(r *Record, _ int64) error {
			if !yield(r) {
				return errEnded
			}
			return nil
		})
		if err != nil && err != errEnded {
			*failed = err
		}
	}
}
