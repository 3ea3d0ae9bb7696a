package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// checkOurs returns ErrReplaced, naming the file, when STORE, HEAD or the manifest of the current version is not what
// this Dir has read or written last: somebody has removed the files of the directory, or put an older copy or another
// store in their place. What is committed on top of that would not open (V11). The caller holds writing, so that nobody
// else of this Dir is just changing them.
func (d *Dir) checkOurs() error {
	d.mu.Lock()
	h := d.head
	v := d.currentID()
	e := d.versions[v]
	var sum uint64
	known := e.readable() && !e.unread
	if known {
		sum = e.sum
	}
	d.mu.Unlock()

	err := d.checkFile(d.storePath(), identityBytes+envelopeBytes+fsx.BlockSize, func(b []byte) bool {
		id, err := decodeIdentity(d.storePath(), b)
		return err == nil && id == d.id
	})
	if err == nil && !d.headInDoubt {
		err = d.checkFile(d.headPath(), envelopeBytes+fsx.BlockSize, func(b []byte) bool {
			now, err := decodeHead(d.headPath(), b)
			return err == nil && now == h
		})
	}
	if err == nil && known {
		err = d.checkManifest(d.ManifestPath(v), sum)
	}
	return err
}

// checkFile returns ErrReplaced unless the file holds what is expected.
func (d *Dir) checkFile(name string, limit int64, expected func([]byte) bool) error {
	b, err := fsx.ReadFile(d.fs, name, limit)
	if err == nil && expected(b) {
		return nil
	}
	return replaced(name, err)
}

// checkManifest is checkFile for a manifest, of which it reads the checksum at the end.
func (d *Dir) checkManifest(name string, sum uint64) (err error) {
	f, err := d.fs.Open(name, fsx.Read)
	if err != nil {
		return replaced(name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, sumBytes)
	if size < sumBytes {
		return replaced(name, nil)
	}
	if err := readFull(f, name, b, size-sumBytes); err != nil {
		return replaced(name, err)
	}
	if envelopeSum(b) != sum {
		return replaced(name, nil)
	}
	return nil
}

// replaced returns the error for a file that is not there, is not what it should be (err is nil), or could not be read.
func replaced(name string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsx.ErrTooLong) || errors.Is(err, ErrCorrupt) {
		return &fs.PathError{Op: "look at", Path: name, Err: ErrReplaced}
	}
	return fmt.Errorf("checkpoint: whether %s is still the same: %w", name, err)
}
