package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Upload puts a local version on the remote and returns the bytes that this took: log that no version there has yet,
// image and runs that none has, a manifest, and entries of the sequence. The version stands there when it returns nil, and
// is the head if it is the local current version. It may be repeated after an error and after a crash. A version that is
// there already costs nothing. ErrDiverged when the remote has another version under this id, or its head is none that
// this directory has had; ErrFenced when a newer epoch has claimed the remote.
func (m *Mirror) Upload(ctx context.Context, v Version) (sent int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint: upload version %d: %w", v, err)
		}
	}()
	manifest, err := m.dir.Pin(v)
	if err != nil {
		return 0, err
	}
	defer m.dir.Unpin(v)
	end, err := m.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	before := m.SentBytes()
	err = again(ctx, func() error { return m.upload(ctx, manifest) })
	if gone := m.dir.stillHas(v); err != nil && gone != nil {
		err = gone
	}
	return m.SentBytes() - before, err
}

func (m *Mirror) upload(ctx context.Context, manifest *Manifest) error {
	data, err := EncodeManifest(manifest)
	if err != nil {
		return err
	}
	if err := m.Stopped(); err != nil {
		return err
	}
	r := &replica{m: manifest, manifest: data, sum: envelopeSum(data)}
	if there, err := m.standsWhole(ctx, r); there || err != nil {
		return err
	}
	if err := m.moveHead(ctx); err != nil { // a rollback comes first
		return err
	}
	if err := m.mayWrite(ctx); err != nil {
		return err
	}
	if err := m.putLog(ctx, r); err != nil {
		return err
	}
	if err := m.putFiles(ctx, r); err != nil {
		return err
	}
	if err := m.makeList(ctx, r); err != nil {
		return err
	}
	if err := m.dir.stillHas(manifest.Version); err != nil { // else what was read may not be what it was
		return err
	}
	if err := m.publish(ctx, r); err != nil {
		return err
	}
	clear(m.loose) // named now, or of an upload that was given up: Sweep finds those
	_ = m.tidySequence(ctx)
	return nil
}

// stillHas returns ErrNotFound when a directory that is another's has lost version v since it was opened. A manifest goes before
// what it names, so all that was read of the version before is what it was.
func (d *Dir) stillHas(v Version) error {
	if d.aside == nil {
		return nil
	}
	err := d.checkManifest(d.ManifestPath(v), d.sum(v))
	if errors.Is(err, ErrReplaced) {
		err = fmt.Errorf("%w: %d was purged meanwhile", ErrNotFound, v)
	}
	return err
}

// standsWhole reports whether a version stands on the remote, with an object that can be read as far as is known.
func (m *Mirror) standsWhole(ctx context.Context, r *replica) (bool, error) {
	v := r.m.Version
	st, ok := m.state.versions[v]
	if !ok {
		return false, nil
	}
	m.mu.Lock()
	damaged := m.damaged[v] != nil
	m.mu.Unlock()
	if damaged || st.object == 0 {
		if there, err := m.load(ctx, v); err == nil { // perhaps only on the way
			return true, sameVersion(there, r.sum)
		}
		return false, nil
	}
	return true, sameStand(st, r.sum)
}

func sameVersion(there *replica, sum uint64) error {
	return sameStand(stand{version: there.m.Version, sum: there.sum}, sum)
}

func sameStand(there stand, sum uint64) error {
	if there.sum != sum {
		return fmt.Errorf("%w: the remote has another version %d", ErrDiverged, there.version)
	}
	return nil
}

// publish puts the version's object, and its entry last (M1). The head moves to it if it leads to the local current
// version and no later one that does so is there; or if there is none yet.
func (m *Mirror) publish(ctx context.Context, r *replica) error {
	v := r.m.Version
	data := encodeReplica(r)
	r.object = envelopeSum(data)
	if err := m.put(ctx, m.names.version(v, m.generation), data); err != nil {
		return err
	}
	e := &remoteEntry{kind: versionEntry, moves: m.state.head == 0 || m.leadsTo(v) && m.nearest(m.dir.Current()) < v, stand: stand{
		version: v, sum: r.sum, parent: r.m.Parent, parentSum: r.m.ParentSum, generation: m.generation, object: r.object,
	}}
	put := m.put1
	if e.moves {
		put = m.moveTo
	}
	if err := put(ctx, e); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[v] = r
	delete(m.damaged, v)
	return nil
}

