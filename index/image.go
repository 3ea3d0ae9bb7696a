package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The format is in the package comment.
const (
	imageFormat  = 1
	imageMagic   = "HLOGIDX\x00"
	trailerMagic = "HLOGIDXE"

	headerBytes  = 64
	trailerBytes = 64
	refBytes     = 24
	sumOffset    = 56 // in header and trailer

	blockBits    = 10
	blockBuckets = 1 << blockBits
)

// ImageInfo says what was written.
type ImageInfo struct {
	Bytes   int64 // length of the image
	Entries int64
	Bits    uint // the table has 2^Bits buckets
}

// blockRef is where a block lies in an image, and what it must hash to.
type blockRef struct {
	offset, length int64
	sum            uint64
}

func (r blockRef) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.length))
	return binary.LittleEndian.AppendUint64(b, r.sum)
}

func readRef(b []byte) blockRef {
	return blockRef{int64(mem.Load64(b)), int64(mem.Load64(b[8:])), mem.Load64(b[16:])}
}

// WriteImage writes the index to w, without the entries whose address is less than drop, while operations go on. Each
// entry is written as it is at some moment between call and return, so everything since the call has to be replayed
// ([Index.Replay]) into what [OpenImage] makes of the image. The table does not grow meanwhile. What is missing of the
// image that the index was opened with is loaded first. After an error, be it that of ctx or of w, what was written is
// useless.
//
// The entries go through resolve, if that is not nil, outside the epoch, in groups of no more than some hundred: it
// may replace their addresses, and what it leaves is written. It is for images of an earlier state, whose addresses the
// caller can find by following chains.
func (x *Index) WriteImage(
	ctx context.Context, w io.Writer, drop word.Address, resolve func([]word.Entry) error,
) (ImageInfo, error) {
	if err := x.LoadAll(ctx); err != nil {
		return ImageInfo{}, err
	}
	if err := x.hold(ctx); err != nil {
		return ImageInfo{}, err
	}
	defer x.unhold()
	g := x.cfg.Epoch.Register()
	defer g.Release()
	t := x.table.Load()

	header := makeHeader(t.Bits)
	if _, err := w.Write(header); err != nil {
		return ImageInfo{}, fmt.Errorf("index: writing an image: %w", err)
	}
	info := ImageInfo{Bits: t.Bits}
	offset := int64(len(header))
	per := min(t.Mask+1, blockBuckets)
	directory := make([]byte, 0, (t.Mask+1)/per*refBytes)
	var b block
	for first := uint64(0); first <= t.Mask; first += per {
		if err := ctx.Err(); err != nil {
			return ImageInfo{}, err
		}
		b.reset(per)
		for from := uint64(0); from < per; from += imageGroup {
			to := min(from+imageGroup, per)
			b.entries = b.entries[:0]
			for i := from; i < to; i++ {
				g.Enter()
				b.collect(t, first+i)
				g.Exit()
				b.ends[i-from] = len(b.entries)
			}
			if resolve != nil {
				if err := resolve(b.entries); err != nil {
					return ImageInfo{}, fmt.Errorf("index: writing an image: %w", err)
				}
			}
			begin := 0
			for i := from; i < to; i++ {
				end := b.ends[i-from]
				entries := prune(b.entries[begin:end:end], drop)
				b.add(i, entries)
				info.Entries += int64(len(entries))
				begin = end
			}
		}
		if _, err := w.Write(b.buf); err != nil {
			return ImageInfo{}, fmt.Errorf("index: writing an image: %w", err)
		}
		directory = blockRef{offset, int64(len(b.buf)), xxh3.Hash(b.buf)}.append(directory)
		offset += int64(len(b.buf))
	}
	info.Bytes = offset + int64(len(directory)) + trailerBytes
	tail := append(directory, makeTrailer(header, directory, offset, info)...)
	if _, err := w.Write(tail); err != nil {
		return ImageInfo{}, fmt.Errorf("index: writing an image: %w", err)
	}
	return info, nil
}

