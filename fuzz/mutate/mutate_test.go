package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Every mutation still fits the source: one that does not would silently test nothing.
func TestMutations_Apply(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range mutations {
		if seen[m.name] {
			t.Errorf("two mutations are called %s", m.name)
		}
		seen[m.name] = true
		source, err := os.ReadFile(filepath.Join("../..", filepath.FromSlash(m.file)))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := m.apply(source); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
