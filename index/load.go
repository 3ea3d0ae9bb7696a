package index

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// ErrFormat is returned for an image in a format newer than this package knows.
var ErrFormat = errors.New("index: the image has a newer format")

// CorruptError says that a file of the index is damaged. It names none, because the package sees none.
type CorruptError struct {
	Share   uint64 // id of the share, which may be 0, if InShare
	InShare bool
	Run     int   // which of the runs that were given to the call, counted from 1; 0 = the image, or the only run
	Offset  int64 // in bytes: where what does not fit begins
	Reason  string
}

// Error returns a description.
func (e *CorruptError) Error() string {
	if e.InShare {
		return fmt.Sprintf("index: damaged share %d: %s at offset %d", e.Share, e.Reason, e.Offset)
	}
	if e.Run > 0 {
		return fmt.Sprintf("index: damaged run %d: %s at offset %d", e.Run, e.Reason, e.Offset)
	}
	return fmt.Sprintf("index: damaged image: %s at offset %d", e.Reason, e.Offset)
}

// image is what a table is being loaded from, block by block: those of an image of old, or else as many of the table,
// which are empty, and what runs and shares hold of them.
type image struct {
	r       io.ReaderAt
	bits    uint
	mask    uint64        // of a hash: the bucket in the image
	shift   uint          // of the bucket: its block
	blocks  []blockRef    // nil: there is no image of old
	state   []atomic.Bool // by block: loaded
	placed  []bool        // by block: its entries are in the table; under loading
	missing atomic.Int64  // blocks not loaded
	drop    word.Address
	runs    []*Run    // replayed over a block when it is loaded
	shares  *shareSet // likewise
	// loading keeps two from loading one block at once. Many blocks share one.
	loading [64]sync.Mutex

	mu        sync.Mutex
	postponed []*[pendingChunk]pending // what to replay when its block is loaded
	count     int                      // of what is postponed
	last      []int                    // by block: its newest in postponed, counted from 1; 0 = none
}

// pendingChunk is how many records are postponed in one allocation: none of them is moved when more come.
const pendingChunk = 1 << 12

// pending is a record whose block is not loaded. Those of a block are a list: most blocks have few.
type pending struct {
	Record
	next int // as in image.last
}

func (im *image) blockOf(h uint64) uint64   { return h & im.mask >> im.shift }
func (im *image) loaded(block uint64) bool  { return im.state[block].Load() }
func (im *image) buckets() uint64           { return 1 << im.shift }
func (r blockRef) overflow(b uint64) uint64 { return uint64(r.length)/bucketBytes - b }

// OpenImage returns an index with the entries that were written to the image r of size bytes, except those whose
// address is less than drop, and with what the runs hold replayed over it. It reads only what describes the image;
// blocks follow on demand, and their part of the runs with them, see [Index.Load] and [Index.LoadAll]. r and the runs
// are used until all blocks are loaded or the index is closed. The table gets at least 2^Config.InitialBits buckets
// (I9). Memory is taken even if Config does not allow it, but no more than follows from size and InitialBits.
//
// Errors are *[CorruptError], [ErrFormat], and those of r.
func OpenImage(cfg Config, r io.ReaderAt, size int64, drop word.Address, runs ...*Run) (*Index, error) {
	x, err := newIndex(cfg)
	if err != nil {
		return nil, err
	}
	im, err := readImage(r, size)
	if err != nil {
		return nil, err
	}
	im.drop, im.runs = drop, runs
	held := uint64(0)
	for _, ref := range im.blocks {
		held += ref.overflow(im.buckets())
	}
	t, err := x.newTable(max(im.bits, cfg.InitialBits), held, false)
	if err != nil {
		return nil, err
	}
	t.image.Store(im)
	t.busy.Store(true)
	x.publish(t)
	return x, nil
}

