package checkpoint

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/zeebo/xxh3"
)

// On a remote, a store is these objects; <id> is the store id in hexadecimal, <g> a generation:
//
//	STORE                                       identity, as in the local directory, but in format 2; claims the remote
//	HINT                                        where the sequence ended a short while ago (hint.go)
//	<id>/SEQUENCE                               where the sequence begins (sequence.go)
//	<id>/entries/<nonce>/%016x                  an entry of the sequence
//	<id>/versions/<g>/%016x.manifest            a version: its manifest and the pieces that it consists of
//	<id>/extents/<g>/%012x-%012x-%016x          log bytes [start, end) and their xxh3
//	<id>/images/%016x/<g>/%012x-%012x-%016x     bytes [start, end) of an image or a run, and their xxh3
//	<id>/lists/<g>/%016x                        pieces that many versions share, by the xxh3 that ends the object
//
// A generation is the number, in 16 digits, of the claim of whoever has put the object, or of his last purge since (J6).
// Objects of older releases have names without; their STORE has format 1. A version's object, in the envelope of the package
// comment:
//
//	magic "HLCOPY\n\n"                     magic "HLPIECE\n" (format 2): a list
//	8  length of the manifest, then it    8  number of pieces
//	8  number of lists                       8 start  8 end  8 xxh3  8 generation
//	   8 xxh3  8 start  8 end  8 generation
//	8  number of pieces of log
//	   8 start  8 end  8 xxh3  8 generation
//	8  number of pieces of the image, and those; then the same for each run of the manifest, and then for each share
//
// Older releases wrote magic "HLREMOT\n" and lists in format 1, without generations; the former has, from format 2 on, runs
// and shares.
//
// Small pieces of log that lie side by side become one in later versions (Mirror.absorb), so that log that many versions have
// added a little to each is read by few requests. Pieces of log may overlap, and hold log that their version does not have.
//
// A version names its pieces one by one, ascending, up to maxDirect; the lowest listLength of them then become a list,
// so that the object stays small however many checkpoints the log has grown by.
const (
	magicRemote = "HLREMOT\n" // of older releases
	magicCopy   = "HLCOPY\n\n"
	magicList   = "HLPIECE\n"

	listLength = 128
	maxDirect  = 2 * listLength

	// maxPiece bounds the pieces that this release reads. It writes smaller ones.
	maxPiece  = 64 << 20
	pieceSize = 32
	oldPiece  = 24
	maxList   = listLength*pieceSize + 8 + envelopeBytes
	// maxRemoteManifest leaves room for the lists and pieces of a very long log.
	maxRemoteManifest = maxManifest + 64<<20
)

// piece is the bytes [start, end) of the log or of an image, their checksum, and the generation of their object.
type piece struct{ start, end, sum, generation uint64 }

func (p piece) bytes() int64 { return int64(p.end - p.start) }

// listRef names a list and the stretch of log that its pieces span.
type listRef struct{ sum, start, end, generation uint64 }

// replica is a version as a remote has it.
type replica struct {
	m        *Manifest
	manifest []byte // file of m, byte for byte
	sum      uint64 // checksum that ends it
	object   uint64 // checksum that ends the version's object
	lists    []listRef
	log      []piece   // those not in lists
	image    []piece   // all of the image
	others   [][]piece // all of each other file of the index
}

// filePieces is a file in images/ and the pieces that it consists of.
type filePieces struct {
	indexFile
	pieces []piece
}

// files returns the files of a version's index.
func (v *replica) files() []filePieces {
	var all []filePieces
	others := v.others
	for _, f := range v.m.Index.files() {
		pieces := v.image
		if f.kind != ofImage {
			pieces, others = others[0], others[1:]
		}
		all = append(all, filePieces{f, pieces})
	}
	return all
}

// hasFilePiece reports whether the version names a piece of the index file id.
func (v *replica) hasFilePiece(id uint64, p piece) bool {
	return slices.ContainsFunc(v.files(), func(f filePieces) bool { return f.id == id && contains(f.pieces, p) })
}

