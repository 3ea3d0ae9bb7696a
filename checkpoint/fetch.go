package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Pull brings the local directory to the head of the remote, if that is ahead, and returns the bytes that were fetched. It
// is for a directory that is being opened, before its log is used. The rule is the same every time:
//
//   - If the head is where this directory has put it, or found it, or the local current version descends from it, the
//     directory stays as it is, and what the remote lacks is up to Upload and MoveHead. (A directory whose versions were
//     lost is behind any.)
//   - Otherwise somebody else has gone on, or back. The head is fetched and becomes current, if the remote has the local
//     current version as well, or had it as its head when this directory was there last, or has gone past its id. Local
//     versions stay; those that the remote has not are still there.
//   - When the two hold different things under one id, or at one log address that a local version needs, or the local
//     directory has gone on by itself, they have diverged: ErrDiverged, and nothing local is harmed. They are never
//     blended.
//
// Only log and images that the directory has not are fetched; what it has is read and compared by checksum, so that
// damage is repaired on the way.
func (m *Mirror) Pull(ctx context.Context) (fetched int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: pull: %w", err)
		}
	}()
	end, err := m.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	err = again(ctx, func() error {
		fetched, err = m.pull(ctx)
		return err
	})
	return fetched, err
}

func (m *Mirror) pull(ctx context.Context) (fetched int64, err error) {
	if err := m.catchUp(ctx); err != nil {
		return 0, err
	}
	c, head := m.dir.Current(), m.state.head
	if head == 0 {
		return 0, nil
	}
	h := m.state.versions[head]
	if sum := m.dir.sum(head); sum != 0 && h.sum != 0 {
		if err := sameStand(h, sum); err != nil {
			return 0, err
		}
	}
	if c != nil {
		ours, err := m.headIsOurs(ctx)
		if err == nil && !ours {
			err = m.behind(c)
		}
		if err != nil || ours {
			m.inSync = ours
			return 0, err
		}
	}
	r, err := m.load(ctx, head)
	if err != nil {
		return 0, err
	}
	if m.dir.sum(head) != r.sum {
		if fetched, err = m.fetch(ctx, r, FetchOptions{Live: Live{LogFrom: NoLiveLog}}); err != nil {
			return fetched, err
		}
	}
	if c := m.dir.Current(); c == nil || c.Version != head {
		if err := m.dir.SetHead(head); err != nil {
			return fetched, err
		}
	}
	return fetched, m.standAtHead()
}

// standAtHead notes that the directory is where the remote's head is (J4).
func (m *Mirror) standAtHead() error {
	if m.state.root != 0 && !m.dir.readOnly {
		if err := m.dir.writeMark(mark{root: m.state.root, synced: m.state.headNonce}); err != nil {
			return err
		}
	}
	m.inSync = true
	return nil
}

