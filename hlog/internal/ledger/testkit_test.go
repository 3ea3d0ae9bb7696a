package ledger

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

const testSegment = 64 << 10

// hookFS calls a hook before a directory is listed or a file is opened.
type hookFS struct {
	fsx.FS
	hook atomic.Pointer[func(op, name string)]
}

func (f *hookFS) call(op, name string) {
	if hook := f.hook.Load(); hook != nil {
		(*hook)(op, name)
	}
}

func (f *hookFS) List(dir string) ([]fsx.Entry, error) {
	f.call("list", dir)
	return f.FS.List(dir)
}

func (f *hookFS) Open(name string, flag fsx.Flag) (fsx.File, error) { return f.open(f.FS, name, flag) }

// OpenRoot is not used by a ledger, and is as complete as a file system has to be.
func (f *hookFS) OpenRoot(dir string) (fsx.Root, error) { return fsx.OpenRootBy(f.FS, dir, f.open) }

func (f *hookFS) open(in fsx.FS, name string, flag fsx.Flag) (fsx.File, error) {
	f.call("open", name)
	return in.Open(name, flag)
}

// once has do called once, before the first op on a name with that suffix.
func (f *hookFS) once(op, suffix string, do func()) {
	hook := func(o, name string) {
		if o == op && strings.HasSuffix(name, suffix) {
			f.hook.Store(nil)
			do()
		}
	}
	f.hook.Store(&hook)
}

// desk is a ledger with a log of bytes that mean nothing.
type desk struct {
	*Ledger
	t          *testing.T
	fs         *hookFS
	tail       atomic.Uint64
	logVersion uint64
	shelf      shelf
}

// shelf is a standing index of which every version names all.
type shelf struct{ Index }

func (s *shelf) Name(_, cut uint64) Index { return s.Index }

func (s *shelf) Cold() []checkpoint.ShareRef { return nil }

func (s *shelf) GoOn(m *checkpoint.Manifest) { s.Index = IndexOf(m) }

// stands returns the standing index.
func (d *desk) stands() Index {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shelf.Index
}

// put returns what makes an image the standing index.
func (d *desk) put(ref checkpoint.ImageRef) func() bool {
	return func() bool {
		d.shelf.Index = Index{Image: &ref}
		return true
	}
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, fs: &hookFS{FS: fsx.NewCrash(fsx.CrashOptions{})}}
	must(t, d.fs.MkdirAll("/store"))
	dir, err := checkpoint.OpenDir(d.fs, "/store", checkpoint.Identity{StoreID: [16]byte{1}, HashSeed: 1, SegmentBytes: testSegment}, false)
	must(t, err)
	d.Ledger, err = New(dir, Options{FS: d.fs, Amend: true, Standing: &d.shelf})
	must(t, err)
	d.tail.Store(fsx.BlockSize)
	d.GoOn(nil, fsx.BlockSize, 0)
	return d
}

// durable is for logs of which everything is durable.
func durable() error { return nil }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (d *desk) make(name string) {
	f, err := d.fs.FS.Open(name, fsx.Write|fsx.Create)
	must(d.t, err)
	must(d.t, f.Close())
}

func (d *desk) there(name string) bool {
	f, err := d.fs.FS.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	must(d.t, err)
	must(d.t, f.Close())
	return true
}

// write adds so many blocks to the log, and the segments that they lie in.
func (d *desk) write(blocks int) {
	from := d.tail.Load()
	to := from + uint64(blocks)*fsx.BlockSize
	for n := from / testSegment; n <= (to-1)/testSegment; n++ {
		d.make(d.SegmentPath(n))
	}
	d.tail.Store(to)
}

func (d *desk) begin() (*Pending, error) {
	return d.Begin(Request{Raise: func() (uint64, uint64) {
		d.logVersion++
		return d.tail.Load(), d.logVersion
	}})
}

// commit makes a version of the log.
func (d *desk) commit() *checkpoint.Manifest {
	p, err := d.begin()
	must(d.t, err)
	d.Cut(p, d.tail.Load(), d.tail.Load() != p.From, 0)
	if next := d.Next(); next != p {
		d.t.Fatalf("version %d is next, not %d", next.Version, p.Version)
	}
	_, err = d.Commit(p, nil, 4096, false, durable)
	must(d.t, err)
	d.Finish(p, nil)
	d.Dealt()
	return d.Lineage().Parent
}

// restore takes the store back to version v.
func (d *desk) restore(v checkpoint.Version) error {
	m, err := d.Pin(v)
	if err != nil {
		return err
	}
	must(d.t, d.SetHead(m.Version))
	d.GoOn(m, d.tail.Load(), 0)
	d.Unpin(m.Version)
	return nil
}

// image claims an image of the current version and makes its file.
func (d *desk) image() (*Claim, checkpoint.ImageRef) {
	c := d.Claim(Merge, func(now Now) (Want, bool) { return Want{From: now.Lineage.Parent.LiveFuzzy()}, true })
	id, name := c.NewFile()
	d.make(name)
	return c, checkpoint.ImageRef{ID: id, ReplayFrom: c.From}
}

// stand publishes an image.
func (d *desk) stand(c *Claim, ref checkpoint.ImageRef) bool {
	published, err := c.Publish(d.put(ref))
	must(d.t, errors.Join(err, d.Amend()))
	return published
}

func (d *desk) collect() {
	_, err := d.Collect(func(uint64) {})
	must(d.t, err)
}

// missing returns the files of the log and the index files that are not there.
func (d *desk) missing(log []checkpoint.Range, ids []uint64) (names []string) {
	for _, r := range log {
		for n := r.Start / testSegment; n*testSegment < r.End; n++ {
			names = append(names, d.SegmentPath(n))
		}
	}
	for _, id := range ids {
		names = append(names, d.ImagePath(id))
	}
	return slices.DeleteFunc(names, d.there)
}
