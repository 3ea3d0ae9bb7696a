package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// strict is a file on a device with other manners: calls that are not aligned are EINVAL wherever they are, and all
// calls are while it refuses.
type strict struct {
	*os.File
	refuses bool
	short   int // bytes that the next call stops after, though there are more; 0 = none
}

func (s *strict) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) { // as os.File does, call by call
		if s.refuses || (off+int64(n))%BlockSize != 0 || len(p[n:])%BlockSize != 0 {
			return n, &fs.PathError{Op: "read", Err: unix.EINVAL}
		}
		stop := min(len(p), n+2*BlockSize)
		m, err := s.File.ReadAt(p[n:stop], off+int64(n))
		if s.short > 0 && m > s.short {
			m, s.short = s.short, 0
			clear(p[n+m : stop])
		}
		if n += m; m == 0 {
			return n, err
		}
	}
	return n, nil
}

func (s *strict) WriteAt(p []byte, off int64) (int, error) {
	if s.refuses {
		return 0, &fs.PathError{Op: "write", Err: unix.EINVAL}
	}
	return s.File.WriteAt(p, off)
}

// The end of a file is seldom aligned, and a strict device has no other word for it than EINVAL.
func TestOS_DirectEndOnStrictDevice(t *testing.T) {
	f := openDirectOrSkip(t, filepath.Join(t.TempDir(), "f")).(*osFile)
	device := &strict{File: f.f}
	f.io = device
	p := aligned(4 * BlockSize)
	for i := range p {
		p[i] = byte(i / 7)
	}
	if _, err := f.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{3*BlockSize + 1, 2*BlockSize + 512, BlockSize - 1, 1, 0} {
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		got := aligned(6 * BlockSize)
		n, err := f.ReadAt(got, 0)
		if int64(n) != size || err != io.EOF || !bytes.Equal(got[:n], p[:size]) {
			t.Fatalf("size %d: read %d, %v", size, n, err)
		}
	}
	if !f.Direct() {
		t.Fatal("the end of a file was taken for a refusal")
	}

	// A read that stops in the middle of a block in the middle of the file goes on from the start of that block.
	if _, err := f.WriteAt(p, 0); err != nil {
		t.Fatal(err)
	}
	device.short = BlockSize + 100
	got := aligned(4 * BlockSize)
	if n, err := f.ReadAt(got, 0); n != len(p) || err != nil || !bytes.Equal(got, p) || !f.Direct() {
		t.Fatalf("read %d, %v, direct=%v", n, err, f.Direct())
	}
}

// A device that refuses the first direct call turns the file into a buffered one, and the call works.
func TestOS_DirectRefusedByDevice(t *testing.T) {
	for _, write := range []bool{false, true} {
		f := openDirectOrSkip(t, filepath.Join(t.TempDir(), "f")).(*osFile)
		p := aligned(BlockSize)
		p[7] = 7
		if _, err := f.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
		device := &strict{File: f.f, refuses: true}
		f.io = refusing{device, f}
		var err error
		if write {
			_, err = f.WriteAt(p, BlockSize)
		} else {
			clear(p)
			_, err = f.ReadAt(p, 0)
		}
		if err != nil || f.Direct() || p[7] != 7 {
			t.Fatalf("write=%v: direct=%v, %v", write, f.Direct(), err)
		}
		if _, err := f.f.WriteAt(aligned(BlockSize)[1:100], 3); err != nil {
			t.Fatalf("O_DIRECT is still on: %v", err)
		}
	}
}

// refusing is a device that refuses as long as the file is direct.
type refusing struct {
	device *strict
	f      *osFile
}

func (r refusing) ReadAt(p []byte, off int64) (int, error) {
	r.device.refuses = r.f.Direct()
	return r.device.ReadAt(p, off)
}

func (r refusing) WriteAt(p []byte, off int64) (int, error) {
	r.device.refuses = r.f.Direct()
	return r.device.WriteAt(p, off)
}

// A file system without O_DIRECT refuses when it has made the file already.
func TestOS_DirectRefusedByOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	open := func(mode int) (*os.File, error) {
		f, err := os.OpenFile(name, mode&^unix.O_DIRECT, filePerm)
		if err == nil && mode&unix.O_DIRECT != 0 {
			return nil, errors.Join(&fs.PathError{Op: "open", Path: name, Err: unix.EINVAL}, f.Close())
		}
		return f, err
	}
	exclusive := os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, direct, err := openDirect(open, exclusive, true)
	if err != nil || direct {
		t.Fatal(direct, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openDirect(open, exclusive, true); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a file that was there: %v", err)
	}
}

