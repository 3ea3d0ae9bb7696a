package epoch

import (
	"errors"
	"testing"
)

func TestSynchronizeUnless_GivesUp(t *testing.T) {
	managers(t, func(t *testing.T, m *Manager) {
		g := m.Register()
		defer g.Release()
		enough, asked := errors.New("enough"), 0
		giveUp := func(try int) error {
			if try != asked {
				t.Errorf("pause %d is said to be number %d", asked, try)
			}
			if asked++; asked > 3 {
				return enough
			}
			return nil
		}
		if err := m.SynchronizeUnless(giveUp); err != nil || asked != 0 {
			t.Fatalf("nobody is inside: %v, asked %d times", err, asked)
		}
		g.Enter()
		if err := m.SynchronizeUnless(giveUp); err != enough || asked != 4 {
			t.Fatalf("a guard is inside: %v, asked %d times", err, asked)
		}
		left := false
		if err := m.SynchronizeUnless(func(int) error {
			if !left {
				left = true
				g.Exit()
			}
			return nil
		}); err != nil || !left {
			t.Fatalf("E2: %v, left %v", err, left)
		}
	})
}

// A guard that is registered while there are none enters behind a Synchronize that has not fenced (E2).
func TestSynchronize_WithoutGuards(t *testing.T) {
	fenced := 0
	m := newManager(true, func() { fenced++ })
	m.Synchronize()
	if fenced != 0 {
		t.Error("a barrier although there is no guard")
	}
	m.Register().Release()
	m.Synchronize()
	if fenced != 1 {
		t.Errorf("%d barriers, want one", fenced)
	}
}
