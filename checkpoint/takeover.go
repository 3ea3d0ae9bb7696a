package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// lost is which files were missing or damaged when the directory was opened, although what they have to hold is known.
type lost struct{ store, head bool }

// TakeOver makes the directory that of the caller, who has found the version whole that it opens at: what interrupted
// calls left half-written is removed, what they got done is made durable, and STORE and HEAD are written again if they
// were lost (the damaged ones keep their bytes under names that end in ".damaged"). Every call that changes the
// directory begins with it; whoever relies on what a directory shows calls it first.
func (d *Dir) TakeOver() error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.takeOver(); err != nil {
		return fmt.Errorf("checkpoint: open %s: %w", d.path, err)
	}
	return nil
}

// takeOver is TakeOver. The caller holds writing.
func (d *Dir) takeOver() error {
	switch {
	case d.readOnly:
		return ErrReadOnly
	case d.owned:
		return nil
	}
	if err := d.writeLost(); err != nil {
		return err
	}
	if err := d.checkOurs(); err != nil {
		return err
	}
	if err := d.tidy(); err != nil {
		return err
	}
	d.owned = true
	return nil
}

// writeLost writes what was lost.
func (d *Dir) writeLost() error {
	if d.lost.store {
		if err := d.renameAside(d.storePath()); err != nil {
			return err
		}
		if err := fsx.WriteFileAtomic(d.fs, d.storePath(), encodeIdentity(d.id)); err != nil {
			return err
		}
		d.lost.store = false
	}
	if d.lost.head {
		if err := d.renameAside(d.headPath()); err != nil {
			return err
		}
		if err := d.writeHead(d.head); err != nil { // nobody else writes head while we hold writing
			return err
		}
		d.lost.head = false
	}
	return nil
}

// tidy removes what interrupted writes left behind, and makes durable what they got done: a name that is visible after
// a kill may still be lost in a power failure, and from here on it is relied upon.
func (d *Dir) tidy() error {
	known := map[string]func(string) bool{
		"": func(name string) bool { return name == storeName || name == headName || name == markName },
		versionsDir: func(name string) bool {
			_, ok := parseName(name, manifestSuffix, versionDigits)
			return ok || name == noneName
		},
		imagesDir: func(name string) bool { _, ok := parseName(name, imageSuffix, imageDigits); return ok },
		logDir:    func(name string) bool { _, ok := SegmentNumber(name); return ok },
	}
	for _, dir := range slices.Sorted(maps.Keys(known)) {
		path := filepath.Join(d.path, dir)
		if err := d.fs.MkdirAll(path); err != nil { // tools that copy files may leave out empty directories
			return err
		}
		entries, err := d.fs.List(path)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if name, ok := strings.CutSuffix(e.Name, fsx.TempSuffix); ok && known[dir](name) {
				if err := d.fs.Remove(filepath.Join(path, e.Name)); err != nil {
					return err
				}
			}
		}
	}
	if d.Current() != nil {
		if err := d.removeNone(); err != nil {
			return err
		}
	}
	return errors.Join(d.fs.SyncDir(d.path), d.fs.SyncDir(d.versionsPath()))
}

// withoutIdentity deals with a STORE that is missing or damaged: the manifest of the version that is opened may tell what
// was in it.
func (d *Dir) withoutIdentity(o OpenOptions, damage error) error {
	if o.Version == 0 {
		return d.advise(damage)
	}
	name := d.ManifestPath(o.Version)
	m, _, err := d.decodeManifest(o.Version)
	if err != nil {
		return errors.Join(damage, err)
	}
	id, ok := m.identity()
	if !ok {
		return fmt.Errorf("%w; %s, of an older release, does not tell what was in it", damage, name)
	}
	d.id, d.lost.store = id, true
	return nil
}

// advise adds to an error that keeps the directory from being opened at its current version how it can be opened.
func (d *Dir) advise(damage error) error {
	ids, err := d.numbers(d.versionsPath(), manifestSuffix, versionDigits)
	if err != nil {
		return damage
	}
	var whole []Version
	for _, n := range ids {
		if m, _, err := d.decodeManifest(Version(n)); err == nil && (d.id == Identity{} || m.StoreID == d.id.StoreID) {
			whole = append(whole, Version(n))
		}
	}
	if len(whole) == 0 {
		return damage
	}
	return fmt.Errorf("%w; to go on from an older version, open with Options.Version (manifests that are whole: %v)", damage, whole)
}

// findStrays notes the segments and images that no version refers to, and where the last segment ends.
func (d *Dir) findStrays() error {
	log, images := ExtentSet{}, map[uint64]bool{}
	for _, e := range d.versions {
		if e.m == nil {
			continue // what it refers to is not known, and stays anyway (V8)
		}
		log.AddSet(Log(e.m.Extents))
		for _, id := range e.m.IDs() {
			images[id] = true
		}
	}
	d.strays = map[string]bool{}
	size := uint64(d.id.SegmentBytes)
	err := d.eachFile(d.LogPath(), segmentSuffix, segmentDigits, func(path string, n uint64, bytes int64) {
		if n >= maxLog/size {
			return // not ours
		}
		d.logEnd = max(d.logEnd, n*size+uint64(bytes))
		if !log.Intersects(n*size, (n+1)*size) {
			d.strays[path] = true
		}
	})
	if err != nil {
		return err
	}
	return d.eachFile(d.ImagesPath(), imageSuffix, imageDigits, func(path string, id uint64, _ int64) {
		if !images[id] {
			d.strays[path] = true
		}
	})
}

// eachFile calls f for the files of a directory that have names of one kind. A directory that is not there has none.
func (d *Dir) eachFile(dir, suffix string, digits int, f func(path string, n uint64, bytes int64)) error {
	entries, err := d.fs.List(dir)
	for _, e := range entries {
		if n, ok := parseName(e.Name, suffix, digits); ok && !e.Dir {
			f(filepath.Join(dir, e.Name), n, e.Size)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Strays returns the segments and images that no version referred to when the directory was opened: what a crash left, or
// what belongs to versions whose manifests a copy has not got. They stay until the first Commit (V12).
func (d *Dir) Strays() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.strays))
}

// LogEnd returns the end of all log that lay in the directory when it was opened, whether any version refers to it or
// not: MaxEnd, or where the last segment file ended. New log goes at or above it (V12).
func (d *Dir) LogEnd() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(d.maxEnd, d.logEnd)
}