// names builds the names of a store's objects.
type names struct{ prefix string }

func namesOf(id Identity) names { return names{fmt.Sprintf("%x/", id.StoreID)} }

func (n names) root() string    { return n.prefix + "SEQUENCE" }
func (n names) entries() string { return n.prefix + "entries/" }
func (n names) entry(root, k uint64) string {
	return fmt.Sprintf("%s%016x/%016x", n.entries(), root, k)
}
func (n names) versions() string { return n.prefix + versionsDir + "/" }
func (n names) extents() string  { return n.prefix + "extents/" }
func (n names) images() string   { return n.prefix + imagesDir + "/" }
func (n names) lists() string    { return n.prefix + "lists/" }
func (n names) version(v Version, g uint64) string {
	return n.versions() + generation(g) + manifestName(v)
}
func (n names) extent(p piece) string { return n.extents() + generation(p.generation) + p.name() }
func (n names) list(l listRef) string {
	return fmt.Sprintf("%s%s%016x", n.lists(), generation(l.generation), l.sum)
}
func (n names) imagePiece(id uint64, p piece) string {
	return fmt.Sprintf("%s%0*x/%s%s", n.images(), imageDigits, id, generation(p.generation), p.name())
}
func (p piece) name() string { return fmt.Sprintf("%012x-%012x-%016x", p.start, p.end, p.sum) }

// generation returns the part of a name that says a generation; older releases had none.
func generation(g uint64) string {
	if g == 0 {
		return ""
	}
	return fmt.Sprintf("%016x/", g)
}

func makePiece(start uint64, data []byte, generation uint64) piece {
	return piece{start, start + uint64(len(data)), xxh3.Hash(data), generation}
}

// is reports whether p consists of exactly these bytes.
func (p piece) is(data []byte) bool { return p.bytes() == int64(len(data)) && p.sum == xxh3.Hash(data) }

func appendPieces(b []byte, pieces []piece) []byte {
	b = appendUint64s(b, uint64(len(pieces)))
	for _, p := range pieces {
		b = appendUint64s(b, p.start, p.end, p.sum, p.generation)
	}
	return b
}

// pieces returns the pieces that follow, each of so many bytes, which must be ascending and of a sensible size. They may
// overlap.
func (r *reader) pieces(size int) []piece {
	n := r.count(size)
	if n == 0 {
		return nil
	}
	all := make([]piece, n)
	for i := range all {
		p := piece{start: r.uint64(), end: r.uint64(), sum: r.uint64()}
		if size > oldPiece {
			p.generation = r.uint64()
		}
		if p.start >= p.end || p.end > maxLog || p.end-p.start > maxPiece || i > 0 && comparePieces(all[i-1], p) >= 0 {
			r.fail("piece %d [%d, %d) is out of order or of an odd size", i, p.start, p.end)
			return nil
		}
		all[i] = p
	}
	return all
}

func comparePieces(a, b piece) int {
	return cmp.Or(compareBytes(a, b), cmp.Compare(a.generation, b.generation))
}

// compareBytes compares what pieces consist of, and not where they are.
func compareBytes(a, b piece) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.sum, b.sum))
}

// sortPieces puts pieces into the order in which they are stored, each once.
func sortPieces(pieces []piece) []piece {
	slices.SortFunc(pieces, comparePieces)
	return slices.Compact(pieces)
}

// sortLists puts lists into the order of the log that they span, each once.
func sortLists(lists []listRef) []listRef {
	slices.SortFunc(lists, func(a, b listRef) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end), cmp.Compare(a.sum, b.sum), cmp.Compare(a.generation, b.generation))
	})
	return slices.Compact(lists)
}

func contains(sorted []piece, p piece) bool {
	_, found := slices.BinarySearchFunc(sorted, p, comparePieces)
	return found
}