// readImage reads what describes an image. Nothing that it allocates is larger than size.
func readImage(r io.ReaderAt, size int64) (*image, error) {
	if size < headerBytes+trailerBytes {
		return nil, &CorruptError{Offset: 0, Reason: fmt.Sprintf("%d bytes are too few", size)}
	}
	header, trailer := make([]byte, headerBytes), make([]byte, trailerBytes)
	if err := readAt(r, header, 0); err != nil {
		return nil, err
	}
	if string(header[:8]) != imageMagic {
		return nil, &CorruptError{Offset: 0, Reason: "not an image"}
	}
	// The format is looked at first: a newer one may be checked in another way.
	if f := binary.LittleEndian.Uint32(header[8:]); f > imageFormat {
		return nil, fmt.Errorf("%w: %d, known is %d", ErrFormat, f, imageFormat)
	}
	im := &image{r: r, bits: uint(binary.LittleEndian.Uint32(header[12:]))}
	if mem.Load64(header[sumOffset:]) != xxh3.Hash(header[:sumOffset]) ||
		binary.LittleEndian.Uint32(header[8:]) != imageFormat || im.bits > maxBits {
		return nil, &CorruptError{Offset: 0, Reason: "header does not fit its checksum"}
	}
	at := size - trailerBytes
	if err := readAt(r, trailer, at); err != nil {
		return nil, err
	}
	offset, blocks := int64(mem.Load64(trailer[16:])), int64(mem.Load64(trailer[24:]))
	im.mask = 1<<im.bits - 1
	im.shift = min(im.bits, blockBits)
	switch {
	case string(trailer[:8]) != trailerMagic || mem.Load64(trailer[sumOffset:]) != xxh3.Hash(trailer[:sumOffset]):
		return nil, &CorruptError{Offset: at, Reason: "trailer does not fit its checksum"}
	case mem.Load64(trailer[48:]) != xxh3.Hash(header):
		return nil, &CorruptError{Offset: at, Reason: "header and trailer are of different images"}
	case int64(mem.Load64(trailer[8:])) != size:
		return nil, &CorruptError{Offset: at + 8, Reason: fmt.Sprintf("length %d, but there are %d bytes", mem.Load64(trailer[8:]), size)}
	case blocks != int64((im.mask+1)>>im.shift) || blocks > size/refBytes || offset != at-blocks*refBytes:
		return nil, &CorruptError{Offset: at + 16, Reason: fmt.Sprintf("directory of %d blocks at %d", blocks, offset)}
	}
	directory := make([]byte, blocks*refBytes)
	if err := readAt(r, directory, offset); err != nil {
		return nil, err
	}
	if xxh3.Hash(directory) != mem.Load64(trailer[40:]) {
		return nil, &CorruptError{Offset: offset, Reason: "directory does not fit its checksum"}
	}
	return im, im.setBlocks(directory, offset)
}

// expect makes n blocks missing.
func (im *image) expect(n int) {
	im.state = make([]atomic.Bool, n)
	im.placed = make([]bool, n)
	im.last = make([]int, n)
	im.missing.Store(int64(n))
}

// setBlocks takes over the directory, which lies at offset.
func (im *image) setBlocks(directory []byte, offset int64) error {
	n := len(directory) / refBytes
	im.blocks = make([]blockRef, n)
	im.expect(n)
	least := int64(im.buckets()) * bucketBytes
	end := int64(headerBytes)
	for i := range im.blocks {
		ref := readRef(directory[i*refBytes:])
		if ref.offset != end || ref.length < least || ref.length > offset-end || ref.length%bucketBytes != 0 {
			return &CorruptError{Offset: offset + int64(i)*refBytes, Reason: fmt.Sprintf("block of %d bytes at %d", ref.length, ref.offset)}
		}
		im.blocks[i] = ref
		end += ref.length
	}
	if end != offset {
		return &CorruptError{Offset: end, Reason: "bytes of no block"}
	}
	return nil
}

// readAt fills b from off on.
func readAt(r io.ReaderAt, b []byte, off int64) error {
	switch n, err := r.ReadAt(b, off); {
	case n == len(b):
		return nil
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &CorruptError{Offset: off + int64(n), Reason: "the file ends early"}
	default:
		return fmt.Errorf("index: reading an image: %w", err)
	}
}

// Load does what [NeedLoad] asks for: it loads the block of the image that holds h if it is missing, starts a growth
// if one is due, and makes room if some was missing. It may wait, and is called outside the epoch.
//
// The error is *[CorruptError] for a damaged block, or that of the image's reader. Other blocks are not affected.
func (x *Index) Load(h uint64) error {
	t := x.table.Load()
	if im := t.image.Load(); im != nil {
		if err := x.loadBlock(t, im, im.blockOf(h), nil); err != nil {
			return err
		}
	}
	if x.want.CompareAndSwap(true, false) {
		x.spawn(x.growInBackground)
	}
	if x.starved.CompareAndSwap(true, false) {
		return x.room(false)
	}
	return nil
}

