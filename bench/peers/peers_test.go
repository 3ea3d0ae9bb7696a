package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
)

// Every peer must do what the common interface says, or what is measured is not what it seems.
func TestPeers_SetGetDeleteSnapshotRestoreReopen(t *testing.T) {
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) {
			dir := t.TempDir()
			e, err := p.open(dir, 16<<20)
			if err != nil {
				t.Fatal(err)
			}
			check := func(when, key, want string) {
				t.Helper()
				v, err := e.Get([]byte(key))
				if err != nil || string(v) != want || (v == nil) != (want == "") {
					t.Fatalf("%s: Get(%s) = %q, %v, want %q", when, key, v, err, want)
				}
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			for i := range 1000 {
				must(e.Set([]byte(fmt.Sprintf("k%04d", i)), []byte(fmt.Sprint("one", i))))
			}
			must(e.Snapshot(1))
			must(e.Set([]byte("k0001"), []byte("two")))
			must(e.Set([]byte("k0002"), nil))
			must(e.Set([]byte("new"), []byte("two")))
			check("after deleting", "k0002", "")
			must(e.Snapshot(5))
			must(e.Restore(1))
			check("at version 1", "k0001", "one1")
			check("at version 1", "k0002", "one2")
			check("at version 1", "new", "")
			must(e.Restore(5))
			if s, ok := e.(contest.Scanner); ok != !p.inMemory && p.name != "hybridlog" {
				t.Errorf("it can be scanned: %v", ok)
			} else if ok {
				if n, err := s.Scan(context.Background()); n != 1000 || err != nil {
					t.Errorf("a scan finds %d keys, %v", n, err)
				}
			}
			check("at version 5", "k0001", "two")
			check("at version 5", "k0002", "")
			check("at version 5", "k0999", "one999")
			must(e.Set([]byte("last"), []byte("x")))
			must(e.Close())
			if e, err = p.open(dir, 16<<20); err != nil {
				t.Fatal(err)
			}
			check("after reopening", "new", "two")
			check("after reopening", "k0002", "")
			check("after reopening", "last", "x")
			must(e.Close())
		})
	}
}

func TestRun_WritesTheReport(t *testing.T) {
	if testing.Short() {
		t.Skip("runs all stores")
	}
	dir := t.TempDir()
	err := run(context.Background(), []string{"-keys", "2000", "-rounds", "1", "-duration", "5ms", "-dir", dir, "-report", filepath.Join(dir, "report")})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "report", "report.html")); err != nil || st.Size() < 10_000 {
		t.Errorf("report: %v", err)
	}
}
