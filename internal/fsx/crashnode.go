package fsx

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
)

// node is a file or a directory. What it is now, and what of that the disk has, stand side by side; between them, in
// the order of the calls, lie the facts that are not durable.
type node struct {
	id    int64
	dir   bool
	links int // names it has now
	opens int // files open on it

	// Of a file.
	live  content
	disk  content
	facts []fileFact

	// Of a directory.
	names     map[string]*node
	diskNames map[string]*node
	changes   []dirFact
}

// fileFact is a change of a file that is not durable. It is one of two things: bytes, each sector of which is a fact
// of its own, or a size.
type fileFact struct {
	seq  uint64 // of the first sector; the others follow
	off  int64  // of data, a multiple of SectorSize
	data []byte // whole sectors as they were after the write; nil for a size

	size  int64
	cut   bool // bytes past size are gone
	alloc span // reserved with it
}

// sectors returns how many facts f is.
func (f *fileFact) sectors() int {
	if f.data == nil {
		return 1
	}
	return len(f.data) / SectorSize
}

// apply makes all of f happen in m.
func (f *fileFact) apply(m *content) {
	switch {
	case f.data != nil:
		m.write(f.data, f.off)
	case f.cut:
		m.truncate(f.size)
	default:
		m.size = f.size
		m.alloc.add(f.alloc)
	}
}

// dirFact is a change of a directory that is not durable: one fact, whole or not at all.
type dirFact struct {
	seq  uint64
	sets []nameFact
}

// nameFact says what a name stands for; nil is nothing.
type nameFact struct {
	name string
	node *node
}

func (f *dirFact) apply(names map[string]*node) {
	for _, s := range f.sets {
		if s.node == nil {
			delete(names, s.name)
		} else {
			names[s.name] = s.node
		}
	}
}

func (c *CrashFS) newNode(dir bool) *node {
	c.nodes++
	n := &node{id: c.nodes, dir: dir}
	if dir {
		n.names, n.diskNames = map[string]*node{}, map[string]*node{}
	} else {
		n.live, n.disk = newContent(), newContent()
	}
	return n
}

// nextSeq numbers n facts and returns the first number.
func (c *CrashFS) nextSeq(n int) uint64 {
	seq := c.facts
	c.facts += uint64(n)
	return seq
}

// setNames changes names of d in one fact.
func (c *CrashFS) setNames(d *node, sets ...nameFact) {
	f := dirFact{seq: c.nextSeq(1), sets: sets}
	f.apply(d.names)
	d.changes = append(d.changes, f)
}

// link gives a new node its first name.
func (c *CrashFS) link(d *node, base string, n *node) {
	n.links++
	c.setNames(d, nameFact{base, n})
}

// unlinked takes a name from n, which has lost it.
func (c *CrashFS) unlinked(n *node) {
	n.links--
	c.reclaim(n)
}

// reclaim gives back the space of a file that nobody can reach any more.
func (c *CrashFS) reclaim(n *node) {
	if !n.dir && n.links == 0 && n.opens == 0 {
		c.used -= n.live.alloc.count()
	}
}

// syncNames makes the names of d durable, or what mode says.
func (c *CrashFS) syncNames(d *node, mode SyncMode) error {
	if mode == SyncHonest {
		for i := range d.changes {
			d.changes[i].apply(d.diskNames)
		}
	}
	d.changes = nil
	if mode == SyncFailOnce {
		return syscall.EIO
	}
	return nil
}

// syncBytes makes the bytes and the size of n durable, or what mode says.
func (c *CrashFS) syncBytes(n *node, mode SyncMode) error {
	var rest []fileFact
	for i := range n.facts {
		f := &n.facts[i]
		switch {
		case mode == SyncHonest, mode == SyncLie && f.data == nil:
			f.apply(&n.disk)
		case mode == SyncFailOnce && f.data == nil:
			rest = append(rest, *f)
		}
	}
	n.facts = rest
	if mode == SyncFailOnce {
		return syscall.EIO
	}
	return nil
}

// elements returns the elements of a path from the root on.
func elements(name string) []string {
	clean := path.Clean("/" + filepath.ToSlash(name))
	if clean == "/" {
		return nil
	}
	return strings.Split(clean[1:], "/")
}

// crashFile is an open file of a CrashFS.
type crashFile struct {
	fs     *CrashFS
	in     crashRoot // that it was opened in
	node   *node
	name   string
	write  bool
	direct bool
	closed atomic.Bool // set under fs.mu
}

// begin starts a write-class call on the file; like CrashFS.begin it returns locked or with an error.
func (f *crashFile) begin(op Op) error {
	if f.closed.Load() {
		return f.fail(op.String(), fs.ErrClosed)
	}
	if err := f.fs.begin(op, f.name); err != nil {
		return err
	}
	var err error
	switch {
	case f.closed.Load(): // by the hook, or meanwhile
		err = fs.ErrClosed
	case !f.write && op != OpSync:
		err = syscall.EBADF
	}
	if err != nil {
		f.fs.mu.Unlock()
		return f.fail(op.String(), err)
	}
	return nil
}

