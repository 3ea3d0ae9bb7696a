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

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

const (
	storeName   = "STORE"
	headName    = "HEAD"
	noneName    = "NONE"
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
	aside    *mark // of writing: the mark of a directory that is another's; nil: it is in REMOTE

	writing     lock.Mutex[lock.DirWriting]    // held by every call that changes files, taken before mu
	headInDoubt bool                           // guarded by writing: HEAD may not hold head
	owned       bool                           // guarded by writing: TakeOver has succeeded
	lost        lost                           // guarded by writing: what TakeOver has to write again
	none        noneState                      // guarded by writing: what NONE says, as far as it is there
	collecting  lock.Mutex[lock.DirCollecting] // held from looking for orphans until they are removed, taken before mu

	mu       lock.Mutex[lock.Leaf] // guards what follows; never held during I/O
	head     head
	versions map[Version]*entry
	doomed   int // how many of them are
	maxID    Version
	maxEnd   uint64
	held     map[*held]bool  // what is on its way in
	strays   map[string]bool // files that no version referred to when the directory was opened; nil after a commit (V12)
	logEnd   uint64          // where the last segment file ended then
	openEnd  uint64          // maxEnd then; logEnd when what lay in between has been dealt with
}

// held is log and images that no version refers to yet.
type held struct {
	log    ExtentSet
	images []uint64
}

// OpenOptions say how OpenDirWith opens a directory.
type OpenOptions struct {
	// Identity is that of the store that is made when there is none.
	Identity Identity
	// ReadOnly writes nothing, ever.
	ReadOnly bool
	// NoCreate makes no store: a directory without one is fs.ErrNotExist. ReadOnly includes it.
	NoCreate bool
	// Version is the version that the caller is going to open at, 0 for the current one. With it, the damage or loss of
	// STORE, HEAD and the manifests of other versions is no error: what is needed of them is taken from its manifest, and
	// TakeOver writes it. ErrNotFound when there is no such version.
	Version Version
	// Fill says that the caller has a remote from which it will fill the directory (Mirror.Pull). A store that is made
	// waits for that, and one without a current version is no error: Current returns nil then.
	Fill bool
	// Import is for a store that is made out of a stream, which brings its first version.
	Import bool
	// Aside is for somebody who copies versions of a directory that is another's, and may be in use: nothing is ever written
	// to it, and a Mirror keeps in memory what it would note there. It includes NoCreate.
	Aside bool
}