// Fill is Pull for a directory that has no version yet, and for version v, which somebody reads on the remote meanwhile and
// which was its head when he began: it fetches v, makes it current, and returns the bytes that were fetched. When the head has
// moved meanwhile, v and what is made from it stay here: the copies of that end with ErrDiverged (J4). ErrNotFound when v
// stands no more. It may be repeated after an error and after a crash: what has come down stays.
func (m *Mirror) Fill(ctx context.Context, v Version) (fetched int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: fill with version %d: %w", v, err)
		}
	}()
	end, err := m.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	if c := m.dir.Current(); c != nil && c.Version != v {
		return 0, ErrNotEmpty
	}
	err = again(ctx, func() error {
		if err := m.catchUp(ctx); err != nil {
			return err
		}
		r, err := m.load(ctx, v)
		if err == nil && m.dir.sum(v) != r.sum {
			fetched, err = m.fetch(ctx, r, FetchOptions{Live: Live{LogFrom: NoLiveLog}})
		}
		if errors.Is(err, ErrCorrupt) { // a piece may be missing because v was purged
			if err := m.catchUp(ctx); err != nil {
				return err
			}
			if _, ok := m.state.versions[v]; !ok {
				return ErrNotFound
			}
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil || m.state.head != v {
		return fetched, err
	}
	return fetched, m.standAtHead()
}

// behind returns nil if a directory at version c may go to the remote's head, which is not its own, without giving up what
// only it has.
func (m *Mirror) behind(c *Manifest) error {
	st, ok := m.state.versions[c.Version]
	switch sum := m.dir.sum(c.Version); {
	case ok && st.sum == sum:
		return nil
	case ok:
		return sameStand(st, sum)
	case c.Version > m.state.head:
		return fmt.Errorf("%w: the remote's head is version %d, and the local version %d does not descend from it", ErrDiverged, m.state.head, c.Version)
	}
	return nil // the fetch finds whether the two hold different things
}

// FetchOptions are the settings of a Fetch. The zero value is for a directory whose log nobody uses.
type FetchOptions struct {
	// Live is what the running store uses beyond its versions: nothing that is fetched may lie there. LogFrom 0 counts
	// as NoLiveLog.
	Live Live
	// Repair has a version that is here already compared with the remote, and what is damaged or missing fetched.
	Repair bool
	// Pin pins the version, as Dir.Pin does, before anybody could purge it. After an error it is not pinned.
	Pin bool
}

// Fetch brings a version from the remote into the local directory, verified, and returns the bytes that this took. It
// is then a version like any other; it becomes current only if there is no current one. A version that is here already
// costs nothing. ErrNotFound when the remote has no such version, ErrDiverged when its log lies where the local one
// holds something else. Fetch may be repeated after an error and after a crash: what has come down stays.
func (m *Mirror) Fetch(ctx context.Context, v Version, opts FetchOptions) (fetched int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: fetch version %d: %w", v, err)
		}
	}()
	end, err := m.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	if err := m.catchUp(ctx); err != nil {
		return 0, err
	}
	var r *replica
	err = again(ctx, func() error {
		r, err = m.load(ctx, v)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	if sum := m.dir.sum(v); sum != 0 && !opts.Repair {
		err := sameVersion(r, sum)
		if err == nil && opts.Pin {
			_, err = m.dir.Pin(v)
		}
		if !errors.Is(err, ErrNotFound) { // else it was purged just now
			return 0, err
		}
	}
	return m.fetch(ctx, r, opts)
}

// Stands reports whether the remote has version v now.
func (m *Mirror) Stands(ctx context.Context, v Version) (bool, error) {
	end, err := m.begin(ctx)
	if err == nil {
		defer end()
		err = m.catchUp(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("checkpoint: whether the remote has version %d: %w", v, err)
	}
	_, ok := m.state.versions[v]
	return ok, nil
}

// fetching is one fetch.
type fetching struct {
	*Mirror
	r      *replica
	want   ExtentSet       // log to be there in the end
	locals []localVersion  // what must not be harmed
	inUse  ExtentSet       // nor this: log of the running store
	named  map[uint64]bool // segments that were written
	bytes  int64
}

// localVersion is a version that is here.
type localVersion struct {
	log    ExtentSet
	pieces []piece // as the remote has them; nil when the remote has not this version
}

func (m *Mirror) fetch(ctx context.Context, r *replica, opts FetchOptions) (int64, error) {
	if m.dir.readOnly {
		return 0, ErrReadOnly
	}
	if sum := m.dir.sum(r.m.Version); sum != 0 && sum != r.sum {
		return 0, sameVersion(r, sum)
	}
	f := &fetching{Mirror: m, r: r, want: Log(r.m.Extents), named: map[uint64]bool{}}
	live := opts.Live
	if live.LogFrom == 0 {
		live.LogFrom = NoLiveLog
	}
	f.inUse = live.Log.Clone()
	f.inUse.Add(live.LogFrom, NoLiveLog)
	release := m.dir.hold(f.want, r.m.IDs())
	defer release()
	if err := f.findLocals(ctx); err != nil {
		return 0, err
	}
	err := f.fetchLog(ctx)
	if err == nil {
		err = f.sync()
	}
	for _, file := range r.files() {
		if err == nil {
			err = f.fetchFile(ctx, file, live)
		}
	}
	if err == nil {
		delete(m.doubtful, r.m.Version)
		err = m.dir.adopt(r.manifest, opts.Pin, true)
	}
	return f.bytes, err
}

// synced passes on the error of a sync.
func (f *fetching) synced(err error) error {
	if err != nil {
		f.doubtful[f.r.m.Version] = true
	}
	return err
}

// findLocals collects the local versions, with what the remote says of them.
func (f *fetching) findLocals(ctx context.Context) error {
	for _, info := range f.dir.Versions() {
		local, err := f.dir.Manifest(info.Version)
		if err != nil {
			continue // purged meanwhile
		}
		l := localVersion{log: Log(local.Extents)}
		st, ok := f.state.versions[info.Version]
		if ok && st.sum == f.dir.sum(info.Version) {
			there, err := f.load(ctx, info.Version)
			if errors.Is(err, ErrCorrupt) {
				f.locals = append(f.locals, l)
				continue
			}
			if err != nil {
				return err
			}
			if l.pieces, err = f.pieces(ctx, there); err != nil {
				return err
			}
		}
		f.locals = append(f.locals, l)
	}
	return nil
}

// fetchLog makes the log of the version be in the segment files.
func (f *fetching) fetchLog(ctx context.Context) error {
	all, err := f.pieces(ctx, f.r)
	if err != nil {
		return err
	}
	missing := f.want.Clone()
	missing.SubtractSet(covered(all))
	if !missing.Empty() {
		return corrupt(f.names.version(f.r.m.Version, f.state.versions[f.r.m.Version].generation), headerBytes, "no piece holds log [%d, %d)", missing.Ranges()[0].Start, missing.Ranges()[0].End)
	}
	for _, p := range overlapping(all, &f.want) {
		if err := f.fetchPiece(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// fetchPiece writes the part of a piece that is wanted, unless the local log has the whole piece already (M6). What a local
// version has is not written again.
func (f *fetching) fetchPiece(ctx context.Context, p piece) error {
	data := make([]byte, p.bytes())
	here := f.dir.readLog(data, p.start) == nil && p.is(data)
	rest := f.wanted(p)
	var same ExtentSet
	if here {
		same = f.localLog()
	} else {
		var err error
		if data = f.complete(ctx, p); data == nil {
			data, err = f.getPiece(ctx, f.names.extent(p), p)
		}
		if err != nil {
			return err
		}
		if same, err = f.sameHere(ctx, p, data); err != nil {
			return err
		}
	}
	if len(f.doubtful) == 0 {
		rest.SubtractSet(same)
	}
	if here {
		rest.SubtractSet(f.inUse)
	}
	free := rest.Clone()
	free.SubtractSet(f.inUse)
	rest.SubtractSet(free)
	rest.SubtractSet(same)
	if !rest.Empty() {
		busy := rest.Ranges()[0]
		return fmt.Errorf("%w: log [%d, %d) is in use by the running store", ErrDiverged, busy.Start, busy.End)
	}
	for _, w := range free.Ranges() {
		if err := f.writeLog(data[w.Start-p.start:w.End-p.start], w.Start); err != nil {
			return err
		}
	}
	return nil
}

// complete returns the bytes of a piece that begins with log of local versions, of which it gets the rest: whoever follows a
// remote gets what is new, and not the small versions before it again. The checksum of the piece is that of both together
// (M4). nil when they do not match it, or the rest does not come: then the whole piece has to.
func (f *fetching) complete(ctx context.Context, p piece) []byte {
	var rest ExtentSet
	rest.Add(p.start, p.end)
	rest.SubtractSet(f.localLog())
	if rest.Empty() || rest.Ranges()[0].Start == p.start {
		return nil
	}
	here := rest.Ranges()[0].Start - p.start
	data := make([]byte, p.bytes())
	if f.dir.readLog(data[:here], p.start) != nil {
		return nil
	}
	name := f.names.extent(p)
	body, err := f.remote.Get(ctx, name, int64(here), p.bytes()-int64(here))
	if err != nil {
		return nil
	}
	defer body.Close()
	n, err := io.ReadFull(body, data[here:])
	f.bytes += int64(n)
	f.progress(name, n)
	if err != nil || !p.is(data) {
		return nil
	}
	return data
}

// wanted returns the part of a piece that is wanted.
func (f *fetching) wanted(p piece) (part ExtentSet) {
	for _, w := range f.want.Ranges() {
		if start, end := max(w.Start, p.start), min(w.End, p.end); start < end {
			part.Add(start, end)
		}
	}
	return part
}

// localLog returns the log of all local versions.
func (f *fetching) localLog() (log ExtentSet) {
	for _, l := range f.locals {
		log.AddSet(l.log)
	}
	return log
}

// sameHere returns the log of local versions that is in a piece, and the same here. It refuses a piece that would change log
// that a local version needs, except where the remote says that this version has those bytes: then what is here is damaged.
func (f *fetching) sameHere(ctx context.Context, p piece, data []byte) (same ExtentSet, err error) {
	for _, l := range f.locals {
		for _, r := range l.log.Ranges() {
			start, end := max(r.Start, p.start), min(r.End, p.end)
			if start >= end {
				continue
			}
			local := make([]byte, end-start)
			if err := f.dir.readLog(local, start); err == nil && string(local) == string(data[start-p.start:end-p.start]) {
				same.Add(start, end)
				continue
			}
			theirs, err := f.remoteHas(ctx, l, Range{start, end}, p, data)
			if err == nil && !theirs {
				err = fmt.Errorf("%w: log [%d, %d) is another one here", ErrDiverged, start, end)
			}
			if err != nil {
				return same, err
			}
		}
	}
	return same, nil
}

// remoteHas reports whether the remote says that a local version has, in a stretch of log, the bytes of a piece: by that very
// piece or by others, which hold more or less of the log around it.
func (f *fetching) remoteHas(ctx context.Context, l localVersion, stretch Range, p piece, data []byte) (bool, error) {
	if containsBytes(l.pieces, p) {
		return true, nil
	}
	left := ExtentSet{}
	left.Add(stretch.Start, stretch.End)
	for _, q := range overlapping(l.pieces, &left) {
		if p.start <= q.start && q.end <= p.end && q.is(data[q.start-p.start:q.end-p.start]) {
			left.Subtract(q.start, q.end)
			continue
		}
		start, end := max(stretch.Start, q.start), min(stretch.End, q.end)
		other, err := f.getPiece(ctx, f.names.extent(q), q)
		if err != nil {
			return false, err
		}
		if string(other[start-q.start:end-q.start]) == string(data[start-p.start:end-p.start]) {
			left.Subtract(start, end)
		}
	}
	return left.Empty(), nil
}

// getPiece returns the bytes of a piece, verified (M4).
func (f *fetching) getPiece(ctx context.Context, name string, p piece) (data []byte, err error) {
	err = f.retry(ctx, func() error {
		data, err = getAll(ctx, f.remote, name, p.bytes())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return corrupt(name, 0, "missing")
		case err == nil && int64(len(data)) < p.bytes():
			return corrupt(name, len(data), "%d bytes missing", p.bytes()-int64(len(data)))
		case err == nil && !p.is(data):
			return corrupt(name, 0, "checksum is %016x, the bytes have %016x", p.sum, xxh3.Hash(data))
		}
		return err
	})
	if err == nil {
		f.bytes += int64(len(data))
		f.progress(name, len(data))
	}
	return data, err
}

// sync makes the wanted log durable, that which was here already, too: an earlier attempt may have been killed.
func (f *fetching) sync() error {
	for _, w := range f.want.Ranges() {
		err := f.dir.eachSegment(w, func(n uint64, _ Range) error { return syncFile(f.dir.fs, f.dir.SegmentPath(n)) })
		if err != nil {
			return f.synced(err)
		}
	}
	return f.synced(f.segments.Sync())
}

func syncFile(fsys fsx.FS, name string) (err error) {
	file, err := fsys.Open(name, fsx.Write)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Sync()
}

// writeLog writes log bytes, wherever the caller says that it may.
func (f *fetching) writeLog(b []byte, at uint64) error {
	d := f.dir
	return d.eachSegment(Range{at, at + uint64(len(b))}, func(n uint64, part Range) (err error) {
		if !f.named[n] {
			f.named[n] = true
			f.nameSegment(n)
		}
		file, err := d.fs.Open(d.SegmentPath(n), fsx.Write|fsx.Create)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		off := int64(part.Start % uint64(d.id.SegmentBytes))
		if err := file.Allocate(off, part.Bytes()); err != nil { // a full disk shows before anything is overwritten
			return err
		}
		_, err = file.WriteAt(b[part.Start-at:part.End-at], off)
		return err
	})
}

// nameSegment says that segment n is about to be written. If no version here has anything in it, a file of that name may
// be there without being durable (M6).
func (f *fetching) nameSegment(n uint64) {
	size := uint64(f.dir.id.SegmentBytes)
	for _, l := range f.locals {
		if l.log.Intersects(n*size, (n+1)*size) {
			return
		}
	}
	if f.inUse.Intersects(n*size, (n+1)*size) {
		return
	}
	f.segments.Making(f.dir.SegmentPath(n))
	f.segments.Doubt()
}

// fetchFile makes an image or a run of the version be in its file.
func (f *fetching) fetchFile(ctx context.Context, file filePieces, live Live) error {
	name := f.dir.ImagePath(file.id)
	if f.hasFile(name, file) && (len(f.doubtful) == 0 && f.dir.uses(file.indexFile) || slices.Contains(live.Images, file.id)) {
		return f.synced(errors.Join(syncFile(f.dir.fs, name), f.dir.fs.SyncDir(f.dir.ImagesPath())))
	}
	if slices.Contains(live.Images, file.id) || f.dir.usesOtherFile(file.indexFile) {
		return fmt.Errorf("%w: image or run %d is another one here", ErrDiverged, file.id)
	}
	temp := name + fsx.TempSuffix
	if err := f.writeFile(ctx, name, temp, file); err != nil {
		if gone := f.dir.fs.Remove(temp); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
		return err
	}
	if err := f.dir.fs.Rename(temp, name); err != nil {
		return err
	}
	return f.synced(f.dir.fs.SyncDir(filepath.Dir(name)))
}

// hasFile reports whether the file of that name holds exactly the image or run.
func (f *fetching) hasFile(name string, want filePieces) bool {
	file, err := f.dir.fs.Open(name, fsx.Read)
	if err != nil {
		return false
	}
	defer file.Close()
	if size, err := file.Size(); err != nil || size != want.bytes {
		return false
	}
	for _, p := range want.pieces {
		if filePiece(file, name, p) == nil {
			return false
		}
	}
	return true
}

// filePiece returns a piece of a file that is here, nil if the file has other bytes there.
func filePiece(file fsx.File, name string, p piece) []byte {
	b := make([]byte, p.bytes())
	if readFull(file, name, b, int64(p.start)) != nil || !p.is(b) {
		return nil
	}
	return b
}

// writeFile writes an image or a run to temp. What the file of its name has of it is not fetched.
func (f *fetching) writeFile(ctx context.Context, name, temp string, from filePieces) (err error) {
	old, err := f.dir.fs.Open(name, fsx.Read)
	if err == nil {
		defer old.Close()
	}
	file, err := f.dir.fs.Open(temp, fsx.Write|fsx.Create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Truncate(0); err != nil {
		return err
	}
	for _, p := range from.pieces {
		var data []byte
		if old != nil {
			data = filePiece(old, name, p)
		}
		if data == nil {
			if data, err = f.getPiece(ctx, f.names.imagePiece(from.id, p), p); err != nil {
				return err
			}
		}
		if _, err := file.WriteAt(data, int64(p.start)); err != nil {
			return err
		}
	}
	return f.synced(file.Sync())
}

// uses reports whether a version here refers to an image or run.
func (d *Dir) uses(file indexFile) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.versions {
		if e.m != nil && slices.Contains(e.m.Index.files(), file) {
			return true
		}
	}
	return false
}

// usesOtherFile reports whether a version here refers to an image or run of the same id that is not the same.
func (d *Dir) usesOtherFile(file indexFile) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.versions {
		if e.m == nil {
			continue
		}
		for _, other := range e.m.Index.files() {
			if other.id == file.id && other != file {
				return true
			}
		}
	}
	return false
}

// hold keeps log, and images and runs by their ids, from being collected until release is called.
func (d *Dir) hold(log ExtentSet, images []uint64) (release func()) {
	h := &held{log: log, images: images}
	d.collecting.Lock() // one that is under way does not know of h, and removes files that are still seen
	defer d.collecting.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held[h] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.held, h)
	}
}
