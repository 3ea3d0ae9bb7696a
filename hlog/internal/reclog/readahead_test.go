package reclog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// What is read ahead is what the segments have, also where the head moves on in the middle of a window (D3).
func TestReadAhead_AsTheSegments(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			k := newKitOn(t, 16, fsys, dir)
			r := k.NewReadAhead()
			rnd := rand.New(rand.NewPCG(1, 2))
			got, want := mem.AlignedBytes(1<<20, BlockBytes), mem.AlignedBytes(1<<20, BlockBytes)
			read, at := 0, uint64(0)
			for round := range 20 {
				k.fill(1 + rnd.IntN(3*kitSegment/2))
				k.evict()
				head := k.Head()
				for at < head {
					// As a walk does: to the end of the segment at most, and sometimes a block back for a record that was cut.
					n := min(uint64(1+rnd.IntN(100))*BlockBytes, head-at, kitSegment-at%kitSegment)
					to := at + n
					if rnd.IntN(3) > 0 {
						to = uint64(word.MaxAddress)
					}
					g, err := r.readAt(got[:n], at, to)
					must(t, err)
					w, err := k.segments.readAt(want[:n], at)
					must(t, err)
					if g != w || !bytes.Equal(got[:g], want[:w]) {
						t.Fatalf("round %d: %d bytes at %#x, %d on disk, head %#x: not the same", round, g, at, w, head)
					}
					read += g
					at += n
					if at%kitSegment > BlockBytes && rnd.IntN(4) == 0 {
						at -= BlockBytes
					}
					if n == BlockBytes {
						break // goes on when the head is elsewhere
					}
				}
				if rnd.IntN(10) == 0 {
					r.Stop()
					at = k.pageStart(uint64(rnd.Int64N(int64(at + 1))))
				}
			}
			if read < 4*kitSegment {
				t.Fatalf("read %d bytes only", read)
			}
		})
	}
}

// A segment that is missing is told when the walk gets there, and not before.
func TestReadAhead_MissingSegment(t *testing.T) {
	k := newKit(t, 16)
	k.fill(3 * kitSegment)
	k.evict()
	k.segments.Forget(1)
	must(t, k.segments.fs.Remove(k.segments.path(1)))
	r := k.NewReadAhead()
	b := mem.AlignedBytes(BlockBytes, BlockBytes)
	if n, err := r.readAt(b, kitSegment-BlockBytes, 2*kitSegment); n != BlockBytes || err != nil {
		t.Fatalf("the segment before: %d bytes, %v", n, err)
	}
	if _, err := r.readAt(b, kitSegment, 2*kitSegment); !errors.Is(err, fsx.ErrCorrupt) {
		t.Fatalf("the missing segment: %v, want ErrCorrupt", err)
	}
}
