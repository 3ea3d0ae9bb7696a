package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// noneState is what versions/NONE says of a store that has no version: why that is as it should be (V13).
type noneState uint64

const (
	noNone     noneState = iota // the file is not there
	noneYet                     // the store has not committed a version yet: it is empty
	noneFetch                   // the store has versions, on a remote: the directory is being filled from there
	noneImport                  // a version is being imported
)

func encodeNone(s noneState) []byte { return wrap(magicNone, 1, appendUint64s(nil, uint64(s))) }

func decodeNone(file string, b []byte) (noneState, error) {
	payload, _, err := unwrap(file, magicNone, 1, b)
	if err != nil {
		return noNone, err
	}
	r := newReader(file, payload)
	s := noneState(r.uint64())
	if s < noneYet || s > noneImport {
		r.fail("state %d does not exist", s)
	}
	return s, r.done()
}

func (d *Dir) nonePath() string { return filepath.Join(d.path, versionsDir, noneName) }

// readNone reads NONE, if it is there.
func (d *Dir) readNone() error {
	b, err := fsx.ReadFile(d.fs, d.nonePath(), envelopeBytes+fsx.BlockSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		err = readError(d.nonePath(), err)
	} else {
		d.none, err = decodeNone(d.nonePath(), b)
	}
	if errors.Is(err, ErrCorrupt) && len(d.versions) > 0 {
		d.none = noneYet // it counts for nothing beside a manifest, and goes
		return nil
	}
	return err
}

// checkNone returns why a directory without a current version is not that of an empty store (V13).
func (d *Dir) checkNone(fill bool) error {
	switch {
	case fill:
		return nil
	case d.none == noneImport:
		return corrupt(d.versionsPath(), 0, "no version is whole: an import into the directory was interrupted; import again")
	case d.none == noneFetch:
		return fmt.Errorf("%w: %w", ErrFilling, corrupt(d.versionsPath(), 0, "no version is whole yet: the directory was being filled from a remote; open it with that remote"))
	case len(d.versions) > 0:
		return d.advise(corrupt(d.headPath(), 0, "points at no version, but there are some"))
	case d.none == noneYet && d.head == (head{}):
		return nil
	}
	return corrupt(d.versionsPath(), 0, "no manifest of any version is here, but the store has had some: this may be a copy that was made while the store ran; copy it again as the documentation says, or fill it from a remote")
}

// HoldsVersions reports whether a directory has the manifest of any version. It looks at names only.
func HoldsVersions(fsys fsx.FS, path string) (bool, error) {
	d := &Dir{fs: fsys, path: path}
	ids, err := d.numbers(d.versionsPath(), manifestSuffix, versionDigits)
	return len(ids) > 0, err
}

// Empty reports whether the store has never had a version, here or anywhere.
func (d *Dir) Empty() bool {
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.none == noneYet && d.Current() == nil
}