// LoadAll loads all blocks that are missing. If some cannot be loaded it returns the error of the first of them, after
// it has loaded the others; if ctx ends, its error. It is called outside the epoch, and may run in the background.
func (x *Index) LoadAll(ctx context.Context) error {
	const readAhead = 1 << 20 // bytes
	t := x.table.Load()
	im := t.image.Load()
	if im == nil {
		return nil
	}
	if len(im.runs) > 0 || im.shares != nil {
		return x.loadAlongRuns(ctx, t, im)
	}
	var first error
	var buf []byte
	for b, n := uint64(0), uint64(len(im.blocks)); b < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		from, length := b, int64(0)
		for b < n && !im.loaded(b) && (b == from || length+im.blocks[b].length <= readAhead) {
			length += im.blocks[b].length
			b++
		}
		if b == from {
			b++ // it is loaded
			continue
		}
		if int64(cap(buf)) < length {
			buf = make([]byte, length)
		}
		if err := x.loadSpan(t, im, from, b, buf[:length]); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// loadAlongRuns is LoadAll in the order of the runs, so that each of them is read from its start to its end.
func (x *Index) loadAlongRuns(ctx context.Context, t *table, im *image) (first error) {
	sweep := newSweep(im.shares)
	for i := range uint64(len(im.state)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := bits.Reverse64(i) >> (64 - (im.bits - im.shift)) // a shift by 64 gives 0, the only block there is then
		if err := x.loadBlock(t, im, b, sweep); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// loadSpan reads the blocks from..to-1 into buf and loads them, each by itself if that fails.
func (x *Index) loadSpan(t *table, im *image, from, to uint64, buf []byte) (first error) {
	whole := readAt(im.r, buf, im.blocks[from].offset) == nil
	for b := from; b < to; b++ {
		n := im.blocks[b].length
		var err error
		if whole {
			err = x.install(t, im, b, buf[:n], nil)
		} else {
			err = x.loadBlock(t, im, b, nil)
		}
		buf = buf[n:]
		if first == nil {
			first = err
		}
	}
	return first
}

// loadBlock loads block b unless it is loaded, with a sweep over the shares if it is not nil.
func (x *Index) loadBlock(t *table, im *image, b uint64, sweep *sweep) error {
	if im.loaded(b) {
		return nil
	}
	var raw []byte
	if im.blocks != nil {
		raw = make([]byte, im.blocks[b].length)
		if err := readAt(im.r, raw, im.blocks[b].offset); err != nil {
			return err
		}
	}
	return x.install(t, im, b, raw, sweep)
}

// install verifies raw, the bytes of block b, and makes it part of t, unless it is.
func (x *Index) install(t *table, im *image, b uint64, raw []byte, sweep *sweep) error {
	mu := &im.loading[b%uint64(len(im.loading))]
	mu.Lock()
	defer mu.Unlock()
	if im.loaded(b) {
		return nil
	}
	if !im.placed[b] && im.blocks != nil {
		if err := im.placeBlock(t, b, raw); err != nil {
			return err
		}
		im.placed[b] = true
	}
	if err := x.replayRuns(t, im, b); err != nil {
		return err
	}
	if im.shares != nil {
		if err := x.replayShares(t, im, b, sweep); err != nil {
			return err
		}
	}
	if err := x.replayPending(t, im, b); err != nil {
		return err
	}
	if im.missing.Add(-1) == 0 {
		im.shares.close()
		t.overflow.release()
		x.steady.Store(&t.Buckets) // before a growth can begin
		t.busy.Store(false)
		t.image.Store(nil)
		if t.crowded() {
			x.deferred.Store(true)
		}
		x.resumeGrowth()
	}
	return nil
}

// placeBlock verifies raw, the bytes of block b, and puts its entries into t.
func (im *image) placeBlock(t *table, b uint64, raw []byte) error {
	ref := im.blocks[b]
	if xxh3.Hash(raw) != ref.sum {
		return &CorruptError{Offset: ref.offset, Reason: "block does not fit its checksum"}
	}
	// All of it is looked at before anything is put into the table, so that a block is placed whole or not at all.
	if err := im.eachBucket(raw, ref, validate); err != nil {
		return err
	}
	return im.eachBucket(raw, ref, func(i uint64, entries []word.Entry) string {
		t.place(b<<im.shift+i, im.bits, prune(entries, im.drop))
		return ""
	})
}

// eachBucket calls fn with the number in the block, and the entries, of each bucket of a block. fn returns what is
// wrong with them.
func (im *image) eachBucket(raw []byte, ref blockRef, fn func(i uint64, entries []word.Entry) string) error {
	var entries []word.Entry
	overflow := uint64(0)
	for i := range im.buckets() {
		entries = entries[:0]
		at := int(i) * bucketBytes
		for {
			for j := range bucketSlots {
				if e := word.Entry(mem.Load64(raw[at+j*mem.WordBytes:])); e != 0 {
					entries = append(entries, e)
				}
			}
			l := link(mem.Load64(raw[at+linkOffset:]))
			if l == 0 {
				break
			}
			// Links count up through the block, so that every overflow bucket has its place in one chain.
			if l != makeLink(overflow) || overflow >= ref.overflow(im.buckets()) {
				return &CorruptError{Offset: ref.offset + int64(at) + linkOffset, Reason: fmt.Sprintf("link %#x", uint64(l))}
			}
			at = int(im.buckets()+overflow) * bucketBytes
			overflow++
		}
		if reason := fn(i, entries); reason != "" {
			return &CorruptError{Offset: ref.offset + int64(i)*bucketBytes, Reason: reason}
		}
	}
	if overflow != ref.overflow(im.buckets()) {
		return &CorruptError{Offset: ref.offset + int64(im.buckets()+overflow)*bucketBytes, Reason: "overflow bucket of no chain"}
	}
	return nil
}

// validate returns what is wrong with the entries of a bucket of an image.
func validate(_ uint64, entries []word.Entry) string {
	for i, e := range entries {
		switch {
		case e.Tentative(), e.Tag() == 0, e.Address() != word.None && !e.Address().Valid():
			return fmt.Sprintf("entry %#x", uint64(e))
		case e.Tag() == word.CatchAll && i > 0:
			return "catch-all after other entries (I3)"
		}
	}
	if i, j, ok := overlap(entries); ok {
		return fmt.Sprintf("entries %#x and %#x match one hash (I2)", uint64(entries[i]), uint64(entries[j]))
	}
	return ""
}

// place puts the entries of bucket b of a table of 2^bits buckets where they belong in t. Nobody else looks there yet.
func (t *table) place(b uint64, bits uint, entries []word.Entry) {
	switch {
	case len(entries) == 0:
	case bits == t.Bits:
		t.pack(b, entries)
	default:
		lo, hi := split(entries, nil, nil)
		t.place(b, bits+1, lo)
		t.place(b+1<<bits, bits+1, hi)
	}
}

// replayAhead is how many records ahead of the one that is replayed the index fetches into the cache.
const replayAhead = 16

// Replay makes the address of each record that of its hash's entry unless that has a greater one, and makes the entry
// if there is none. For a hash whose block is missing this happens when the block is loaded. It is for recovery, into a
// table that is fine enough (I9). It takes the memory it needs even if Config does not allow it; the error is that of
// the system when there is none. It uses records up, and is called outside the epoch.
func (x *Index) Replay(records ...Record) error {
	x.replay.Lock()
	defer x.replay.Unlock()
	if x.replay.guard == nil {
		x.replay.guard = x.cfg.Epoch.Register()
	}
	if im := x.table.Load().image.Load(); im != nil {
		records = im.postpone(records)
	}
	for i, r := range records {
		next := records[min(i+replayAhead, len(records)-1)].Hash
		if err := x.replayOne(r, next); err != nil {
			return err
		}
	}
	return nil
}

// replayOne replays r, and fetches the bucket of the hash next. The caller holds the lock of replay.
func (x *Index) replayOne(r Record, next uint64) error {
	g := x.replay.guard
	for {
		g.Enter()
		x.Prefetch(next)
		s, e, status := x.look(r.Hash, replay)
		done := status == Found && (e.Address() >= r.Address || s.CompareAndSwap(e, r.Address))
		g.Exit()
		if done {
			return nil
		}
		if status == NeedLoad {
			if err := x.room(true); err != nil {
				return err
			}
		}
	}
}

// postpone keeps the records whose block is not loaded until it is. It returns the others, in the place of the first of
// records.
func (im *image) postpone(records []Record) (others []Record) {
	others = records[:0]
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, r := range records {
		b := im.blockOf(r.Hash)
		if im.loaded(b) {
			others = append(others, r)
			continue
		}
		if im.count == len(im.postponed)*pendingChunk {
			im.postponed = append(im.postponed, new([pendingChunk]pending))
		}
		*im.pending(im.count) = pending{r, im.last[b]}
		im.count++
		im.last[b] = im.count
	}
	return others
}

// pending returns the n-th record that was postponed, counted from 0. The caller holds mu.
func (im *image) pending(n int) *pending { return &im.postponed[n/pendingChunk][n%pendingChunk] }

// replayPending replays what was postponed until block b is loaded, and declares it loaded.
func (x *Index) replayPending(t *table, im *image, b uint64) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	for n := im.last[b]; n > 0; n = im.pending(n - 1).next {
		p := im.pending(n - 1)
		if err := x.raise(t, p.Hash, p.Address); err != nil {
			return err
		}
	}
	im.last[b] = 0
	im.state[b].Store(true)
	return nil
}

// raise is Replay in a block that nobody else uses yet.
func (x *Index) raise(t *table, h uint64, a word.Address) error {
	for {
		p, e, r := t.find(h)
		if r == miss {
			p, e, r = x.insert(t, h, replay)
		}
		switch {
		case r == full:
			if err := x.room(true); err != nil {
				return err
			}
		case r == hit && (e.Address() >= a || swap(p, e, e.WithAddress(a))):
			return nil
		}
	}
}
