package contest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// CopyDir copies the regular files below src to dst, which is made anew, as they are at one moment: what a process that is
// killed then leaves behind. Files that a store writes in the background meanwhile would make a mixture that no crash leaves, so a
// copy counts only when nothing changed while it was made; CopyDir tries until that is so.
func CopyDir(dst, src string) error {
	const patience = time.Minute
	for begin := time.Now(); time.Since(begin) < patience; {
		before, err := look(src)
		if err != nil {
			return err
		}
		if before.recent() { // a change in the same tick of the file system's clock would not show
			time.Sleep(tick)
			continue
		}
		if err := copyOnce(dst, src); err != nil {
			return err
		}
		after, err := look(src)
		if err != nil {
			return err
		}
		if maps.Equal(before, after) {
			return nil
		}
	}
	return fmt.Errorf("bench: files below %s did not stop changing for %v", src, patience)
}

// tick is more than the grain of the time stamps of files.
const tick = 20 * time.Millisecond

// sight is what the files below a directory look like from outside.
type sight map[string]stamp

type stamp struct {
	size     int64
	modified time.Time
}

func (s sight) recent() bool {
	for _, f := range s {
		if time.Since(f.modified) < tick {
			return true
		}
	}
	return false
}

func look(dir string) (sight, error) {
	s := sight{}
	err := walkFiles(dir, func(path, _ string) error {
		info, err := os.Stat(path)
		if err == nil {
			s[path] = stamp{info.Size(), info.ModTime()}
		}
		return err
	})
	return s, err
}

func copyOnce(dst, src string) error {
	if err := os.RemoveAll(dst); err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	return walkFiles(src, func(path, rel string) error {
		to := filepath.Join(dst, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return copyFile(to, path)
	})
}

// walkFiles calls fn for every regular file below dir; a file that vanishes meanwhile is left out.
func walkFiles(dir string, fn func(path, rel string) error) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var rel string
			if rel, err = filepath.Rel(dir, path); err == nil {
				err = fn(path, rel)
			}
		}
		if errors.Is(err, os.ErrNotExist) && path != dir {
			return nil
		}
		return err
	})
}

func copyFile(dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
