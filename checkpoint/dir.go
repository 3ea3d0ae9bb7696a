package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

const (
	storeName   = "STORE"
	headName    = "HEAD"
	versionsDir = "versions"
	imagesDir   = "images"
	logDir      = "log"

	manifestSuffix = ".manifest"
	imageSuffix    = ".img"
	segmentSuffix  = ".seg"

	versionDigits = 16
	imageDigits   = 16
	segmentDigits = 12
)

// Dir is the versions of one store in one directory. Its methods may be called from any goroutine: those that change
// files take turns, the others do not wait for them. The caller holds the directory's lock (fsx.FS.Lock) for as long
// as it uses the Dir.
type Dir struct {
	fs       fsx.FS
	path     string
	id       Identity
	readOnly bool

	writing     sync.Mutex // held by every call that changes files, taken before mu
	headInDoubt bool       // guarded by writing: HEAD may not hold head
	collecting  sync.Mutex // held from looking for orphans until they are removed, taken before mu

	mu       sync.Mutex // guards what follows; never held during I/O
	head     head
	versions map[Version]*entry
	maxID    Version
	maxEnd   uint64
	held     map[*held]bool // what is on its way in
}

// held is log and images that no version refers to yet.
type held struct {
	log    ExtentSet
	images []uint64
}

// OpenDir opens the directory of a store. If there is no store in it, OpenDir makes one with identity id; with
// readOnly, which writes nothing, that is fs.ErrNotExist instead. A store that is there keeps its own identity. What an
// interrupted call left half-written is removed.
//
// A damaged STORE, HEAD or current manifest is a *CorruptionError, a newer format is ErrFormat, and nothing is touched.
// Any other damaged manifest is reported by Manifest and Damaged and keeps every file from being collected.
func OpenDir(fsys fsx.FS, path string, id Identity, readOnly bool) (*Dir, error) {
	d := &Dir{fs: fsys, path: path, readOnly: readOnly, versions: make(map[Version]*entry), held: make(map[*held]bool)}
	err := d.readIdentity()
	if errors.Is(err, fs.ErrNotExist) && !readOnly {
		err = d.create(id)
	}
	if err == nil {
		err = d.load()
	}
	if err == nil && !readOnly {
		err = d.tidy()
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: open %s: %w", path, err)
	}
	return d, nil
}

// Path returns the directory.
func (d *Dir) Path() string { return d.path }

// Identity returns the store's id, hash seed and segment size.
func (d *Dir) Identity() Identity { return d.id }

// LogPath returns the directory of the segment files.
func (d *Dir) LogPath() string { return filepath.Join(d.path, logDir) }

// ImagesPath returns the directory of the image files.
func (d *Dir) ImagesPath() string { return filepath.Join(d.path, imagesDir) }

// SegmentPath returns the file that holds log bytes [n*SegmentBytes, (n+1)*SegmentBytes).
func (d *Dir) SegmentPath(n uint64) string {
	return filepath.Join(d.path, logDir, fmt.Sprintf("%0*x%s", segmentDigits, n, segmentSuffix))
}

// ImagePath returns the file of an index image.
func (d *Dir) ImagePath(id uint64) string {
	return filepath.Join(d.path, imagesDir, fmt.Sprintf("%0*x%s", imageDigits, id, imageSuffix))
}

// ManifestPath returns the file of a version's manifest.
func (d *Dir) ManifestPath(v Version) string {
	return filepath.Join(d.path, versionsDir, manifestName(v))
}

func (d *Dir) versionsPath() string { return filepath.Join(d.path, versionsDir) }
func (d *Dir) storePath() string    { return filepath.Join(d.path, storeName) }
func (d *Dir) headPath() string     { return filepath.Join(d.path, headName) }

func manifestName(v Version) string {
	return fmt.Sprintf("%0*x%s", versionDigits, uint64(v), manifestSuffix)
}

