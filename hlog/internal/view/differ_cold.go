package view

import (
	"context"
	"errors"

	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/internal/word"
)

// said is what a tier says of a key.
type said struct {
	known bool // else it has to be looked up
	alive bool
	value []byte
}

// twoSaid is what the tiers of the two versions say.
type twoSaid struct{ old, new said }

// tiers compares the keys that are in cold files of which only one version has the file (Z3).
func (d *differ) tiers(ctx context.Context) error {
	err := cold.Differ(ctx, d.new.order, d.old.tier(), d.new.tier(), func(k *cold.Difference) error {
		if err := d.over(); err != nil {
			return err
		}
		if !d.addBelow(k) {
			return nil
		}
		more, err := d.flush(ctx)
		if err == nil && !more {
			err = errEnough
		}
		return err
	})
	if err != nil {
		if errors.Is(err, errEnough) {
			return nil
		}
		return d.new.ColdFault(err)
	}
	_, err = d.flush(ctx)
	return err
}

var errEnough = errors.New("enough") // fn has returned false

// tier returns the tier of the version, nil if it has none or is the empty state.
func (v *Version) tier() *cold.Tier {
	if v == nil || v.Below == nil {
		return nil
	}
	return v.Below.Tier()
}

// addBelow notes a key in cold files; full asks for a flush.
func (d *differ) addBelow(k *cold.Difference) (full bool) {
	c := d.next()
	data := append(c.data[:0], k.Key...)
	below := &twoSaid{}
	note := func(r *cold.Record, counts bool) said {
		if !counts || r == nil {
			return said{}
		}
		at := len(data)
		data = append(data, r.Value...)
		return said{known: true, alive: !r.Tombstone, value: data[at:len(data):len(data)]}
	}
	below.old, below.new = note(k.Old, k.OldCounts), note(k.New, k.NewCounts)
	*c = candidate{data: data, keyLen: len(k.Key), below: below}
	return d.added(len(data))
}

// compareBelow finds out what has become of a key in cold files, unless a record in one of the logs answers for it (Z3).
func (d *differ) compareBelow(c *candidate, key []byte) error {
	for _, v := range []*Version{d.new, d.old} {
		if a, err := v.InLog(key); a != word.None || err != nil {
			return err
		}
	}
	if err := d.new.lookBelow(&c.below.new, key); err != nil {
		return err
	}
	if err := d.old.lookBelow(&c.below.old, key); err != nil {
		return err
	}
	old, now := &c.below.old, &c.below.new
	c.note(key, now.value, now.alive, old.value, old.alive)
	return nil
}

// lookBelow asks the tier of the version for what it says of key, unless that is known.
func (v *Version) lookBelow(s *said, key []byte) (err error) {
	if s.known || v == nil {
		return nil
	}
	s.value, s.alive, err = v.findBelow(nil, key)
	return err
}