// containsBytes is contains for a piece of whatever generation.
func containsBytes(sorted []piece, p piece) bool {
	_, found := slices.BinarySearchFunc(sorted, p, compareBytes)
	return found
}

func encodeList(pieces []piece) []byte { return wrap(magicList, 2, appendPieces(nil, pieces)) }

func decodeList(name string, b []byte) ([]piece, error) {
	payload, format, err := unwrap(name, magicList, 2, b)
	if err != nil {
		return nil, err
	}
	r := newReader(name, payload)
	size := pieceSize
	if format == 1 {
		size = oldPiece
	}
	pieces := r.pieces(size)
	return pieces, r.done()
}

func encodeReplica(v *replica) []byte {
	b := appendUint64s(nil, uint64(len(v.manifest)))
	b = append(b, v.manifest...)
	b = appendUint64s(b, uint64(len(v.lists)))
	for _, l := range v.lists {
		b = appendUint64s(b, l.sum, l.start, l.end, l.generation)
	}
	b = appendPieces(b, v.log)
	b = appendPieces(b, v.image)
	for _, pieces := range v.others {
		b = appendPieces(b, pieces)
	}
	return wrap(magicCopy, 1, b)
}

// decodeReplica is total, like DecodeManifest.
func decodeReplica(name string, b []byte) (*replica, error) {
	size, magic, newest := pieceSize, magicCopy, uint32(1)
	if len(b) >= magicBytes && string(b[:magicBytes]) == magicRemote {
		size, magic, newest = oldPiece, magicRemote, Format
	}
	payload, format, err := unwrap(name, magic, newest, b)
	if err != nil {
		return nil, err
	}
	r := newReader(name, payload)
	v := &replica{manifest: r.blob(), object: envelopeSum(b)}
	if n := r.count(size); n > 0 {
		v.lists = make([]listRef, n)
	}
	for i := range v.lists {
		v.lists[i] = listRef{sum: r.uint64(), start: r.uint64(), end: r.uint64()}
		if size > oldPiece {
			v.lists[i].generation = r.uint64()
		}
	}
	v.log, v.image = r.pieces(size), r.pieces(size)
	if r.err != nil {
		return nil, r.err
	}
	if v.m, err = DecodeManifest(name, v.manifest); err != nil {
		return nil, err
	}
	if magic == magicRemote && format != v.m.format() {
		r.fail("format %d with a manifest of format %d", format, v.m.format())
	}
	for range len(v.m.Runs) + len(v.m.Shares) + len(v.m.Cold) {
		v.others = append(v.others, r.pieces(size))
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	v.sum = envelopeSum(v.manifest)
	if bad := v.fileGap(); bad != "" {
		return nil, corrupt(name, headerBytes, "%s", bad)
	}
	return v, nil
}

// fileGap returns what the pieces of the index files miss, "" when they are all of each, in order.
func (v *replica) fileGap() string {
	if v.m.Image == nil && len(v.image) > 0 {
		return "pieces of an image that there is not"
	}
	for _, f := range v.files() {
		var end uint64
		for _, p := range f.pieces {
			if p.start != end {
				break
			}
			end = p.end
		}
		if want := uint64(f.bytes); end != want || len(f.pieces) > 0 && f.pieces[len(f.pieces)-1].end != want {
			return fmt.Sprintf("the pieces of index file %d end at %d, it has %d bytes", f.id, end, want)
		}
	}
	return ""
}

// overlapping returns the pieces, of an ascending slice, that have a byte in set, in order. Pieces are at most maxPiece
// long, so few that end too early are looked at.
func overlapping(pieces []piece, set *ExtentSet) []piece {
	var found []piece
	for _, r := range set.Ranges() {
		low := r.Start - min(r.Start, maxPiece)
		i := sort.Search(len(pieces), func(i int) bool { return pieces[i].start >= low })
		for ; i < len(pieces) && pieces[i].start < r.End; i++ {
			if pieces[i].end > r.Start {
				found = append(found, pieces[i])
			}
		}
	}
	return sortPieces(found)
}
