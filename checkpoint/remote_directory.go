package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// RemoteDirectory shows versions of a remote as the directory of a store that has them, for reading: nothing of it is
// anywhere but on the remote and in the reader's cache. Whatever would change it is fs.ErrPermission. It is a file system
// of that directory alone.
//
// Reads that follow each other have what comes next got ahead of them. A read that the remote does not answer is the error
// that RemoteReaderOptions.Failed makes of it; one of a piece that is gone is ErrNotFound if a version of the directory was
// purged, else ErrCorrupt.
type RemoteDirectory struct {
	r      *RemoteReader
	path   string
	stands []stand
	small  map[string][]byte     // files that are in memory, by path
	log    []Range               // of all versions
	ends   map[uint64]int64      // sizes of segment files
	images map[uint64]remoteFile // index files, by id
	lists  []listRef             // that have not been read yet
	mu     lock.Mutex[lock.Leaf] // of pieces and read
	pieces []piece               // of mu: of log, ascending; those of lists that were read included
	read   map[listRef]bool      // of mu: lists whose pieces are among them
	ctx    context.Context       // of everything that is read for it
	cancel context.CancelCauseFunc
}

// remoteFile is an index file.
type remoteFile struct {
	bytes  int64
	pieces []piece
}

// Directory returns the directory of a store with these versions, of which the last one is current. path is what names in
// errors begin with. It reads what describes the versions, and nothing of what they consist of. ErrNotFound when one does
// not stand.
func (r *RemoteReader) Directory(ctx context.Context, path string, versions ...Version) (*RemoteDirectory, error) {
	found := make([]*replica, len(versions))
	stands := make([]stand, len(versions))
	calls := make([]func() error, len(versions))
	for i, v := range versions {
		calls[i] = func() (err error) {
			found[i], stands[i], err = r.load(ctx, v)
			return err
		}
	}
	if err := together(calls...); err != nil {
		return nil, fmt.Errorf("checkpoint: read the remote: %w", r.failed(err))
	}
	id := r.Identity()
	d := &RemoteDirectory{r: r, path: path, stands: stands, ends: map[uint64]int64{}, images: map[uint64]remoteFile{}, read: map[listRef]bool{}}
	d.ctx, d.cancel = context.WithCancelCause(context.Background())
	var log ExtentSet
	var highest Version
	for i, c := range found {
		log.AddSet(Log(c.m.Extents))
		d.pieces = append(d.pieces, c.log...)
		d.lists = append(d.lists, c.lists...)
		for _, f := range c.files() {
			d.images[f.id] = remoteFile{f.bytes, f.pieces}
		}
		highest = max(highest, versions[i])
	}
	d.pieces, d.log = sortPieces(d.pieces), log.Ranges()
	d.lists = sortLists(d.lists)
	size := uint64(id.SegmentBytes)
	var end uint64
	for _, r := range d.log {
		end = r.End
		for n := r.Start / size; n <= (r.End-1)/size; n++ {
			d.ends[n] = int64(min(r.End, (n+1)*size) - n*size)
		}
	}
	local := &Dir{path: path}
	d.small = map[string][]byte{local.storePath(): encodeIdentity(id)}
	h := head{floor: highest, maxEnd: end}
	if n := len(versions); n > 0 {
		h.target = versions[n-1]
	}
	d.small[local.headPath()] = encodeHead(h)
	for _, c := range found {
		d.small[local.ManifestPath(c.m.Version)] = c.manifest
	}
	return d, nil
}

// Manifest returns what version v of the directory consists of.
func (d *RemoteDirectory) Manifest(v Version) (*Manifest, error) {
	name := (&Dir{path: d.path}).ManifestPath(v)
	b, ok := d.small[name]
	if !ok {
		return nil, fmt.Errorf("%w: %d", ErrNotFound, v)
	}
	return DecodeManifest(name, b)
}

// Versions returns the versions of the directory, oldest first.
func (d *RemoteDirectory) Versions() []Version {
	var versions []Version
	for _, st := range d.stands {
		versions = append(versions, st.version)
	}
	slices.Sort(versions)
	return versions
}

// Interrupt ends the reads that are under way and makes all later ones fail with err.
func (d *RemoteDirectory) Interrupt(err error) { d.cancel(err) }

// ReadAhead gets log that is about to be read into the cache, as far as half of it goes, and does not wait for it.
func (d *RemoteDirectory) ReadAhead(r Range) error {
	if r.Bytes() > d.r.cache.max/2 {
		return nil
	}
	for _, part := range d.log {
		part = Range{max(part.Start, r.Start), min(part.End, r.End)}
		if part.Start >= part.End {
			continue
		}
		stretches, err := d.locateLog(part.Start, nil, part.Bytes())
		if err != nil {
			return err
		}
		d.r.cache.start(d.stands, stretches)
	}
	return nil
}