// traces returns the name of a file that shows that a store was here, "" if there is none. What create writes before
// STORE is none, as long as its NONE is there: then no version can have been here.
func (d *Dir) traces() (string, error) {
	for _, dir := range []struct {
		name, suffix string
		digits       int
	}{{versionsDir, manifestSuffix, versionDigits}, {imagesDir, imageSuffix, imageDigits}, {logDir, segmentSuffix, segmentDigits}} {
		entries, err := d.fs.List(filepath.Join(d.path, dir.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		for _, e := range entries {
			if _, ok := parseName(withoutSuffix(e.Name), dir.suffix, dir.digits); ok {
				return dir.name + "/" + e.Name, nil
			}
		}
	}
	entries, err := d.fs.List(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	begun, err := d.begunHere()
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		name := withoutSuffix(e.Name)
		if (name == headName || name == storeName) && (!begun || strings.HasSuffix(e.Name, setAsideSuffix)) {
			return e.Name, nil
		}
	}
	return "", nil
}

// begunHere reports whether create has begun here: NONE is there, and HEAD as create makes it or not yet.
func (d *Dir) begunHere() (bool, error) {
	for name, want := range map[string]func(b []byte) bool{
		d.nonePath(): func([]byte) bool { return true },
		d.headPath(): func(b []byte) bool { return bytes.Equal(b, encodeHead(head{})) },
	} {
		b, err := fsx.ReadFile(d.fs, name, envelopeBytes+fsx.BlockSize)
		switch {
		case errors.Is(err, fs.ErrNotExist) && name == d.headPath():
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fsx.ErrTooLong) || err == nil && !want(b):
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// withoutSuffix returns a name without the ending of a temporary file or of one that was set aside.
func withoutSuffix(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, fsx.TempSuffix), setAsideSuffix)
}

// withoutStore deals with a directory without STORE: it makes a store if nothing of one is here.
func (d *Dir) withoutStore(o OpenOptions, missing error) error {
	found, err := d.traces()
	switch {
	case err != nil:
		return err
	case found != "":
		return d.withoutIdentity(o, corrupt(d.storePath(), 0, "missing, but there is %s", found))
	case o.ReadOnly || o.NoCreate:
		return missing
	case o.Version != 0:
		return fmt.Errorf("%w: %d", ErrNotFound, o.Version)
	}
	none := noneYet
	switch {
	case o.Fill:
		none = noneFetch
	case o.Import:
		none = noneImport
	}
	return d.create(o.Identity, none)
}

// create makes a new store. NONE comes first and STORE last: while STORE is missing and NONE is there, nothing else has
// been here, and it is safe to start again.
func (d *Dir) create(id Identity, none noneState) error {
	if err := id.validate(); err != nil {
		return err
	}
	if err := d.uncreate(); err != nil {
		return err
	}
	for _, dir := range []string{versionsDir, imagesDir, logDir} {
		path := filepath.Join(d.path, dir)
		// An earlier attempt may have made it and failed to make its name durable: that takes a new name.
		if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := d.fs.MkdirAll(path); err != nil {
			return err
		}
	}
	if err := d.fs.SyncDir(filepath.Dir(d.path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err // a parent that we may not open is its owner's to sync
	}
	if err := fsx.WriteFileAtomic(d.fs, d.nonePath(), encodeNone(none)); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.path); err != nil { // the name of the directory that NONE is in
		return err
	}
	if err := fsx.WriteFileAtomic(d.fs, d.headPath(), encodeHead(head{})); err != nil {
		return err
	}
	d.id = id
	err := fsx.WriteFileAtomic(d.fs, d.storePath(), encodeIdentity(id))
	if err != nil {
		// It may be there, and not durable, which the next attempt could not tell.
		if e := d.fs.Remove(d.storePath()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// uncreate takes back what an interrupted create left, last things first.
func (d *Dir) uncreate() error {
	remove := func(names ...string) error {
		for _, name := range names {
			if err := d.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	}
	begun, err := d.begunHere()
	if err == nil && begun {
		err = remove(d.storePath()+fsx.TempSuffix, d.headPath(), d.headPath()+fsx.TempSuffix)
		if err == nil {
			err = d.fs.SyncDir(d.path)
		}
	}
	if err != nil {
		return err
	}
	return remove(d.nonePath(), d.nonePath()+fsx.TempSuffix)
}

// removeNone removes NONE, which has no meaning beside a version. That this is not durable at once does no harm. The
// caller holds writing.
func (d *Dir) removeNone() error {
	if d.none == noNone {
		return nil
	}
	if err := d.fs.Remove(d.nonePath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	d.none = noNone
	return nil
}

// MarkEmpty ends the wait for a remote that turned out to have no version: the store is empty. An error when the
// directory shows that it is not.
func (d *Dir) MarkEmpty() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.settle(); err != nil {
		return err
	}
	d.mu.Lock()
	used := len(d.versions) > 0 || d.head != (head{}) || len(d.strays) > 0
	d.mu.Unlock()
	if d.none == noneYet && !used {
		return nil
	}
	if d.none != noneFetch || used {
		return corrupt(d.versionsPath(), 0, "no manifest of any version is here, nor on the remote, but the store has had some")
	}
	if err := fsx.WriteFileAtomic(d.fs, d.nonePath(), encodeNone(noneYet)); err != nil {
		return err
	}
	d.none = noneYet
	return nil
}
