package fuzz

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// copyPiece is how many bytes a fileCopier copies at a time.
const copyPiece = 32 << 10

// fileCopier copies the directory of a store file by file while the store runs, as cp, tar and rsync do: a directory is
// listed when it is come to, and what is in it then is copied one after the other, a piece at a time. What has gone
// meanwhile is left out.
type fileCopier struct {
	from   fsx.FS
	to     copyTarget
	root   string // of both
	random bool   // the order of the files; else it is that of their names
	rng    *rand.Rand
	queue  []fsx.Entry // Name is the path
	at     int64       // how much of the first is copied
	lost   int         // files that went before they were copied
}

// copyTarget is what a copy takes of the file system it is written to.
type copyTarget interface {
	Open(name string, f fsx.Flag) (fsx.File, error)
	MkdirAll(dir string) error
}

func newFileCopier(from fsx.FS, to copyTarget, root string, random bool, seed uint64) *fileCopier {
	return &fileCopier{from: from, to: to, root: root, random: random, rng: rand.New(rand.NewPCG(seed, 4)), queue: []fsx.Entry{{Name: root, Dir: true}}}
}

// step copies one piece, or lists one directory. done reports that nothing is left.
func (c *fileCopier) step() (done bool, err error) {
	if len(c.queue) == 0 {
		return true, nil
	}
	if c.at == 0 && c.random {
		i := c.rng.IntN(len(c.queue))
		c.queue[0], c.queue[i] = c.queue[i], c.queue[0]
	}
	e := c.queue[0]
	if e.Dir {
		err = c.list(e.Name)
	} else {
		err = c.piece(e.Name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		c.lost++
		c.next()
		err = nil
	}
	return len(c.queue) == 0, err
}

func (c *fileCopier) next() { c.queue, c.at = c.queue[1:], 0 }

// list makes a directory and queues what is in it, before all else that waits.
func (c *fileCopier) list(dir string) error {
	entries, err := c.from.List(dir)
	if err != nil {
		return err
	}
	c.next()
	for i := range entries {
		entries[i].Name = path.Join(dir, entries[i].Name)
	}
	c.queue = slices.Concat(entries, c.queue)
	return c.to.MkdirAll(dir)
}

// piece copies the next piece of a file.
func (c *fileCopier) piece(name string) (err error) {
	from, err := c.from.Open(name, fsx.Read)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	b := make([]byte, copyPiece)
	n, err := from.ReadAt(b, c.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	ended := err != nil
	to, err := c.to.Open(name, fsx.Write|fsx.Create)
	if err != nil {
		return fmt.Errorf("%w: %v", errCopy, err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if n > 0 {
		if _, err := to.WriteAt(b[:n], c.at); err != nil {
			return err
		}
	}
	if c.at += int64(n); ended {
		c.next()
	}
	return nil
}

var errCopy = errors.New("the copy cannot be written")