func TestOS_InterruptedCallIsRetried(t *testing.T) {
	file, err := OS().Open(filepath.Join(t.TempDir(), "f"), Write|Create)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	calls := 0
	err = file.(*osFile).control("fdatasync", func(int) error {
		if calls++; calls < 3 {
			return unix.EINTR
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Fatal(calls, err)
	}
}

// Where nothing can be reserved, Allocate still grows the file, and never shrinks it.
func TestAllocate_NotSupported(t *testing.T) {
	file, err := OS().Open(filepath.Join(t.TempDir(), "f"), Write|Create)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, errno := range []error{unix.EOPNOTSUPP, unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.ENODEV} {
		for _, c := range []struct{ off, n, size int64 }{{0, 5000, 5000}, {100, 10, 5000}, {4000, 2000, 6000}} {
			if err := file.Truncate(min(c.size, 5000)); err != nil {
				t.Fatal(err)
			}
			err := file.(*osFile).allocateBy(c.off, c.n, func(int64, int64) error { return errno })
			if size, serr := file.Size(); err != nil || serr != nil || size != c.size {
				t.Fatalf("%v: size %d, want %d: %v, %v", errno, size, c.size, err, serr)
			}
		}
	}
}

// A reservation that fails keeps nothing of what it got, whether the file grew by it or not.
func TestAllocate_FailedGivesBack(t *testing.T) {
	for _, mode := range []uint32{0, unix.FALLOC_FL_KEEP_SIZE} {
		file, err := OS().Open(filepath.Join(t.TempDir(), "f"), Write|Create)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if _, err := file.WriteAt(make([]byte, 10_000), 0); err != nil {
			t.Fatal(err)
		}
		if err := file.Sync(); err != nil {
			t.Fatal(err)
		}
		o := file.(*osFile)
		blocks := func() int64 {
			var st unix.Stat_t
			if err := unix.Fstat(int(o.fd), &st); err != nil {
				t.Fatal(err)
			}
			return st.Blocks
		}
		before := blocks()
		err = o.allocateBy(10_000, 64<<20, func(off, n int64) error {
			if err := unix.Fallocate(int(o.fd), mode, off, n/8); err != nil {
				t.Skip(err)
			}
			return unix.ENOSPC
		})
		if size, _ := file.Size(); !errors.Is(err, unix.ENOSPC) || size != 10_000 || blocks() > before+2*BlockSize/512 {
			t.Errorf("mode %d: %d bytes in %d blocks, %d before: %v", mode, size, blocks(), before, err)
		}
	}
}

// Interrupted reservations cover every byte once in the end, and give up on any other error.
func TestAllocate_InStepsWhenInterrupted(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		off, n := r.Int64N(100), 1+r.Int64N(200<<20)
		next, calls := off, 0
		err := inSteps(off, n, func(at, step int64) error {
			calls++
			if at != next || step <= 0 || at+step > off+n {
				t.Fatalf("[%d, +%d) of [%d, +%d) when %d was next", at, step, off, n, next)
			}
			if step > minAllocate && r.IntN(3) > 0 {
				return &os.PathError{Err: unix.EINTR}
			}
			next += step
			return nil
		})
		if err != nil || next != off+n {
			t.Fatalf("reserved up to %d of %d in %d calls: %v", next, off+n, calls, err)
		}
	}
	calls := 0
	err := inSteps(0, 64<<20, func(int64, int64) error {
		if calls++; calls == 2 {
			return unix.ENOSPC
		}
		return unix.EINTR
	})
	if err != unix.ENOSPC || calls != 2 {
		t.Fatal(calls, err)
	}
}

// Where directories cannot be locked, LOCK alone must refuse; so must the directory where LOCK was replaced.
func TestOS_LockEitherFlock(t *testing.T) {
	for _, name := range []string{LockName, "."} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, LockName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		other, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := lockFile(other, true); err != nil {
			t.Fatal(err)
		}
		if _, err := OS().Lock(dir, false); !errors.Is(err, ErrLocked) {
			t.Errorf("%s is locked: %v", name, err)
		}
		release, err := OS().Lock(dir, true)
		if err != nil {
			t.Fatalf("%s is shared: %v", name, err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if release, err = OS().Lock(dir, false); err != nil {
			t.Fatalf("a refused call left a lock: %v", err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
}

// A limit on file sizes makes the kernel write a part and then refuse: the caller must see an error and no count.
func TestOS_WritePartlyRefused(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildFileLimit$")
	cmd.Env = append(os.Environ(), "FSX_LIMIT_FILE="+filepath.Join(t.TempDir(), "f"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if want := "write: n=0 size=5000 refused=true allocate refused=true"; !strings.Contains(string(out), want) {
		t.Fatalf("want %s, got %s", want, out)
	}
}

// TestChildFileLimit is the process under the limit.
func TestChildFileLimit(t *testing.T) {
	name := os.Getenv("FSX_LIMIT_FILE")
	if name == "" {
		t.Skip("runs as a child only")
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 5000, Max: 5000}); err != nil {
		t.Fatal(err)
	}
	f, err := OS().Open(name, Write|Create)
	if err != nil {
		t.Fatal(err)
	}
	n, werr := f.WriteAt(make([]byte, 8192), 0)
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	aerr := f.Allocate(0, 1<<20)
	fmt.Printf("write: n=%d size=%d refused=%v allocate refused=%v\n",
		n, size, errors.Is(werr, unix.EFBIG), errors.Is(aerr, unix.EFBIG))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a store makes is for its owner alone, whatever the umask.
func TestOS_ModesAreTheOwnersAlone(t *testing.T) {
	was := unix.Umask(0)
	defer unix.Umask(was)
	dir := t.TempDir()
	root, err := OS().OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for i, fsys := range []FS{OS(), root} {
		sub := filepath.Join(dir, fmt.Sprint(i), "sub")
		if err := fsys.MkdirAll(sub); err != nil {
			t.Fatal(err)
		}
		if err := WriteFileAtomic(fsys, filepath.Join(sub, "f"), nil); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{filepath.Dir(sub): 0o700, sub: 0o700, filepath.Join(sub, "f"): 0o600} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
			}
		}
	}
}
