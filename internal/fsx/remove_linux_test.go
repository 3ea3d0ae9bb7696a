package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"golang.org/x/sys/unix"
)

// largeFiles makes n files of so many bytes, at least largeFile.
func largeFiles(t testing.TB, dir string, n, bytes int) (names []string) {
	t.Helper()
	for i := range n {
		name := filepath.Join(dir, fmt.Sprint(i))
		f, err := OS().Open(name, Write|Create|Direct)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Allocate(0, int64(bytes)); err != nil {
			t.Fatal(err)
		}
		data := mem.AlignedBytes(largeFile, BlockSize)
		for off := int64(0); off < int64(bytes); off += largeFile {
			if _, err := f.WriteAt(data, off); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// Large files are gone when Remove returns, more of them than reads are under way at a time; no descriptor stays open,
// and every read ends, with the reference that it holds.
func TestRemove_LargeFiles(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	names := largeFiles(t, t.TempDir(), 4*leavingDepth, largeFile)
	before := descriptors()
	for _, name := range names {
		if err := OS().Remove(name); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("after Remove: %v", err)
		}
		if err := OS().Remove(name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("removed again: %v", err)
		}
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	underWay := func() int {
		left.mu.Lock()
		defer left.mu.Unlock()
		if !left.ready() {
			return 0
		}
		for i := range left.kernel.wait(0) {
			left.kernel.event(i)
		}
		return contextDepth - len(left.kernel.free)
	}
	testkit.Eventually(t, "the end of the reads", func() bool { return underWay() == 0 })
}

// A name stands for itself: a link to a large file goes alone, and what is not a file, or must not be read, goes as well.
func TestRemove_OtherNames(t *testing.T) {
	dir := t.TempDir()
	file := largeFiles(t, dir, 1, largeFile)[0]
	link, fifo, sub, hard := filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "sub"), filepath.Join(dir, "hard")
	for _, err := range []error{os.Symlink(file, link), unix.Mkfifo(fifo, 0o600), os.Mkdir(sub, 0o700), os.Link(file, hard), os.Chmod(file, 0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{link, fifo, sub, hard} {
		if err := OS().Remove(name); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Size() != largeFile {
		t.Errorf("the file itself: %v, %v", info, err)
	}
	if err := OS().Remove(file); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// BenchmarkRemove removes files of 16 MiB; "plainly" is what the system's call takes.
func BenchmarkRemove(b *testing.B) {
	for name, remove := range map[string]func(string) error{"aside": OS().Remove, "plainly": os.Remove} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			for b.Loop() {
				b.StopTimer()
				f := largeFiles(b, dir, 1, 16<<20)[0]
				b.StartTimer()
				if err := remove(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