// putLog gives r the pieces of its log: those that some version on the remote names, and new ones for the rest and for
// small ones before it (absorb).
func (m *Mirror) putLog(ctx context.Context, r *replica) error {
	want := Log(r.m.Extents)
	if err := m.reuse(ctx, r, &want); err != nil {
		return err
	}
	missing := want.Clone()
	missing.SubtractSet(covered(r.log))
	for _, l := range r.lists {
		list, err := m.list(ctx, l)
		if err != nil {
			return err
		}
		missing.SubtractSet(covered(list))
	}
	r.log = sortPieces(r.log)
	for _, gap := range missing.Ranges() {
		gap = m.absorb(r, gap, &want)
		read := func(b []byte, off uint64) error { return m.dir.readLog(b, off) }
		pieces, err := m.putPieces(ctx, gap, read, m.names.extent)
		if err != nil {
			return err
		}
		r.log = append(r.log, pieces...)
	}
	r.log = sortPieces(r.log)
	return nil
}

// Pieces of log below PieceBytes/smallShare are small. They are of two classes: those below a pieceClass-th of that, and others.
const (
	smallShare = 16
	pieceClass = 8
)

// absorb returns the gap made longer by the log of small pieces that lie before it, which r names no more: they are put again
// together with the gap (M3). Whoever opens a version gets the log behind its newest run, each piece by a request of its own,
// so a thousand small versions must not stay a thousand pieces. The gap absorbs pieces of a lower class than its own, and
// those of its own class when there are pieceClass-1 of them. So fewer than pieceClass pieces of a class stay side by side,
// and a byte is put again only a few times before it lies in a piece that is not small.
//
// A piece whose bytes the local log does not have any more stays: damage here must not take the place of what is whole there.
func (m *Mirror) absorb(r *replica, gap Range, want *ExtentSet) Range {
	end := gap.Start
	before := m.smallBefore(r.log, end)
	for {
		n := m.absorbable(before, gap.Bytes())
		if n == 0 || slices.ContainsFunc(before[:n], func(p piece) bool { return !m.holds(p, want) }) {
			break
		}
		gap.Start = before[n-1].start
		before = before[n:]
	}
	r.log = slices.DeleteFunc(r.log, func(p piece) bool { return p.start >= gap.Start && p.end <= end })
	return gap
}

// absorbable returns how many of the pieces before a gap of so many bytes it absorbs, the nearest first.
func (m *Mirror) absorbable(before []piece, gap int64) int {
	own, lower, same := m.pieceClass(gap), 0, 0
	for _, p := range before {
		class := m.pieceClass(p.bytes())
		if class > own {
			break
		}
		if same++; class < own && lower == same-1 {
			lower++
		}
	}
	if lower == 0 && same >= pieceClass-1 {
		return same
	}
	return lower
}

// pieceClass returns 0 or 1 for a small piece of log, 2 for others.
func (m *Mirror) pieceClass(bytes int64) int {
	small := int64(m.opts.PieceBytes / smallShare)
	switch {
	case bytes < small/pieceClass:
		return 0
	case bytes < small:
		return 1
	}
	return 2
}

// smallBefore returns the small pieces of an ascending slice that lie side by side and end at address end, the last one
// first, of at most PieceBytes together.
func (m *Mirror) smallBefore(pieces []piece, end uint64) (found []piece) {
	most := int64(m.opts.PieceBytes)
	for _, p := range slices.Backward(pieces) {
		if p.end != end {
			continue // it overlaps others, or lies behind
		}
		if most -= p.bytes(); most < 0 || m.pieceClass(p.bytes()) > 1 {
			break
		}
		found, end = append(found, p), p.start
	}
	return found
}

