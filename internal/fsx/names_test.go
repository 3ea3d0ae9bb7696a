package fsx

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"
)

// Names that a sync of their directory has failed to make durable are durable after the next that succeeds, whatever the
// first has dropped, and those of files that are gone are passed over.
func TestNames_AreGivenOnceMore(t *testing.T) {
	for _, killed := range []bool{false, true} { // between the two renames of an earlier attempt
		disk := NewCrash(CrashOptions{})
		must(t, disk.MkdirAll("/d"))
		must(t, disk.SyncDir("/"))
		n := NewNames(disk, "/d")
		for _, path := range []string{"/d/a", "/d/b", "/d/gone"} {
			n.Making(path)
			f, err := disk.Open(path, Write|Create)
			must(t, err)
			must(t, errors.Join(f.Sync(), f.Close()))
		}
		must(t, disk.Remove("/d/gone"))
		n.Making("/d/never")
		disk.FailSync(SyncFailOnce, "")
		if err := n.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("the sync that fails: %v", err)
		}
		disk.FailSync(SyncHonest, "")
		if killed {
			must(t, disk.Rename("/d/a", "/d/a"+TempSuffix))
		}
		must(t, n.Sync())
		must(t, n.Sync()) // of nothing
		after, err := disk.Clone(Crash{Keep: KeepNone}).List("/d")
		must(t, err)
		var names []string
		for _, e := range after {
			names = append(names, e.Name)
		}
		if slices.Sort(names); !slices.Equal(names, []string{"a", "b"}) {
			t.Errorf("killed %v: a crash leaves %v", killed, names)
		}
	}
}

// Doubt about names that are not durable yet is settled by the next sync; one about none costs nothing.
func TestNames_Doubt(t *testing.T) {
	disk := NewErr(NewCrash(CrashOptions{}))
	must(t, disk.MkdirAll("/d"))
	n := NewNames(disk, "/d")
	must(t, n.Sync())
	n.Doubt()
	injected := disk.Inject(Fault{Class: ClassSyncDir, Err: fs.ErrInvalid, Sticky: true})
	must(t, n.Sync())
	if injected.Fired() != 0 {
		t.Error("a directory in which nothing was made is synced")
	}
}
