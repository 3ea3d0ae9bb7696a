package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/hybridlog/hybridlog/hlog"
)

// unitPairs is how many pairs of counters the units of a tape move amounts in.
const unitPairs = 16

// pairKey returns the key of one side of a pair. No other command has it.
func pairKey(pair, side int) []byte {
	return fmt.Appendf(nil, "pair %d, side %d", pair%unitPairs, side)
}

// unitsKey is that of the record with the number of units.
var unitsKey = []byte("units")

// unit plays OpUnit: an amount goes from one side of a pair to the other, a key is set, and the units are counted. In between
// background work goes on, and cuts and restores are tried. In each state that the model has of a version the two sides of a
// pair are 0 together, so that a version with a part of a unit is none that the model knows.
func (r *Runner) unit(o Op) error {
	pair, amount := int(o.A), uint64(o.B)+1
	ended := errors.New("the unit's own")
	err := r.session.Unit(func() error {
		if err := r.add(pairKey(pair, 0), amount); err != nil {
			return err
		}
		if err := r.refusedInUnit(o); err != nil {
			return err
		}
		if err := r.set(r.session, Key(int(o.C)), sizeOf(o.B)); err != nil {
			return err
		}
		if err := r.add(pairKey(pair, 1), -amount); err != nil {
			return err
		}
		return errors.Join(r.add(unitsKey, 1), ended)
	})
	switch {
	case err == nil:
		return disagree("a unit does not return the error of its function")
	case errors.Is(err, ended) && err.Error() == ended.Error():
		return nil // and the error undoes nothing
	}
	return err
}

// add raises a counter by the session.
func (r *Runner) add(key []byte, n uint64) error {
	v := make([]byte, 8)
	copy(v, r.model.live[string(key)])
	binary.LittleEndian.PutUint64(v, binary.LittleEndian.Uint64(v)+n)
	if err := r.get(r.session, key); err != nil {
		return err
	}
	return r.put(r.session, key, v)
}

// refusedInUnit tries what must change nothing while a unit is under way. The contexts have ended, so that nobody waits.
func (r *Runner) refusedInUnit(o Op) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Work.Pause(pauseOperations)
	var err, want error
	switch o.C % 4 {
	case 0:
		_, err = r.store.Checkpoint(ctx)
		want = context.Canceled
	case 1:
		err, want = r.session.Unit(func() error { return nil }), hlog.ErrUnitNested
	case 2:
		v := r.model.current
		if v == 0 || len(r.pending) > 0 {
			return nil
		}
		_, err = r.store.Restore(ctx, v)
		want = context.Canceled
	default:
		return nil
	}
	if !errors.Is(err, want) && !r.tolerable(err) {
		return disagree("in a unit: got %v, want %v", err, want)
	}
	return nil
}

// changes plays OpChanges: what has changed between two versions is compared with the model.
func (r *Runner) changes(o Op) error {
	m := r.model
	from, to := m.pick(o.A), m.pick(o.B)
	if to == 0 {
		return nil
	}
	old := &entry{state: State{}}
	if o.C%8 == 0 {
		from = 0
	} else {
		old = m.listed[from]
	}
	err := checkChanges(r.store, from, to, old.state, m.listed[to].state)
	switch {
	case err == nil, errors.Is(err, hlog.ErrVersionNotFound) && (m.gone[from] != nil || m.gone[to] != nil), r.tolerable(err):
		return nil
	}
	return fmt.Errorf("changes from %d to %d: %w", from, to, err)
}

// checkChanges applies what has changed between two versions to the state of the first, and compares it with that of the
// second. A key that is reported has changed, and is reported once.
func checkChanges(s *hlog.Store, from, to Version, old, now State) error {
	state, seen := maps.Clone(old), map[string]bool{}
	var wrong error
	err := s.Changes(context.Background(), from, to, func(c hlog.Change) bool {
		k := string(c.Key)
		was, had := state[k]
		switch {
		case seen[k]:
			wrong = disagree("key %x is reported twice", clip(k))
		case c.Deleted && !had:
			wrong = disagree("key %x is deleted and was not there", clip(k))
		case c.Deleted:
			delete(state, k)
		case had && was == string(c.Value):
			wrong = disagree("key %x is reported with the value that it had", clip(k))
		default:
			state[k] = string(c.Value)
		}
		seen[k] = true
		return wrong == nil
	})
	if err = errors.Join(err, wrong); err != nil {
		return err
	}
	if err := diff(state, now); err != nil {
		return disagree("after the changes were applied: %v", err)
	}
	return nil
}