func covered(pieces []piece) (s ExtentSet) {
	for _, p := range pieces {
		s.Add(p.start, p.end)
	}
	return s
}

// reuse gives r the pieces of the version on the remote that has most of its log. A list is taken over when r needs
// all of it, else taken apart: r names nothing that it does not need, so that nothing is kept for its sake.
func (m *Mirror) reuse(ctx context.Context, r *replica, want *ExtentSet) error {
	base, proven, err := m.bestBase(ctx, r.m, want)
	if base == nil || err != nil {
		return err
	}
	candidates := overlapping(base.log, want)
	for _, l := range base.lists {
		list, err := m.list(ctx, l)
		if err != nil {
			return err
		}
		needed := overlapping(list, want)
		if proven && len(needed) == len(list) {
			r.lists = append(r.lists, l)
		} else {
			candidates = append(candidates, needed...)
		}
	}
	for _, p := range candidates {
		if proven || m.holds(p, want) {
			r.log = append(r.log, p)
		}
	}
	return nil
}

// bestBase returns the version that shares most log with child, of those in the history of the local directory if
// there is one, and whether it is one of them.
func (m *Mirror) bestBase(ctx context.Context, child *Manifest, want *ExtentSet) (best *replica, proven bool, err error) {
	var most int64
	all, err := m.versions(ctx)
	for _, r := range all {
		shared := want.Clone()
		shared.SubtractSet(Log(r.m.Extents))
		bytes, ours := want.Bytes()-shared.Bytes(), m.ours(r, child)
		if bytes > 0 && (ours && !proven || ours == proven && bytes > most) {
			best, proven, most = r, ours, bytes
		}
	}
	return best, proven, err
}

// holds reports whether the local log has the bytes of a piece. It reads them.
func (m *Mirror) holds(p piece, want *ExtentSet) bool {
	if !want.Covers(p.start, p.end) {
		return false
	}
	b := make([]byte, p.bytes())
	return m.dir.readLog(b, p.start) == nil && p.is(b)
}

// putPieces cuts a range into pieces and puts them, those excepted that an interrupted upload has put (M2). read fills
// a buffer from an offset of the range on.
func (m *Mirror) putPieces(ctx context.Context, r Range, read func(b []byte, off uint64) error, name func(piece) string) ([]piece, error) {
	var pieces []piece
	buffer := make([]byte, min(int64(m.opts.PieceBytes), r.Bytes()))
	for at := r.Start; at < r.End; {
		b := buffer[:min(uint64(len(buffer)), r.End-at)]
		if err := read(b, at); err != nil {
			return nil, err
		}
		p, err := m.putPiece(ctx, makePiece(at, b, m.generation), b, name)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, p)
		at = p.end
	}
	return pieces, nil
}

// putPiece returns a piece with these bytes that is there: one that an interrupted upload has put, or p, which it puts then.
func (m *Mirror) putPiece(ctx context.Context, p piece, data []byte, name func(piece) string) (piece, error) {
	if m.loose[name(p)] && m.isThere(ctx, name(p), p) {
		return p, nil
	}
	left, err := m.leftBehind(ctx)
	if err != nil {
		return p, err
	}
	if old := (piece{p.start, p.end, p.sum, 0}); left[name(old)] != 0 {
		old.generation = left[name(old)]
		if m.isThere(ctx, name(old), old) {
			return old, nil
		}
	}
	if err := m.put(ctx, name(p), data); err != nil {
		return p, err
	}
	m.loose[name(p)] = true
	return p, nil
}

