package fuzz

import (
	"slices"
	"time"
)

// Minimise returns a tape that still fails with as little as possible in it, and what it fails with: it leaves out
// ever shorter runs of commands, then makes operands 0 or halves them, until nothing more can go or the time is up. A
// tape whose failure depends on what runs in the background is played several times before it is taken to pass.
// fails plays a tape and returns what is wrong; the tape given must fail, and err is what with.
func Minimise(t Tape, err error, limit time.Duration, fails func(Tape) error) (Tape, error) {
	m := minimiser{tape: slices.Clone(t), err: err, until: time.Now().Add(limit), fails: fails}
	for m.shrink() {
	}
	return m.tape, m.err
}

type minimiser struct {
	tape  Tape
	err   error
	until time.Time
	fails func(Tape) error
}

// patience is how often a tape is played before it is taken to pass.
const patience = 3

// try adopts t if it fails, too.
func (m *minimiser) try(t Tape) bool {
	for range patience {
		if time.Now().After(m.until) {
			return false
		}
		if err := m.fails(t); err != nil {
			m.tape, m.err = t, err
			return true
		}
	}
	return false
}

// shrink makes one round and reports whether it was of any use.
func (m *minimiser) shrink() (smaller bool) {
	for n := max(len(m.tape)/2, 1); n >= 1; n /= 2 {
		for i := 0; i+n <= len(m.tape); {
			if m.try(slices.Delete(slices.Clone(m.tape), i, i+n)) {
				smaller = true
			} else {
				i += n
			}
		}
	}
	for i := range m.tape {
		for _, operand := range []func(*Op) *byte{
			func(o *Op) *byte { return &o.A }, func(o *Op) *byte { return &o.B }, func(o *Op) *byte { return &o.C },
		} {
			for _, to := range []byte{0, *operand(&m.tape[i]) / 2} {
				t := slices.Clone(m.tape)
				if was := operand(&t[i]); *was > to {
					*was = to
					smaller = m.try(t) || smaller
				}
			}
		}
	}
	return smaller
}
