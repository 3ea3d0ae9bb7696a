package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// shelf is a directory that stands for the remote of a partition on Pebble. It has one version, which is replaced by the next.
//
//	tables/        tables of the version; each is copied once, as it never changes
//	version-N/     its other files, and the names of its tables in the file TABLES
//	CURRENT        N
//
// Everything of a version is synced before CURRENT is replaced.
type shelf struct{ dir string }

func (s shelf) version(n int) string { return filepath.Join(s.dir, fmt.Sprint("version-", n)) }
func (s shelf) tables() string       { return filepath.Join(s.dir, "tables") }

// current is 0 if there is no version.
func (s shelf) current() (int, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, "CURRENT"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

// put makes the files of a checkpoint the version.
func (s shelf) put(from string) error {
	n, err := s.current()
	if err != nil {
		return err
	}
	to := s.version(n + 1)
	if err := errors.Join(os.MkdirAll(s.tables(), 0o700), os.RemoveAll(to), os.Mkdir(to, 0o700)); err != nil {
		return err
	}
	tables, others, err := tablesOf(from)
	if err != nil {
		return err
	}
	for _, name := range tables {
		if _, err := os.Stat(filepath.Join(s.tables(), name)); err == nil {
			continue
		}
		if err := copyFile(filepath.Join(from, name), filepath.Join(s.tables(), name), true); err != nil {
			return err
		}
	}
	for _, name := range others {
		if err := copyFile(filepath.Join(from, name), filepath.Join(to, name), true); err != nil {
			return err
		}
	}
	if err := errors.Join(write(filepath.Join(to, "TABLES"), strings.Join(tables, "\n")), syncDir(s.tables()), syncDir(to)); err != nil {
		return err
	}
	if err := errors.Join(write(filepath.Join(s.dir, "CURRENT"), strconv.Itoa(n+1)), syncDir(s.dir)); err != nil {
		return err
	}
	return errors.Join(s.clean(tables), os.RemoveAll(s.version(n)))
}

// clean removes what no version needs any more.
func (s shelf) clean(needed []string) error {
	have, _, err := tablesOf(s.tables())
	for _, name := range have {
		if !slices.Contains(needed, name) {
			err = errors.Join(err, os.Remove(filepath.Join(s.tables(), name)))
		}
	}
	return err
}

// fetch copies the version to a directory, if there is one. It needs no sync: after a crash it is fetched again.
func (s shelf) fetch(to string) error {
	n, err := s.current()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil || n == 0 {
		return err
	}
	tables, others, err := tablesOf(s.version(n))
	if err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(s.version(n), "TABLES"))
	if err != nil {
		return err
	}
	tables = strings.Fields(string(list))
	for _, name := range tables {
		if err := copyFile(filepath.Join(s.tables(), name), filepath.Join(to, name), false); err != nil {
			return err
		}
	}
	for _, name := range others {
		if name == "TABLES" {
			continue
		}
		if err := copyFile(filepath.Join(s.version(n), name), filepath.Join(to, name), false); err != nil {
			return err
		}
	}
	return nil
}

// write replaces a file, durably but for its name.
func write(path, text string) error {
	temp := path + ".new"
	f, err := os.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close(), os.Rename(temp, path))
}

// copyFile copies a file, under another name until it is whole.
func copyFile(from, to string, durable bool) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to + ".new")
	if err != nil {
		return err
	}
	// Through memory: the operating system could copy without reading, which no remote can.
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	if err == nil && durable {
		err = out.Sync()
	}
	return errors.Join(err, out.Close(), os.Rename(to+".new", to))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
