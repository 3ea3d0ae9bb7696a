package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// References returns the log, and the images and runs by their ids, that some version refers to, half-purged ones, those that are being
// fetched, and the images of pinned versions before they were amended included. A damaged manifest is an error: what
// it refers to is not known (V8).
func (d *Dir) References() (log ExtentSet, images []uint64, err error) {
	p, err := d.Picture(Live{LogFrom: NoLiveLog})
	if err != nil {
		return ExtentSet{}, nil, err
	}
	log, images = p.kept()
	return log, images, nil
}

// Live is what the running store uses although no version refers to it (yet). The zero value with LogFrom ==
// NoLiveLog is that of a store that is just being opened.
type Live struct {
	LogFrom uint64    // all log at this address and above is in use
	Log     ExtentSet // log below it that is in use: of scans, say
	Images  []uint64  // images and runs that are being written, or read
}

// NoLiveLog is Live.LogFrom when nothing is in use.
const NoLiveLog = math.MaxUint64

// Picture is what keeps files at one moment: the versions and the running store.
type Picture struct {
	live      Live
	manifests []*Manifest
	logs      []ExtentSet // of what is being fetched
	images    []uint64    // of what is being fetched, and of versions beside what their manifests name
}

// Picture takes it. live must not change any more. It does no I/O and takes a time that follows the number of versions,
// so that the caller may hold the lock under which live is all there is. A damaged manifest is an error, as for
// References.
func (d *Dir) Picture(live Live) (Picture, error) {
	p := Picture{live: live}
	d.mu.Lock()
	defer d.mu.Unlock()
	p.manifests = make([]*Manifest, 0, len(d.versions))
	for _, e := range d.versions {
		if e.m == nil {
			return Picture{}, e.err
		}
		p.manifests = append(p.manifests, e.m)
		p.images = append(append(p.images, e.read...), e.doubt...)
	}
	for h := range d.held {
		p.logs = append(p.logs, h.log)
		p.images = append(p.images, h.images...)
	}
	return p, nil
}

// kept returns the log, and the images and runs by their ids in ascending order, that are in the picture.
func (p *Picture) kept() (log ExtentSet, images []uint64) {
	log = p.live.Log.Clone()
	log.Add(p.live.LogFrom, math.MaxUint64)
	images = slices.Concat(p.images, p.live.Images)
	// Newest first: most of what an older one names is there already.
	slices.SortFunc(p.manifests, func(a, b *Manifest) int { return cmp.Compare(b.Version, a.Version) })
	var last Index
	for _, m := range p.manifests {
		for _, x := range m.Extents {
			log.Add(x.Start, x.End)
		}
		if !sameFiles(m.Index, last) {
			images, last = append(images, m.Index.IDs()...), m.Index
		}
	}
	for _, held := range p.logs {
		log.AddSet(held)
	}
	slices.Sort(images)
	return log, slices.Compact(images)
}

// file is a segment, or an image or run, as the directory shows it.
type file struct {
	segment bool
	n       uint64 // number or id
	Orphan
}

// listFiles lists the segments, images and runs that are there, in this order, by number.
func (d *Dir) listFiles() ([]file, error) {
	var files []file
	list := func(dir, suffix string, digits int, segment bool) error {
		entries, err := d.fs.List(dir)
		for _, e := range entries {
			if n, ok := parseName(e.Name, suffix, digits); ok && !e.Dir {
				files = append(files, file{segment, n, Orphan{Path: filepath.Join(dir, e.Name), Bytes: e.Size}})
			}
		}
		return err
	}
	err := list(d.LogPath(), segmentSuffix, segmentDigits, true)
	if err == nil {
		err = list(d.ImagesPath(), imageSuffix, imageDigits, false)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: orphans of %s: %w", d.path, err)
	}
	return files, nil
}

// Orphan is a file of the store that nothing refers to.
type Orphan struct {
	Path  string
	Bytes int64
}

