package hlog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// What is read ahead is what the segments have, also where the head moves on in the middle of a window (S4).
func TestReadAhead_AsTheSegments(t *testing.T) {
	for _, d := range disks {
		t.Run(d.name, func(t *testing.T) {
			fsys, dir := d.open(t)
			o := tiny()
			o.FS = fsys
			s := mustOpen(t, dir, o)
			defer s.Close()
			x := s.NewSession()
			defer x.Close()
			r := newReadAhead(s.log)
			defer func() { must(t, r.close()) }()
			rnd := rand.New(rand.NewPCG(1, 2))
			got, want := mem.AlignedBytes(1<<20, blockBytes), mem.AlignedBytes(1<<20, blockBytes)
			read, at := 0, uint64(0)
			for round := range 20 {
				spill(t, x, 1+rnd.IntN(3*int(s.segments.size)/2))
				evict(t, s)
				head := s.log.head.Load()
				for at < head {
					// As a walk does: to the end of the segment at most, and sometimes a block back for a record that was cut.
					n := min(uint64(1+rnd.IntN(100))*blockBytes, head-at, s.segments.size-at%s.segments.size)
					to := at + n
					if rnd.IntN(3) > 0 {
						to = uint64(word.MaxAddress)
					}
					g, err := r.readAt(got[:n], at, to)
					must(t, err)
					w, err := s.segments.readAt(want[:n], at)
					must(t, err)
					if g != w || !bytes.Equal(got[:g], want[:w]) {
						t.Fatalf("round %d: %d bytes at %#x, %d on disk, head %#x: not the same", round, g, at, w, head)
					}
					read += g
					at += n
					if at%s.segments.size > blockBytes && rnd.IntN(4) == 0 {
						at -= blockBytes
					}
					if n == blockBytes {
						break // goes on when the head is elsewhere
					}
				}
				if rnd.IntN(10) == 0 {
					r.stop()
					at = s.log.pageStart(uint64(rnd.Int64N(int64(at + 1))))
				}
			}
			if read < 4*int(s.segments.size) {
				t.Fatalf("read %d bytes only", read)
			}
		})
	}
}

// A segment that is missing is told when the walk gets there, and not before.
func TestReadAhead_MissingSegment(t *testing.T) {
	o := tiny()
	s := mustOpen(t, t.TempDir(), o)
	defer s.Close()
	x := s.NewSession()
	defer x.Close()
	spill(t, x, 3*int(s.segments.size))
	evict(t, s)
	s.segments.forget(1)
	must(t, o.FS.Remove(s.segments.path(1)))
	r := newReadAhead(s.log)
	defer func() { must(t, r.close()) }()
	b := mem.AlignedBytes(blockBytes, blockBytes)
	size := s.segments.size
	if n, err := r.readAt(b, size-blockBytes, 2*size); n != blockBytes || err != nil {
		t.Fatalf("the segment before: %d bytes, %v", n, err)
	}
	if _, err := r.readAt(b, size, 2*size); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("the missing segment: %v, want ErrCorrupt", err)
	}
}
