package fsxtest_test

import (
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/fsx/fsxtest"
)

func TestOS(t *testing.T) {
	fsxtest.Run(t, func(t *testing.T) (fsx.FS, string) { return fsx.OS(), t.TempDir() })
}

func TestCrash(t *testing.T) {
	for name, direct := range map[string]bool{"buffered": false, "direct": true} {
		t.Run(name, func(t *testing.T) {
			fsxtest.Run(t, func(t *testing.T) (fsx.FS, string) {
				return newCrash(t, fsx.CrashOptions{Direct: direct}), "/store"
			})
		})
	}
}

// A clone must be a file system like any other, also one that grew from a subset.
func TestCrash_Clone(t *testing.T) {
	for _, k := range []fsx.Crash{{Keep: fsx.KeepAll}, {Keep: fsx.KeepSubset, Seed: 3, Torn: true}} {
		t.Run(k.String(), func(t *testing.T) {
			fsxtest.Run(t, func(t *testing.T) (fsx.FS, string) {
				c := newCrash(t, fsx.CrashOptions{})
				if err := c.SyncDir("/"); err != nil {
					t.Fatal(err)
				}
				return c.Clone(k), "store"
			})
		})
	}
}

func TestErr(t *testing.T) {
	for name, inner := range map[string]func(*testing.T) (fsx.FS, string){
		"crash":  func(t *testing.T) (fsx.FS, string) { return newCrash(t, fsx.CrashOptions{}), "/store" },
		"direct": func(t *testing.T) (fsx.FS, string) { return newCrash(t, fsx.CrashOptions{Direct: true}), "/store" },
		"os":     func(t *testing.T) (fsx.FS, string) { return fsx.OS(), t.TempDir() },
	} {
		t.Run(name, func(t *testing.T) {
			fsxtest.Run(t, func(t *testing.T) (fsx.FS, string) {
				fsys, dir := inner(t)
				e := fsx.NewErr(fsys)
				e.SetBudget(1 << 40) // enough, so that what pays for growth is in the way of every call
				return e, dir
			})
		})
	}
}

// A Root is a file system like any other, also one of a Root.
func TestRoot(t *testing.T) {
	for name, outer := range map[string]func(*testing.T) (fsx.FS, string){
		"os":    func(t *testing.T) (fsx.FS, string) { return fsx.OS(), t.TempDir() },
		"crash": func(t *testing.T) (fsx.FS, string) { return newCrash(t, fsx.CrashOptions{}), "/store" },
		"err":   func(t *testing.T) (fsx.FS, string) { return fsx.NewErr(newCrash(t, fsx.CrashOptions{})), "/store" },
	} {
		t.Run(name, func(t *testing.T) {
			fsxtest.Run(t, func(t *testing.T) (fsx.FS, string) {
				fsys, dir := outer(t)
				root, err := fsys.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { root.Close() })
				return root, dir
			})
		})
	}
}

func newCrash(t *testing.T, o fsx.CrashOptions) *fsx.CrashFS {
	t.Helper()
	c := fsx.NewCrash(o)
	if err := c.MkdirAll("/store"); err != nil {
		t.Fatal(err)
	}
	return c
}