// locateLog returns which parts of which pieces hold the n bytes of log at address at, and where they belong in b. What is
// between the versions' log is no part of any; b has zeros there.
func (d *RemoteDirectory) locateLog(at uint64, b []byte, n int64) ([]stretch, error) {
	want := ExtentSet{}
	for _, r := range d.log {
		want.Add(max(r.Start, at), max(min(r.End, at+uint64(n)), max(r.Start, at)))
	}
	if err := d.readLists(&want); err != nil {
		return nil, err
	}
	d.mu.Lock()
	pieces := overlapping(d.pieces, &want)
	d.mu.Unlock()
	var found []stretch
	for _, r := range want.Ranges() {
		for from := r.Start; from < r.End; {
			best := piece{}
			for _, p := range pieces {
				if p.start <= from && p.end > from && p.end > best.end {
					best = p
				}
			}
			if best.end == 0 {
				return nil, corrupt(d.r.m.names.version(d.stands[0].version, d.stands[0].generation), headerBytes, "no piece holds log at %#x", from)
			}
			end := min(best.end, r.End)
			s := stretch{located: located{p: best}, off: int64(from - best.start), n: int64(end - from)}
			if b != nil {
				s.b = b[from-at : end-at]
			}
			found = append(found, s)
			from = end
		}
	}
	return found, nil
}

// readLists reads the lists that may name pieces of some log.
func (d *RemoteDirectory) readLists(log *ExtentSet) error {
	var due []listRef
	d.mu.Lock()
	for _, l := range d.lists {
		if !d.read[l] && log.Intersects(l.start, l.end) {
			due = append(due, l)
		}
	}
	d.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	lists := make([][]piece, len(due))
	calls := make([]func() error, len(due))
	for i, l := range due {
		calls[i] = func() (err error) {
			if lists[i], err = d.r.list(d.ctx, l); errors.Is(err, fs.ErrNotExist) {
				err = d.r.gone(d.ctx, d.stands, d.r.m.names.list(l))
			}
			return err
		}
	}
	if err := together(calls...); err != nil {
		return d.failed(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, l := range due {
		d.pieces = append(d.pieces, lists[i]...)
		d.read[l] = true
	}
	d.pieces = sortPieces(slices.Clone(d.pieces))
	return nil
}

func (d *RemoteDirectory) failed(err error) error {
	if cause := context.Cause(d.ctx); cause != nil {
		return cause
	}
	return d.r.failed(err)
}

// remoteOpen is an open file of a RemoteDirectory.
type remoteOpen struct {
	d    *RemoteDirectory
	name string
	size int64
	data []byte                                          // of a small file
	find func(b []byte, off, n int64) ([]stretch, error) // of others

	mu     lock.Mutex[lock.Leaf] // of what follows
	closed bool
	next   int64 // where the last read has ended
	ahead  int64 // what lies before it was got, or is on its way
	window int64
}

// Reads that follow each other have leastAhead got ahead, and twice as much each time, up to mostAhead and a share of the cache.
const (
	leastAhead = 4 * readUnit
	mostAhead  = 8 << 20
	aheadShare = 4
)

func (f *remoteOpen) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	closed := f.closed
	f.mu.Unlock()
	switch {
	case closed:
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrClosed}
	case off < 0:
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrInvalid}
	case off >= f.size:
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.size-off))
	if err := f.fill(p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *remoteOpen) fill(p []byte, off int64) error {
	if f.find == nil {
		copy(p, f.data[off:])
		return nil
	}
	clear(p)
	stretches, err := f.find(p, off, int64(len(p)))
	if err != nil {
		return err
	}
	f.readAhead(off, off+int64(len(p)))
	if err := f.d.r.cache.read(f.d.ctx, f.d.stands, stretches); err != nil {
		return f.d.failed(err)
	}
	return nil
}

// readAhead gets what follows a read that follows another one.
func (f *remoteOpen) readAhead(off, end int64) {
	most := min(mostAhead, f.d.r.cache.max/aheadShare)
	f.mu.Lock()
	follows := off == f.next && off > 0
	f.next = end
	if !follows {
		f.window, f.ahead = 0, end
		f.mu.Unlock()
		return
	}
	from := max(f.ahead, end)
	if from > end+f.window/2 && f.window > 0 {
		f.mu.Unlock()
		return
	}
	f.window = min(max(2*f.window, leastAhead), most)
	to := min(end+f.window, f.size)
	f.ahead = max(from, to)
	f.mu.Unlock()
	if from >= to {
		return
	}
	if stretches, err := f.find(nil, from, to-from); err == nil {
		f.d.r.cache.start(f.d.stands, stretches)
	}
}

