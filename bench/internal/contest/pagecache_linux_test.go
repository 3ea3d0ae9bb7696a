package contest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
	"golang.org/x/sys/unix"
)

// resident is how many of a file's pages are in the page cache.
func resident(t *testing.T, name string, size int) int {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	buf := make([]byte, 4096)
	for off := int64(0); off < int64(size); off += 4096 {
		switch _, err := unix.Preadv2(int(f.Fd()), [][]byte{buf}, off, unix.RWF_NOWAIT); err {
		case nil:
			n++
		case unix.EAGAIN: // would have to be read from the device
		default:
			t.Skip(err)
		}
	}
	return n
}

func TestDropPages_FilesLeaveThePageCache(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "sub", "file")
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 20
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // only clean pages can be dropped
		t.Fatal(err)
	}
	before := resident(t, name, size)
	if before == 0 {
		t.Skip("this file system keeps nothing in the page cache")
	}
	stop := dropPages(dir)
	defer stop()
	if !testkit.Soon(func() bool { return resident(t, name, size) == 0 }) {
		t.Errorf("%d of %d pages are still there", resident(t, name, size), before)
	}
}

// What an engine has written through the page cache is on the disk when its round is over: only clean pages can be dropped.
func TestDropPages_WritesWhatIsLeft(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// left is how many pages of it are to be written, or being written.
	left := func() uint64 {
		var c unix.Cachestat_t
		if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &c, 0); err != nil {
			t.Skip(err) // Linux 6.5 and later have it
		}
		return c.Dirty + c.Writeback
	}
	stop := dropPages(filepath.Dir(f.Name()))
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	before := left()
	stop()
	if n := left(); n > 0 {
		t.Errorf("%d pages were not written, of %d", n, before)
	}
}
