package invariant

import (
	"strings"
	"testing"
)

func TestCheck_PanicsOnlyWhenEnabledAndFalse(t *testing.T) {
	message := func(ok bool) (s string) {
		defer func() {
			if r := recover(); r != nil {
				s = r.(string)
			}
		}()
		Check(ok, "X1: %d is not %d", 1, 2)
		return ""
	}
	if m := message(true); m != "" {
		t.Fatalf("a check that holds panicked: %s", m)
	}
	m := message(false)
	if got := strings.Contains(m, "X1: 1 is not 2"); got != Enabled {
		t.Fatalf("with Enabled = %v a failed check said %q", Enabled, m)
	}
}

func TestSometimes_FollowsThePercentage(t *testing.T) {
	count := func(percent int) (n int) {
		for range 10_000 {
			if Sometimes(percent) {
				n++
			}
		}
		return n
	}
	if n := count(0); n != 0 {
		t.Fatalf("0 percent came true %d times", n)
	}
	n := count(50)
	if Enabled && (n < 4_000 || n > 6_000) {
		t.Fatalf("50 percent came true %d times in 10,000", n)
	}
	if !Enabled && n != 0 {
		t.Fatalf("came true %d times without the tag", n)
	}
	if n := count(100); Enabled && n != 10_000 {
		t.Fatalf("100 percent came true %d times in 10,000", n)
	}
}