// leftBehind returns the generations of pieces that may be named although no version does (J6), by the names that they would have
// without one: what copies of this directory have left that were interrupted in another process. Only a mirror of a directory
// that is another's looks for them. It lists the remote, once for each claim; what a listing that is late leaves out is put again.
func (m *Mirror) leftBehind(ctx context.Context) (map[string]uint64, error) {
	if m.dir.aside == nil || m.left != nil {
		return m.left, nil
	}
	left := make(map[string]uint64)
	for _, prefix := range []string{m.names.extents(), m.names.images()} {
		objects, err := m.listObjects(ctx, prefix)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if g := generationOf(o.Name); g != 0 && g >= m.state.purged && g < m.claim {
				left[strings.Replace(o.Name, "/"+generation(g), "/", 1)] = g
			}
		}
	}
	m.left = left
	return left, nil
}

// isThere reports whether a piece that was put by an earlier attempt has its last byte, and no more: an interrupted put may
// have left a part.
func (m *Mirror) isThere(ctx context.Context, name string, p piece) bool {
	body, err := m.remote.Get(ctx, name, p.bytes()-1, 2)
	if err != nil {
		return false
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return err == nil && len(b) == 1
}

// putFiles gives r the pieces of the files of its index.
func (m *Mirror) putFiles(ctx context.Context, r *replica) error {
	for _, f := range r.m.Index.files() {
		pieces, err := m.putFile(ctx, r, f)
		if err != nil {
			return err
		}
		if f.kind == ofImage {
			r.image = pieces
		} else {
			r.others = append(r.others, pieces)
		}
	}
	return nil
}

// putFile returns the pieces of a file of the index: those of a version with the same one, or new ones. (The id alone
// would not do: a file that no version refers to is replaced by the next of its id. The log that it stands for tells
// them apart.)
func (m *Mirror) putFile(ctx context.Context, r *replica, file indexFile) ([]piece, error) {
	all, err := m.versions(ctx)
	if err != nil {
		return nil, err
	}
	for _, other := range all {
		for _, there := range other.files() {
			if there.indexFile == file && m.ours(other, r.m) {
				return there.pieces, nil
			}
		}
	}
	name := m.dir.ImagePath(file.id)
	f, err := m.dir.fs.Open(name, fsx.Read)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	read := func(b []byte, off uint64) error { return readFull(f, name, b, int64(off)) }
	return m.putPieces(ctx, Range{0, uint64(file.bytes)}, read, func(p piece) string { return m.names.imagePiece(file.id, p) })
}

// makeList moves pieces that r names one by one into lists, when there are many.
func (m *Mirror) makeList(ctx context.Context, r *replica) error {
	for len(r.log) > maxDirect {
		pieces := r.log[:listLength]
		data := encodeList(pieces)
		l := listRef{sum: envelopeSum(data), start: pieces[0].start, generation: m.generation}
		for _, p := range pieces {
			l.end = max(l.end, p.end)
		}
		if err := m.put(ctx, m.names.list(l), data); err != nil {
			return err
		}
		m.lists[l.sum] = append([]piece(nil), pieces...)
		r.lists, r.log = append(r.lists, l), r.log[listLength:]
	}
	return nil
}

// readFull fills b from a file that must have so many bytes.
func readFull(f fsx.File, name string, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return corrupt(name, int(off)+n, "%d bytes missing", len(b)-n)
	}
	return err
}

// readLog fills b with log bytes from address at on. They must be durable already.
func (d *Dir) readLog(b []byte, at uint64) error {
	return d.eachSegment(Range{at, at + uint64(len(b))}, func(n uint64, part Range) error {
		name := d.SegmentPath(n)
		f, err := d.fs.Open(name, fsx.Read)
		if err != nil {
			return err
		}
		defer f.Close()
		return readFull(f, name, b[part.Start-at:part.End-at], int64(part.Start%uint64(d.id.SegmentBytes)))
	})
}

// eachSegment calls f for each segment that holds bytes of r, with those bytes.
func (d *Dir) eachSegment(r Range, f func(n uint64, part Range) error) error {
	size := uint64(d.id.SegmentBytes)
	for at := r.Start; at < r.End; {
		n := at / size
		end := min(r.End, (n+1)*size)
		if err := f(n, Range{at, end}); err != nil {
			return err
		}
		at = end
	}
	return nil
}