func makeHeader(bits uint) []byte {
	b := make([]byte, 0, headerBytes)
	b = append(b, imageMagic...)
	b = binary.LittleEndian.AppendUint32(b, imageFormat)
	b = binary.LittleEndian.AppendUint32(b, uint32(bits))
	b = append(b, make([]byte, sumOffset-len(b))...)
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}

func makeTrailer(header, directory []byte, offset int64, info ImageInfo) []byte {
	b := make([]byte, 0, trailerBytes)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(info.Bytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(offset))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(directory)/refBytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(info.Entries))
	b = binary.LittleEndian.AppendUint64(b, xxh3.Hash(directory))
	b = binary.LittleEndian.AppendUint64(b, xxh3.Hash(header))
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}

// block is a block of an image in the making.
type block struct {
	buf      []byte
	overflow uint64 // overflow buckets so far
	entries  []word.Entry
	ends     [imageGroup]int // of the buckets of a group, in entries
}

// imageGroup is how many buckets are collected at a time, so that resolve can fetch ahead.
const imageGroup = 16

func (b *block) reset(buckets uint64) {
	n := int(buckets) * bucketBytes
	if cap(b.buf) < n {
		b.buf = make([]byte, 0, n+n/growShare)
	}
	b.buf = b.buf[:n]
	clear(b.buf)
	b.overflow = 0
}

// collect appends the entries of a bucket to those of the group. The caller is inside the epoch and holds the table.
func (b *block) collect(t *table, bucket uint64) {
	var w waiter
	for begin := len(b.entries); ; {
		entries, tentative := b.entries[:begin], false
		for p := t.bucket(bucket); p != nil; p = t.next(p) {
			for i := range bucketSlots {
				step()
				switch e := (Slot{slotOf(p, i)}).Load(); {
				case e == 0:
				case e.Tentative():
					tentative = true
				default:
					entries = append(entries, e)
				}
			}
		}
		if tentative && len(entries) > begin && entries[begin].Tag() == word.CatchAll {
			// Whether it becomes an entry decides where its hash is replayed to (I10).
			w.wait()
			continue
		}
		b.entries = entries[:begin+len(current(entries[begin:]))]
		return
	}
}

// current removes entries that were cleared while the bucket was read: if two of those that were read match one hash,
// the earlier one was gone when the later one was made (I2).
func current(entries []word.Entry) []word.Entry {
	for {
		i, _, ok := overlap(entries)
		if !ok {
			return entries
		}
		entries = append(entries[:i], entries[i+1:]...)
	}
}

// prune removes the entries of a bucket whose address is less than drop, or [word.None]. With a catch-all that stays
// the others stay too, and lose only the address (I10).
func prune(entries []word.Entry, drop word.Address) []word.Entry {
	dead := func(e word.Entry) bool { return e.Address() < drop || e.Address() == word.None }
	if len(entries) > 0 && entries[0].Tag() == word.CatchAll {
		if !dead(entries[0]) {
			for i, e := range entries {
				if dead(e) {
					entries[i] = e.WithAddress(word.None)
				}
			}
			return entries
		}
	}
	kept := entries[:0]
	for _, e := range entries {
		if !dead(e) {
			kept = append(kept, e)
		}
	}
	return kept
}

// add writes the entries of the block's bucket i.
func (b *block) add(i uint64, entries []word.Entry) {
	at := int(i) * bucketBytes
	for n, e := range entries {
		slot := n % bucketSlots
		if slot == 0 && n > 0 {
			binary.LittleEndian.PutUint64(b.buf[at+linkOffset:], uint64(makeLink(b.overflow)))
			b.overflow++
			at = len(b.buf)
			b.buf = append(b.buf, make([]byte, bucketBytes)...)
		}
		binary.LittleEndian.PutUint64(b.buf[at+slot*mem.WordBytes:], uint64(e))
	}
}
