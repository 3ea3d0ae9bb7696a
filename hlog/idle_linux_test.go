//go:build linux && !race

package hlog

import (
	"context"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// residentBytes returns the memory of the process that is resident.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip(err)
	}
	var size, resident int64
	if _, err := fmt.Fscan(strings.NewReader(string(b)), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// diskBytes returns what the files and directories below dir take on the disk.
func diskBytes(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		n += st.Blocks * 512
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A process may have many stores that do little: memory and disk are taken as they are used, whatever the budget is.
func TestOpen_ManyIdleStores(t *testing.T) {
	const stores = 100
	dir := t.TempDir()
	var o *Options
	if bits.UintSize == 32 {
		o = &Options{MemoryBytes: 8 << 20} // there are not enough addresses for more
	}
	before := residentBytes(t)
	for i := range stores {
		s, err := Open(filepath.Join(dir, fmt.Sprint(i)), o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for k := range 10 {
			if err := s.Set(fmt.Append(nil, "key", k), make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if each := (residentBytes(t) - before) / stores; each > 256<<10 {
		t.Errorf("an idle store has %d KiB of memory resident, at most 256 are expected", each>>10)
	}
	if each := diskBytes(t, dir) / stores; each > 64<<10 {
		t.Errorf("an idle store takes %d KiB of disk, at most 64 are expected", each>>10)
	}
}