// parseName returns the number in a file name that ends in suffix after exactly so many digits, as we write them.
func parseName(name, suffix string, digits int) (n uint64, ok bool) {
	hex, found := strings.CutSuffix(name, suffix)
	if !found || len(hex) != digits || strings.ToLower(hex) != hex {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil
}

func (d *Dir) readIdentity() error {
	b, err := fsx.ReadFile(d.fs, d.storePath(), identityBytes+frameBytes+fsx.BlockSize)
	if err != nil {
		return readError(d.storePath(), err)
	}
	d.id, err = decodeIdentity(d.storePath(), b)
	return err
}

// readError makes a file that is longer than it can be a damaged one.
func readError(file string, err error) error {
	if errors.Is(err, fsx.ErrTooLong) {
		return corrupt(file, 0, "%v", err)
	}
	return err
}

// create makes a new store. STORE comes last: while it is missing there is nothing in the directory, and it is safe to
// start again.
func (d *Dir) create(id Identity) error {
	if err := id.validate(); err != nil {
		return err
	}
	for dir, file := range map[string]struct {
		suffix string
		digits int
	}{versionsDir: {manifestSuffix, versionDigits}, imagesDir: {imageSuffix, imageDigits}, logDir: {segmentSuffix, segmentDigits}} {
		entries, err := d.fs.List(filepath.Join(d.path, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if _, ok := parseName(e.Name, file.suffix, file.digits); ok {
				return corrupt(d.storePath(), 0, "missing, but there is %s/%s", dir, e.Name)
			}
		}
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

// load reads HEAD and all manifests.
func (d *Dir) load() error {
	b, err := fsx.ReadFile(d.fs, d.headPath(), frameBytes+fsx.BlockSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt(d.headPath(), 0, "missing")
	case err != nil:
		return readError(d.headPath(), err)
	}
	if d.head, err = decodeHead(d.headPath(), b); err != nil {
		return err
	}
	d.maxID, d.maxEnd = d.head.floor, d.head.maxEnd

	entries, err := d.fs.List(d.versionsPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt(d.versionsPath(), 0, "missing")
	case err != nil:
		return err
	}
	for _, e := range entries {
		n, ok := parseName(e.Name, manifestSuffix, versionDigits)
		if !ok {
			continue
		}
		v := Version(n)
		loaded, err := d.readManifest(v)
		if err != nil {
			return err
		}
		d.versions[v] = loaded
		d.maxID = max(d.maxID, v)
		if loaded.m != nil {
			d.maxEnd = max(d.maxEnd, loaded.m.Cut)
		}
	}
	switch v := d.currentID(); {
	case v == 0:
		return nil
	case d.versions[v] == nil:
		return corrupt(d.ManifestPath(v), 0, "missing, but %s points at it", headName)
	default:
		return d.versions[v].err
	}
}

// readManifest returns the entry of a version, damaged ones included. Everything else that goes wrong (a newer
// format, an error of the disk) is returned as an error: it says nothing about the bytes.
func (d *Dir) readManifest(v Version) (*entry, error) {
	name := d.ManifestPath(v)
	b, err := fsx.ReadFile(d.fs, name, maxManifest)
	if err != nil {
		err = readError(name, err)
	}
	var m *Manifest
	if err == nil {
		m, err = DecodeManifest(name, b)
	}
	if err == nil && m.StoreID != d.id.StoreID {
		err = corrupt(name, headerBytes, "belongs to store %x, this is store %x", m.StoreID, d.id.StoreID)
	}
	if err == nil && m.Version != v {
		err = corrupt(name, headerBytes, "holds version %d", m.Version)
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		return newEntry(nil, 0, err), nil
	case err != nil:
		return nil, err
	}
	return newEntry(m, sealSum(b), nil), nil
}

// tidy removes what interrupted writes left behind, and makes durable what they got done: a name that is visible after
// a kill may still be lost in a power failure, and from here on it is relied upon.
func (d *Dir) tidy() error {
	known := map[string]func(string) bool{
		"":          func(name string) bool { return name == storeName || name == headName },
		versionsDir: func(name string) bool { _, ok := parseName(name, manifestSuffix, versionDigits); return ok },
		imagesDir:   func(name string) bool { _, ok := parseName(name, imageSuffix, imageDigits); return ok },
		logDir:      func(name string) bool { _, ok := parseName(name, segmentSuffix, segmentDigits); return ok },
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
	return errors.Join(d.fs.SyncDir(d.path), d.fs.SyncDir(d.versionsPath()))
}

// currentID returns the id of the current version, 0 when there is none. The caller holds mu.
func (d *Dir) currentID() Version {
	newest := d.head.target
	for v, e := range d.versions {
		if e.phase != doomed && v > d.head.floor {
			newest = max(newest, v) // above the floor, hence above target
		}
	}
	return newest
}

// current returns the entry of the current version, nil when there is none. The caller holds mu.
func (d *Dir) current() *entry { return d.versions[d.currentID()] }

// Current returns the version that the directory opens at, nil when there is none.
func (d *Dir) Current() *Manifest {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.current(); e != nil {
		return e.m
	}
	return nil
}

// Manifest returns the manifest of version v. ErrNotFound when there is no such version, a *CorruptionError when its
// manifest is damaged.
func (d *Dir) Manifest(v Version) (*Manifest, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, err := d.lookup(v)
	if err != nil {
		return nil, err
	}
	return e.m, nil
}

// lookup returns the entry of a readable version. The caller holds mu.
func (d *Dir) lookup(v Version) (*entry, error) {
	switch e := d.versions[v]; {
	case e.readable():
		return e, nil
	case e != nil && e.phase == damaged:
		return nil, e.err
	}
	return nil, fmt.Errorf("%w: %d", ErrNotFound, v)
}

// MaxID returns the highest id that any version ever had, purged ones included. The next must be higher.
func (d *Dir) MaxID() Version {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.maxID
}

// MaxEnd returns the end of all log that was ever committed, purged versions included. New log goes at or above it.
func (d *Dir) MaxEnd() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.maxEnd
}

// Damaged returns one *CorruptionError for each manifest that could not be read, by id.
func (d *Dir) Damaged() []error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, v := range slices.Sorted(maps.Keys(d.versions)) {
		if e := d.versions[v]; e.err != nil {
			errs = append(errs, e.err)
		}
	}
	return errs
}