// Orphans returns the segment and image files that neither a version nor live refers to, and nothing else: a file that
// is not the store's own is never an orphan, nor is one of Strays before the first Commit, and while a manifest is damaged
// nothing is (the error says which).
func (d *Dir) Orphans(live Live) ([]Orphan, error) {
	files, _, err := d.orphans(func() (Picture, error) { return d.Picture(live) })
	var orphans []Orphan
	for _, f := range files {
		orphans = append(orphans, f.Orphan)
	}
	return orphans, err
}

// orphans returns the files that are not in a picture that is taken once they have been listed, and the picture.
func (d *Dir) orphans(picture func() (Picture, error)) ([]file, Picture, error) {
	files, err := d.listFiles()
	if err != nil {
		return nil, Picture{}, err
	}
	p, err := picture()
	if err != nil {
		return nil, Picture{}, fmt.Errorf("checkpoint: nothing is collected: %w", err)
	}
	d.mu.Lock()
	strays := d.strays
	d.mu.Unlock()
	log, images := p.kept()
	size := uint64(d.id.SegmentBytes)
	return slices.DeleteFunc(files, func(f file) bool {
		if strays[f.Path] {
			return true
		}
		if f.segment {
			return f.n >= maxLog/size || log.Intersects(f.n*size, (f.n+1)*size) // no such segment: not ours
		}
		_, kept := slices.BinarySearch(images, f.n)
		return kept
	}), p, nil
}

// Collect removes the files that are not in a picture, which it has taken once, after it has listed the files, and
// returns those that are gone. So a file that was made since is not removed; one that was there, and that nothing kept
// when the picture was taken, must be wanted by nobody any more. There is no order to keep: nothing refers to the files,
// and what a crash brings back is an orphan again. leaving, unless nil, is told of each segment before. What a crash left
// in the segment in which the committed log ended when the directory was opened is cut off as soon as it may be removed.
func (d *Dir) Collect(picture func() (Picture, error), leaving func(segment uint64)) ([]Orphan, error) {
	if d.readOnly {
		return nil, ErrReadOnly
	}
	d.writing.Lock()
	err := d.checkOurs()
	d.writing.Unlock()
	if err != nil {
		return nil, fmt.Errorf("checkpoint: collect: %w", err)
	}
	d.collecting.Lock() // a fetch does not take a file for there that is about to go
	defer d.collecting.Unlock()
	files, p, err := d.orphans(picture)
	if err != nil {
		return nil, err
	}
	var gone []Orphan
	for _, f := range files {
		if leaving != nil && f.segment {
			leaving(f.n)
		}
		if err := d.fs.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return gone, fmt.Errorf("checkpoint: collect: %w", err)
		}
		gone = append(gone, f.Orphan)
	}
	if err := d.cutLeftover(&p); err != nil {
		return gone, fmt.Errorf("checkpoint: collect: %w", err)
	}
	return gone, nil
}

// cutLeftover gives back the space of the log that lay beyond the committed end when the directory was opened, in the
// segment that holds that end, once a version has been committed and if nothing lies there that is in the picture.
func (d *Dir) cutLeftover(p *Picture) error {
	size := uint64(d.id.SegmentBytes)
	d.mu.Lock()
	from := (d.openEnd + fsx.BlockSize - 1) &^ (fsx.BlockSize - 1)
	end := (from + size - 1) / size * size
	left := d.strays == nil && from < min(end, d.logEnd)
	d.mu.Unlock()
	if !left {
		return nil
	}
	if log, _ := p.kept(); !log.Intersects(from, end) {
		if err := d.shorten(d.SegmentPath(from/size), int64(from%size)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.openEnd = d.logEnd // done, or in use for good
	return nil
}

// TrimLog gives back the space that the segment of log address end has been given beyond it. Nothing may have been
// written there that anybody wants.
func (d *Dir) TrimLog(end uint64) error {
	if d.readOnly {
		return ErrReadOnly
	}
	size := uint64(d.id.SegmentBytes)
	err := d.shorten(d.SegmentPath(end/size), int64(end%size))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// shorten cuts off what a file has beyond size. Whoever writes there again makes the new size durable with what he
// writes.
func (d *Dir) shorten(name string, size int64) (err error) {
	f, err := d.fs.Open(name, fsx.Write)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if have, err := f.Size(); err != nil || have <= size {
		return err
	}
	return f.Truncate(size)
}
