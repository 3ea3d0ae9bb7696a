package main

import (
	"os"
	"path/filepath"
	"strings"
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

// The table of fuzz/README.md is the one that this program prints.
func TestReadme_HasTheTable(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), markdown(mutations)) {
		t.Error("the table is out of date: go run ./fuzz/mutate -table")
	}
}