func (f *remoteOpen) Size() (int64, error) { return f.size, nil }
func (f *remoteOpen) Direct() bool         { return false }
func (f *remoteOpen) InPlace() error       { return nil }

func (f *remoteOpen) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

func refuse(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrPermission} }

func (f *remoteOpen) WriteAt([]byte, int64) (int, error) { return 0, refuse("write", f.name) }
func (f *remoteOpen) Sync() error                        { return refuse("sync", f.name) }
func (f *remoteOpen) Allocate(int64, int64) error        { return refuse("allocate", f.name) }
func (f *remoteOpen) Truncate(int64) error               { return refuse("truncate", f.name) }

// Open opens a file for reading.
func (d *RemoteDirectory) Open(name string, flag fsx.Flag) (fsx.File, error) {
	if flag&fsx.Write != 0 {
		return nil, refuse("open", name)
	}
	if b, ok := d.small[name]; ok {
		return &remoteOpen{d: d, name: name, size: int64(len(b)), data: b}, nil
	}
	dir, base := filepath.Split(name)
	switch filepath.Clean(dir) {
	case filepath.Join(d.path, logDir):
		n, ok := SegmentNumber(base)
		if size, there := d.ends[n]; ok && there {
			start := n * uint64(d.r.Identity().SegmentBytes)
			return &remoteOpen{d: d, name: name, size: size, find: func(b []byte, off, n int64) ([]stretch, error) {
				return d.locateLog(start+uint64(off), b, n)
			}}, nil
		}
	case filepath.Join(d.path, imagesDir):
		id, ok := parseName(base, imageSuffix, imageDigits)
		if f, there := d.images[id]; ok && there {
			return &remoteOpen{d: d, name: name, size: f.bytes, find: func(b []byte, off, n int64) ([]stretch, error) {
				return f.locate(id, b, off, n), nil
			}}, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// locate returns which parts of which pieces hold n bytes of the file, which has them, at off.
func (f remoteFile) locate(id uint64, b []byte, off, n int64) (found []stretch) {
	i := sort.Search(len(f.pieces), func(i int) bool { return int64(f.pieces[i].end) > off })
	for at := off; at < off+n; i++ {
		p := f.pieces[i]
		end := min(int64(p.end), off+n)
		s := stretch{located: located{file: id + 1, p: p}, off: at - int64(p.start), n: end - at}
		if b != nil {
			s.b = b[at-off : end-off]
		}
		found = append(found, s)
		at = end
	}
	return found
}

// List returns the entries of a directory.
func (d *RemoteDirectory) List(dir string) ([]fsx.Entry, error) {
	var entries []fsx.Entry
	local := &Dir{path: d.path}
	switch filepath.Clean(dir) {
	case d.path:
		for _, sub := range []string{imagesDir, logDir, versionsDir} {
			entries = append(entries, fsx.Entry{Name: sub, Dir: true})
		}
	case local.LogPath():
		for n, size := range d.ends {
			entries = append(entries, fsx.Entry{Name: filepath.Base(local.SegmentPath(n)), Size: size})
		}
	case local.ImagesPath():
		for id, f := range d.images {
			entries = append(entries, fsx.Entry{Name: filepath.Base(local.ImagePath(id)), Size: f.bytes})
		}
	case local.versionsPath():
	default:
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	for name, b := range d.small {
		if filepath.Dir(name) == filepath.Clean(dir) {
			entries = append(entries, fsx.Entry{Name: filepath.Base(name), Size: int64(len(b))})
		}
	}
	slices.SortFunc(entries, func(a, b fsx.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// OpenRoot returns the directory, which is all that there is.
func (d *RemoteDirectory) OpenRoot(dir string) (fsx.Root, error) {
	if filepath.Clean(dir) != d.path {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: fs.ErrNotExist}
	}
	return d, nil
}

// Close does nothing: a Root has to have it.
func (d *RemoteDirectory) Close() error { return nil }

// Lock locks nothing: what stands on a remote does not change.
func (d *RemoteDirectory) Lock(string, bool) (release func() error, err error) {
	return func() error { return nil }, nil
}

func (d *RemoteDirectory) MkdirAll(dir string) error       { return refuse("mkdir", dir) }
func (d *RemoteDirectory) Remove(name string) error        { return refuse("remove", name) }
func (d *RemoteDirectory) Rename(from, to string) error    { return refuse("rename", from) }
func (d *RemoteDirectory) RenameNew(from, to string) error { return refuse("rename", from) }
func (d *RemoteDirectory) SyncDir(dir string) error        { return refuse("sync", dir) }

var _ fsx.Root = (*RemoteDirectory)(nil)
