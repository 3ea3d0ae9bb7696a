package fuzz

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// report fails the test with what a tape has shown, and with the least of it that still shows it, in the form in which
// it goes into TestRegress.
func report(t *testing.T, what string, err error, tape Tape, play func(Tape) error) {
	t.Helper()
	least, why := Minimise(tape, err, 30*time.Second, play)
	t.Errorf("%s: %v\nbytes %q\nminimised: %v\n%#v", what, err, tape.Encode(), why, least)
}

// A failure that needs three commands in order, one of them with a large operand, is told by just these.
func TestMinimise(t *testing.T) {
	bad := errors.New("bad")
	played := 0
	fails := func(tape Tape) error {
		played++
		state := 0
		for _, o := range tape {
			switch {
			case state == 0 && o.Kind == OpFill && o.B >= 40, state == 1 && o.Kind == OpBegin, state == 2 && o.Kind == OpRestore:
				state++
			}
		}
		if state == 3 && played%2 == 0 { // as one that depends on the background
			return bad
		}
		return nil
	}
	tape := append(randomTape(1, 50), Op{OpFill, 3, 200, 9}, Op{OpSet, 1, 2, 3}, Op{OpBegin, 7, 7, 7}, Op{OpRestore, 255, 1, 1})
	least, err := Minimise(append(tape, randomTape(2, 50)...), bad, time.Minute, fails)
	if err != bad || len(least) != 3 || least[0].B < 40 || least[0].B >= 80 {
		t.Fatalf("%v: %#v", err, least)
	}
	want := fmt.Sprintf("Tape{{OpFill, 0, %d, 0}, {OpBegin, 0, 0, 0}, {OpRestore, 0, 0, 0}}", least[0].B)
	if got := fmt.Sprintf("%#v", least); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if least, _ := Minimise(tape, bad, 0, fails); len(least) != len(tape) {
		t.Error("it does not end when the time is up")
	}
}
