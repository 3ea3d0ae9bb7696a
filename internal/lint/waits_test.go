package lint

import (
	"go/token"
	"path"
	"slices"
	"testing"
)

// testkit is what tests wait with.
const testkit = "internal/testkit"

// supportsTests reports whether a file is of a test, or of what only tests can use.
func (s *source) supportsTests() bool {
	testing := s.isTest()
	s.imports(func(_ token.Pos, _, p string) { testing = testing || p == "testing" })
	return testing
}

func TestWaits_TestkitIsForTests(t *testing.T) {
	for _, s := range sources(t) {
		if s.supportsTests() {
			continue
		}
		s.imports(func(at token.Pos, _, p string) {
			if p == module+"/"+testkit {
				s.errorf(t, at, "only tests import %s", testkit)
			}
		})
	}
}

// Whoever sleeps in a test, or gives up after a time, either waits for something without a bound of its own, or takes it
// for a proof that nothing has happened meanwhile.
func TestWaits_TestsSleepOnlyByTestkit(t *testing.T) {
	forbidden := []string{"time.Sleep", "time.After", "time.NewTimer", "time.Tick", "time.NewTicker"}
	for _, s := range sources(t) {
		if s.nested || !s.supportsTests() || path.Dir(s.name) == testkit {
			continue
		}
		selectors(s.file, func(at token.Pos, pkg, name string) {
			if slices.Contains(forbidden, pkg+"."+name) {
				s.errorf(t, at, "tests wait by testkit.Eventually or testkit.Within, and are slow by testkit.Pause, not by %s.%s", pkg, name)
			}
		})
	}
}
