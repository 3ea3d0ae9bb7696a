package contest

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dropPages keeps the system's page cache from serving as memory that an engine was not given: until the function it
// returns is called, the clean pages of all files below dir are dropped every few milliseconds. What is mapped (bbolt's
// file) stays. The function returns when what was written through the page cache is on the disk: else the system would write
// it in the round of another engine.
func dropPages(dir string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(5 * time.Millisecond)
		defer t.Stop()
		open := map[string]*os.File{}
		defer func() {
			refresh(dir, open)
			for _, f := range open {
				_ = unix.Fdatasync(int(f.Fd())) // it is not for durability: engines sync by themselves
				f.Close()
			}
		}()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-t.C:
			}
			if n%20 == 0 {
				refresh(dir, open)
			}
			for _, f := range open {
				_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // advice: it may be ignored
			}
		}
	}()
	return func() { close(done); <-ended }
}

// refresh opens what is new below dir and closes what is gone.
func refresh(dir string, open map[string]*os.File) {
	seen := map[string]bool{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // gone meanwhile, or nothing that has pages
		}
		seen[path] = true
		if open[path] == nil {
			if f, err := os.Open(path); err == nil {
				open[path] = f
			}
		}
		return nil
	})
	for path, f := range open {
		if !seen[path] {
			f.Close()
			delete(open, path)
		}
	}
}

// dropsPages says whether this system can do it.
const dropsPages = true