// OpenDir opens the directory of a store, or makes one, and takes it over: OpenDirWith and TakeOver.
func OpenDir(fsys fsx.FS, path string, id Identity, readOnly bool) (*Dir, error) {
	d, err := OpenDirWith(fsys, path, OpenOptions{Identity: id, ReadOnly: readOnly})
	if err == nil && !readOnly {
		err = d.TakeOver()
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// OpenDirWith opens the directory of a store. If it is empty or holds foreign files only, a store is made, with identity
// o.Identity; one that is there keeps its own. Nothing of what is there is changed before TakeOver (V12), which the
// caller calls when it knows that the version it opens at is whole.
//
// A damaged or missing STORE, HEAD or manifest of the current version is a *CorruptionError, a newer format is ErrFormat.
// So is a directory without any manifest, unless its store never had a version (V13). Any other damaged manifest is
// reported by Manifest and Damaged and keeps every file from being collected.
func OpenDirWith(fsys fsx.FS, path string, o OpenOptions) (*Dir, error) {
	d := &Dir{fs: fsys, path: path, readOnly: o.ReadOnly, versions: make(map[Version]*entry), held: make(map[*held]bool)}
	if o.Aside {
		o.NoCreate, d.aside = true, &mark{}
	}
	err := d.readIdentity()
	if errors.Is(err, fs.ErrNotExist) {
		err = d.withoutStore(o, err)
	} else if errors.Is(err, ErrCorrupt) {
		err = d.withoutIdentity(o, err)
	}
	if err == nil {
		err = d.load(o)
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

// SegmentNumber returns the number of the segment that a file, without its folder, is named after, and whether it is.
func SegmentNumber(name string) (n uint64, ok bool) {
	return parseName(name, segmentSuffix, segmentDigits)
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
	b, err := fsx.ReadFile(d.fs, d.storePath(), identityBytes+envelopeBytes+fsx.BlockSize)
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

// load reads HEAD and all manifests, and what files there are.
func (d *Dir) load(o OpenOptions) error {
	headErr := d.readHead()
	if headErr != nil && !(o.Version != 0 && errors.Is(headErr, ErrCorrupt)) {
		return d.advise(headErr)
	}
	if err := d.readManifests(); err != nil {
		return err
	}
	if err := d.readNone(); err != nil {
		return err
	}
	if err := d.findStrays(); err != nil {
		return err
	}
	if headErr != nil {
		// Ids and addresses of versions that are gone are not known any more, but for what names of files show (V5).
		d.maxEnd = max(d.maxEnd, d.logEnd)
		d.head, d.lost.head = head{target: o.Version, floor: d.maxID, maxEnd: d.maxEnd}, true
	}
	d.openEnd = d.maxEnd
	if o.Version != 0 {
		_, err := d.lookup(o.Version)
		return err
	}
	return d.checkCurrent(o.Fill || o.Import && d.none == noneImport)
}

// readHead reads HEAD. That it is missing is damage.
func (d *Dir) readHead() error {
	b, err := fsx.ReadFile(d.fs, d.headPath(), envelopeBytes+fsx.BlockSize)
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
	return nil
}

// readManifests reads all manifests, and keeps those that are damaged as such.
func (d *Dir) readManifests() error {
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
	return nil
}

// checkCurrent returns why the directory cannot be opened at its current version, nil if it can.
func (d *Dir) checkCurrent(fill bool) error {
	switch v := d.currentID(); {
	case v == 0:
		return d.checkNone(fill)
	case d.versions[v] == nil:
		return d.advise(corrupt(d.ManifestPath(v), 0, "missing, but %s points at it", headName))
	case d.versions[v].err != nil:
		return d.advise(d.versions[v].err)
	}
	return nil
}

// readManifest returns the entry of a version, damaged ones included. Everything else that goes wrong (a newer
// format, an error of the disk) is returned as an error: it says nothing about the bytes.
func (d *Dir) readManifest(v Version) (*entry, error) {
	m, sum, err := d.decodeManifest(v)
	if err == nil && m.StoreID != d.id.StoreID {
		err = corrupt(d.ManifestPath(v), headerBytes, "belongs to store %x, this is store %x", m.StoreID, d.id.StoreID)
	}
	switch {
	case errors.Is(err, ErrCorrupt):
		return newEntry(nil, 0, err), nil
	case err != nil:
		return nil, err
	}
	return newEntry(m, sum, nil), nil
}

// decodeManifest reads the manifest file of a version, of whatever store, and the checksum that ends it.
func (d *Dir) decodeManifest(v Version) (m *Manifest, sum uint64, err error) {
	name := d.ManifestPath(v)
	b, err := fsx.ReadFile(d.fs, name, maxManifest)
	if err != nil {
		return nil, 0, readError(name, err)
	}
	if m, err = DecodeManifest(name, b); err != nil {
		return nil, 0, err
	}
	if m.Version != v {
		return nil, 0, corrupt(name, headerBytes, "holds version %d", m.Version)
	}
	return m, envelopeSum(b), nil
}

// currentID returns the id of the current version, 0 when there is none. The caller holds mu.
func (d *Dir) currentID() Version {
	if e := d.versions[d.maxID]; e != nil && e.phase != doomed && d.maxID > d.head.floor {
		return d.maxID // the usual case: no version was rolled back or lost since
	}
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