// look starts a call that changes nothing.
func (f *crashFile) look(op string) error {
	if err := f.fs.look(op, f.name); err != nil {
		return err
	}
	if f.closed.Load() {
		f.fs.mu.Unlock()
		return f.fail(op, fs.ErrClosed)
	}
	return nil
}

func (f *crashFile) fail(op string, err error) error { return pathError(op, f.name, err) }

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.look("read"); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	if err := checkRange("read", f.name, f.direct, off, len(p), address(p)); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	m := &f.node.live
	n := max(0, min(int64(len(p)), m.size-off))
	m.read(p[:n], off)
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.begin(OpWrite); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	if err := checkRange("write", f.name, f.direct, off, len(p), address(p)); err != nil {
		return 0, err
	}
	if off+int64(len(p)) < off {
		return 0, f.fail("write", syscall.EFBIG)
	}
	fit := f.fs.fits(f.node, off, int64(len(p)))
	f.fs.writeNode(f.node, p[:fit], off)
	if fit < int64(len(p)) {
		return 0, f.fail("write", syscall.ENOSPC)
	}
	return len(p), nil
}

// fits returns how many of the n bytes at off there is space for, block by block.
func (c *CrashFS) fits(n *node, off, size int64) int64 {
	if c.space < 0 || n.live.alloc.missing(blocksOf(off, size)) <= c.space-c.used {
		return size
	}
	free := c.space - c.used
	at := off
	for at < off+size {
		if n.live.alloc.missing(blocksOf(at, 1)) > 0 {
			if free <= 0 {
				break
			}
			free--
		}
		at = min(off+size, (at/BlockSize+1)*BlockSize)
	}
	return at - off
}

// writeNode writes p, which fits. The size is the older fact: a file may have grown without its bytes.
func (c *CrashFS) writeNode(n *node, p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	if end > n.live.size {
		n.live.size = end
		n.facts = append(n.facts, fileFact{seq: c.nextSeq(1), size: end})
	}
	c.used += n.live.alloc.missing(blocksOf(off, int64(len(p))))
	n.live.write(p, off)

	from := off / SectorSize * SectorSize
	to := (end + SectorSize - 1) / SectorSize * SectorSize
	f := fileFact{off: from, data: make([]byte, to-from)}
	n.live.read(f.data, from)
	f.seq = c.nextSeq(f.sectors())
	n.facts = append(n.facts, f)
}

func (f *crashFile) Sync() error {
	if err := f.begin(OpSync); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if err := f.fs.syncBytes(f.node, f.fs.syncMode(f.name)); err != nil {
		return f.fail("sync", err)
	}
	return nil
}

func (f *crashFile) Allocate(off, n int64) error {
	if err := f.begin(OpAllocate); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if off < 0 || n <= 0 || off+n < 0 {
		return f.fail("allocate", syscall.EINVAL)
	}
	c, m := f.fs, &f.node.live
	want := blocksOf(off, n)
	need := m.alloc.missing(want)
	if c.space >= 0 && need > c.space-c.used {
		return f.fail("allocate", syscall.ENOSPC)
	}
	c.used += need
	m.alloc.add(want)
	m.size = max(m.size, off+n)
	f.node.facts = append(f.node.facts, fileFact{seq: c.nextSeq(1), size: m.size, alloc: want})
	return nil
}

func (f *crashFile) Truncate(n int64) error {
	if err := f.begin(OpTruncate); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	if n < 0 {
		return f.fail("truncate", syscall.EINVAL)
	}
	m := &f.node.live
	before := m.alloc.count()
	m.truncate(n)
	f.fs.used -= before - m.alloc.count()
	f.node.facts = append(f.node.facts, fileFact{seq: f.fs.nextSeq(1), size: n, cut: true})
	return nil
}

func (f *crashFile) Size() (int64, error) {
	if err := f.look("size"); err != nil {
		return 0, err
	}
	defer f.fs.mu.Unlock()
	return f.node.live.size, nil
}

func (f *crashFile) Direct() bool { return f.direct }

func (f *crashFile) InPlace() error {
	if err := f.look("look up"); err != nil {
		return err
	}
	defer f.fs.mu.Unlock()
	_, _, n, err := f.in.find(f.name)
	if err == nil && n != f.node || errors.Is(err, fs.ErrNotExist) {
		err = ErrReplaced
	}
	if err != nil {
		return f.fail("look up", err)
	}
	return nil
}

// Close works after a crash, too: a process that ends closes its files.
func (f *crashFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed.Swap(true) {
		return f.fail("close", fs.ErrClosed)
	}
	f.node.opens--
	f.fs.reclaim(f.node)
	return nil
}

func linkError(oldName, newName string, err error) error {
	return &os.LinkError{Op: "rename", Old: oldName, New: newName, Err: err}
}
