//go:build linux

package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// holdAtMost has the process hold so many descriptors of files for the rest of the test.
func holdAtMost(t *testing.T, n int64) {
	was := shared().most.Swap(n)
	t.Cleanup(func() { shared().most.Store(was) })
}

// held returns how many files hold a descriptor.
func held() (n int) {
	d := shared()
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

func parked(f File) bool { return f.(*osFile).uses.Load() == parkedUses }

// someFiles makes n files of a block, filled with their number, and closes them with the test.
func someFiles(t *testing.T, fsys FS, dir string, n int, f Flag) []File {
	t.Helper()
	files := make([]File, n)
	for i := range files {
		var err error
		if files[i], err = fsys.Open(filepath.Join(dir, fmt.Sprint(i)), Write|Create|f); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { files[i].Close() })
		if _, err := files[i].WriteAt(numbered(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func numbered(i int) []byte {
	b := aligned(BlockSize)
	for j := range b {
		b[j] = byte(i)
	}
	return b
}

// hasNumber reports what is wrong with a file that should hold its number.
func hasNumber(f File, i int) error {
	b := aligned(BlockSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	if !bytes.Equal(b, numbered(i)) {
		return fmt.Errorf("file %d holds %d", i, b[0])
	}
	return nil
}

// Files that are not used give their descriptors back and go on working; those that are used most stay open.
func TestDescriptors_AreBounded(t *testing.T) {
	const most = 8
	holdAtMost(t, most)
	dir := t.TempDir()
	files := someFiles(t, OS(), dir, 60, Direct)
	if n := held(); n > most {
		t.Errorf("%d files hold a descriptor", n)
	}
	for range 5 {
		for i, f := range files {
			if err := hasNumber(f, i); err != nil {
				t.Fatal(err)
			}
			if err := hasNumber(files[0], 0); err != nil {
				t.Fatal(err)
			}
			if parked(files[0]) {
				t.Fatal("the file that is used all the time gave its descriptor back")
			}
		}
	}
	if n := held(); n > most {
		t.Errorf("%d files hold a descriptor", n)
	}
	for i, f := range files {
		if size, err := f.Size(); size != BlockSize || err != nil {
			t.Fatal(size, err)
		}
		if err := f.InPlace(); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
				t.Fatal(err)
			}
			if _, err := f.ReadAt(aligned(BlockSize), 0); !errors.Is(err, fs.ErrClosed) {
				t.Fatal(err)
			}
		}
	}
}

// Many goroutines read, write, sync and close more files than may be open, directly and by queues.
func TestDescriptors_Concurrent(t *testing.T) {
	holdAtMost(t, 4)
	files := someFiles(t, OS(), t.TempDir(), 24, Direct)
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			q := NewQueue(8)
			defer q.Close()
			for range 300 {
				i := r.IntN(len(files))
				var err error
				switch r.IntN(4) {
				case 0:
					_, err = files[i].WriteAt(numbered(i), 0)
				case 1:
					err = files[i].Sync()
				case 2:
					err = hasNumber(files[i], i)
				case 3:
					var batch []*Request
					for k := range 12 {
						i := (i + k) % len(files)
						batch = append(batch, &Request{File: files[i], P: numbered(i), Write: k%3 == 0, Tag: i})
					}
					q.Submit(batch)
					for _, r := range q.Wait(nil, len(batch)) {
						err = errors.Join(err, r.Err)
						if r.P[7] != byte(r.Tag) {
							err = errors.Join(err, fmt.Errorf("file %d holds %d", r.Tag, r.P[7]))
						}
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i, f := range files {
		if err := hasNumber(f, i); err != nil {
			t.Fatal(err)
		}
	}
}

// What was written is synced before a descriptor is given back, and an error of that sync is not lost (F8).
func TestDescriptors_FailedSyncIsTold(t *testing.T) {
	for _, queued := range []bool{false, true} {
		holdAtMost(t, 1)
		files := someFiles(t, OS(), t.TempDir(), 1, 0)
		written := files[0].(*osFile)
		fd := written.fd
		written.fd = 1 << 20 // no descriptor: the sync fails
		more, err := OS().Open(filepath.Join(t.TempDir(), "more"), Write|Create)
		if err != nil {
			t.Fatal(err)
		}
		if parked(written) {
			t.Fatal("a descriptor was given back whose sync has failed")
		}
		written.fd = fd
		sync := func() error {
			if !queued {
				return written.Sync()
			}
			q := NewQueue(1)
			defer q.Close()
			r := &Request{File: written, Sync: true}
			q.Submit([]*Request{r})
			q.Wait(nil, 1)
			return r.Err
		}
		if err := sync(); !errors.Is(err, unix.EBADF) {
			t.Errorf("queued %v: the next sync: %v", queued, err)
		}
		if err := sync(); err != nil {
			t.Errorf("queued %v: and the one after it: %v", queued, err)
		}
		if err := hasNumber(more, 0); err == nil {
			t.Error("an empty file was read")
		}
		if _, err := more.Size(); err != nil {
			t.Error(err)
		}
		more.Close()
	}
}

// A file whose name is removed, renamed or given to another one goes on working for those who have it open.
func TestDescriptors_NameIsGivenAway(t *testing.T) {
	for _, root := range []bool{false, true} {
		holdAtMost(t, 1)
		dir := t.TempDir()
		fsys := OS()
		if root {
			r, err := fsys.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fsys = r
		}
		files := someFiles(t, fsys, dir, 6, 0)
		name := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
		for i := range 3 {
			if !parked(files[i]) {
				t.Fatalf("file %d has its descriptor", i)
			}
		}
		if err := fsys.Remove(name(0)); err != nil {
			t.Fatal(err)
		}
		if err := fsys.Rename(name(1), name(2)); err != nil { // both
			t.Fatal(err)
		}
		for i, f := range files {
			if err := hasNumber(f, i); err != nil {
				t.Errorf("root %v: file %d: %v", root, i, err)
			}
		}
	}
}

// A file that somebody else has replaced, or removed, is not taken for the one that was open (F9).
func TestDescriptors_ReplacedMeanwhile(t *testing.T) {
	holdAtMost(t, 1)
	dir := t.TempDir()
	files := someFiles(t, OS(), dir, 3, 0)
	for i := range 2 {
		if err := os.Rename(filepath.Join(dir, fmt.Sprint(i)), filepath.Join(dir, fmt.Sprint("was ", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "0"), numbered(0), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := hasNumber(files[i], i); !errors.Is(err, ErrReplaced) {
			t.Errorf("file %d: %v", i, err)
		}
	}
	if err := os.Rename(filepath.Join(dir, "was 1"), filepath.Join(dir, "1")); err != nil {
		t.Fatal(err)
	}
	if err := hasNumber(files[1], 1); err != nil {
		t.Errorf("it has its name again: %v", err)
	}
}

// Files of a Root outlive it, with or without a descriptor, and give the directory's back when the last is closed.
func TestDescriptors_FilesOfAClosedRoot(t *testing.T) {
	holdAtMost(t, 1)
	dir := t.TempDir()
	root, err := OS().OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := someFiles(t, root, dir, 3, 0)
	if err := root.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+" moved"); err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if err := hasNumber(f, i); err != nil {
			t.Fatal(err)
		}
	}
	d := files[0].(*osFile).at.dir
	for _, f := range files {
		if _, err := d.f.Stat(); err != nil {
			t.Fatalf("the directory is closed too early: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.f.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the directory is still open: %v", err)
	}
}

// With a low limit the process goes on opening files, those of the application included.
func TestDescriptors_ProcessAtItsLimit(t *testing.T) {
	for _, limit := range []int{32, 64, 256} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprint("FSX_LIMIT_DESCRIPTORS=", limit), "FSX_DIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
			t.Fatalf("limit %d: %v: %s", limit, err, out)
		}
	}
}

// TestChildDescriptors is the process under the limit.
func TestChildDescriptors(t *testing.T) {
	var limit uint64
	if n, _ := fmt.Sscan(os.Getenv("FSX_LIMIT_DESCRIPTORS"), &limit); n == 0 {
		t.Skip("runs as a child only")
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("FSX_DIR")
	files := someFiles(t, OS(), dir, 400, Direct)
	// The application takes what is left, but for one.
	var taken []*os.File
	for {
		f, err := os.Open(dir)
		if errors.Is(err, syscall.EMFILE) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, f)
	}
	if len(taken) < int(limit)/3 {
		t.Errorf("of %d descriptors the application could have only %d", limit, len(taken))
	}
	for i, f := range files { // each gives one back, and takes it
		if err := hasNumber(f, i); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OS().List(dir); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(OS(), filepath.Join(dir, "whole"), []byte("whole")); err != nil {
		t.Fatal(err)
	}
	release, err := OS().Lock(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if err := OS().Remove(filepath.Join(dir, "7")); err != nil {
		t.Fatal(err)
	}
	// More reads at a time than there are descriptors wait for each other.
	var wg sync.WaitGroup
	for g := range 100 {
		wg.Go(func() {
			for i := g; i < g+40; i++ {
				if err := hasNumber(files[i], i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	q := NewQueue(128)
	var batch []*Request
	for i, f := range files {
		batch = append(batch, &Request{File: f, P: aligned(BlockSize), Tag: i})
	}
	q.Submit(batch)
	for _, r := range q.Wait(nil, len(batch)) {
		if r.Err != nil || r.P[9] != byte(r.Tag) {
			t.Fatalf("file %d holds %d: %v", r.Tag, r.P[9], r.Err)
		}
	}
	wg.Wait()
	// All that is left is taken: the error is clear, and comes.
	for _, f := range files {
		f.Close()
	}
	for {
		f, err := os.Open(dir)
		if err != nil {
			break
		}
		taken = append(taken, f)
	}
	if _, err := OS().Open(filepath.Join(dir, "8"), Read); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("without any descriptor: %v", err)
	}
	for _, f := range slices.All(taken) {
		f.Close()
	}
}
