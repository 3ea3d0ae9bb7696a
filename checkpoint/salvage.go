package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// setAsideSuffix ends the names of files that SetAside renamed. They are not the store's any more.
const setAsideSuffix = ".damaged"

// SetAside makes a directory that OpenDir refuses with ErrCorrupt fit to be filled from a remote (Mirror.Pull): STORE,
// HEAD and all manifests are renamed to what they were called plus ".damaged", and a directory without versions, of
// the given identity (RemoteIdentity), takes their place. Segments and images stay: what is whole in them is not
// fetched again. Ids and addresses that were used here stay used up (V5).
//
// Local versions that the remote has not are given up by this. Until it is complete, OpenDir refuses the directory.
func SetAside(fsys fsx.FS, path string, id Identity) error {
	d := &Dir{fs: fsys, path: path, id: id}
	err := id.validate()
	if err == nil {
		err = d.setAside()
	}
	if err != nil {
		return fmt.Errorf("checkpoint: set aside what is damaged in %s: %w", path, err)
	}
	return nil
}

func (d *Dir) setAside() error {
	h, err := d.usedUp()
	if err != nil {
		return err
	}
	// STORE goes first: from here on OpenDir finds it missing, whatever else is done.
	if err := d.renameAside(d.storePath()); err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.path); err != nil {
		return err
	}
	ids, err := d.numbers(d.versionsPath(), manifestSuffix, versionDigits)
	if err != nil {
		return err
	}
	for _, n := range ids {
		if err := d.renameAside(d.ManifestPath(Version(n))); err != nil {
			return err
		}
	}
	if err := d.renameAside(d.headPath()); err != nil {
		return err
	}
	for _, dir := range []string{versionsDir, imagesDir, logDir} {
		if err := d.fs.MkdirAll(filepath.Join(d.path, dir)); err != nil {
			return err
		}
	}
	if err := fsx.WriteFileAtomic(d.fs, d.nonePath(), encodeNone(noneFetch)); err != nil {
		return err
	}
	if err := fsx.WriteFileAtomic(d.fs, d.headPath(), encodeHead(h)); err != nil {
		return err
	}
	return fsx.WriteFileAtomic(d.fs, d.storePath(), encodeIdentity(d.id))
}

func (d *Dir) renameAside(name string) error {
	err := d.fs.Rename(name, name+setAsideSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// usedUp returns a head with the highest id and log end that the directory shows in any way: by what can be read, and
// by the names of files where it cannot.
func (d *Dir) usedUp() (h head, err error) {
	for _, name := range []string{d.headPath(), d.headPath() + setAsideSuffix} {
		if b, err := fsx.ReadFile(d.fs, name, envelopeBytes+fsx.BlockSize); err == nil {
			if old, err := decodeHead(name, b); err == nil {
				h.floor, h.maxEnd = max(h.floor, old.floor), max(h.maxEnd, old.maxEnd)
			}
		}
	}
	for _, suffix := range []string{manifestSuffix, manifestSuffix + setAsideSuffix} {
		ids, err := d.numbers(d.versionsPath(), suffix, versionDigits)
		if err != nil {
			return h, err
		}
		for _, n := range ids {
			h.floor = max(h.floor, Version(n))
		}
	}
	segments, err := d.numbers(d.LogPath(), segmentSuffix, segmentDigits)
	size := uint64(d.id.SegmentBytes)
	for _, n := range segments {
		if n < maxLog/size {
			h.maxEnd = max(h.maxEnd, (n+1)*size)
		}
	}
	return h, err
}

// numbers returns the numbers in the names of a directory's files of one kind, ascending.
func (d *Dir) numbers(dir, suffix string, digits int) (all []uint64, err error) {
	entries, err := d.fs.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if n, ok := parseName(e.Name, suffix, digits); ok && !e.Dir {
			all = append(all, n)
		}
	}
	return all, nil
}
