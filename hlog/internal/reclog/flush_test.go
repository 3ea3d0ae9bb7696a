package reclog

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Of pieces that travel together, those before the first that fails are flushed, and no others (D4). The next sync writes
// the rest again.
func TestFlush_UpToThePieceThatFails(t *testing.T) {
	for nth := int64(1); nth <= 9; nth++ {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: true})
		failing := fsx.NewErr(disk)
		k := newKitOn(t, 16, failing, "/log")
		k.fill(8*kitPage + kitPage/2)
		target := k.cut()
		want := k.Durability().Written()
		for range nth - 1 {
			want = k.pageEnd(want)
		}
		injected := failing.Inject(fsx.Fault{Class: fsx.ClassWrite, Match: "*.seg", Nth: nth})
		if err := k.SyncTo(target); !errors.Is(err, syscall.EIO) {
			t.Fatalf("write %d fails: %v", nth, err)
		}
		if got := k.Durability().Written(); got != want {
			t.Errorf("write %d fails: flushed up to %#x, want %#x", nth, got, want)
		}
		injected.Clear()
		must(t, k.SyncTo(target))
		if n := count(t, kitSegments(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), "/log"), uint64(word.FirstAddress), target); n != k.n {
			t.Errorf("write %d failed: %d records are durable, of %d", nth, n, k.n)
		}
	}
}

// A piece that is written in parts counts when all of them are written: of a piece that has lost one nothing is flushed, and
// it is written again from its first record on (D4). What is durable then is what was logged.
func TestFlush_PiecesInParts(t *testing.T) {
	inParts := func(fsys fsx.FS, dir string) (k *kit, target uint64) {
		k = newKitOn(t, 16, fsys, dir)
		k.flusher.leastPart = BlockBytes
		for k.Tail() < 4*kitPage+kitPage/2 {
			k.write(int(k.n * 977 % 5000)) // some longer than a part
		}
		return k, k.cut()
	}
	all := func(k *kit, fsys fsx.FS, dir string, target uint64) {
		t.Helper()
		must(t, k.SyncTo(target))
		if n := count(t, kitSegments(fsys, dir), uint64(word.FirstAddress), target); n != k.n {
			t.Errorf("%d records are durable, of %d", n, k.n)
		}
	}
	for nth := int64(1); ; nth++ {
		fsys, dir := disks[0].open(t)
		failing := fsx.NewErr(fsys)
		k, target := inParts(failing, dir)
		written := k.Durability().Written()
		injected := failing.Inject(fsx.Fault{Class: fsx.ClassWrite, Match: "*.seg", Nth: nth})
		err := k.SyncTo(target)
		injected.Clear()
		if err == nil {
			if nth < 10 {
				t.Errorf("%d writes", nth-1)
			}
			break
		}
		if now := k.Durability().Written(); !errors.Is(err, syscall.EIO) || now >= target || now != max(written, k.pageStart(now)) {
			t.Errorf("write %d of [%#x, %#x): written up to %#x, %v", nth, written, target, now, err)
		}
		all(k, fsys, dir, target)
	}
	fsys, dir := disks[1].open(t) // where parts are on their way at the same time
	k, target := inParts(fsys, dir)
	all(k, fsys, dir, target)
}

// The parts of a piece are whole blocks, about equally many, of any length of it: there is room for pieceParts of them.
func TestFlush_PartsOfAPiece(t *testing.T) {
	for n := BlockBytes; n <= 8<<20; n += BlockBytes {
		for _, least := range []int{BlockBytes, leastPart} {
			part := partBytes(n, least)
			if parts := (n + part - 1) / part; part%BlockBytes != 0 || part < least || parts > pieceParts || parts < min(n/least, pieceParts/2) {
				t.Fatalf("%d bytes in parts of %d, at least %d", n, part, least)
			}
		}
	}
}

// count returns how many records the segments have in [from, to).
func count(t *testing.T, s *Segments, from, to uint64) (n uint64) {
	t.Helper()
	must(t, s.NewWalker().Walk(context.Background(), from, to, func(word.Address, record.Bytes, record.Shape, bool) (bool, error) {
		n++
		return true, nil
	}))
	return n
}

// Pieces that lie in huge pages are as many as those have room for, and what they write is what was logged. Huge pages are taken
// by the first flush that writes much, and given back by the first after there is no memory for them any more.
func TestFlush_InHugePages(t *testing.T) {
	for _, d := range disks {
		fsys, dir := d.open(t)
		k := newKitOn(t, 64, fsys, dir)
		pieces, huge := FlushPieces, true
		k.hooks.Pieces = func() (int, bool) { return pieces, huge }
		flush := func(bytes int, taken bool, ring int) {
			t.Helper()
			k.fill(bytes)
			target := k.cut()
			must(t, k.SyncTo(target))
			if has := k.flusher.buffers.huge != nil; has != taken || k.flusher.ring != ring {
				t.Errorf("%s: a flush of %d bytes has a huge page: %v, and %d pieces, want %v and %d", d.name, bytes, has, k.flusher.ring, taken, ring)
			}
			if n := count(t, kitSegments(fsys, dir), uint64(word.FirstAddress), target); n != k.n {
				t.Errorf("%s: %d records are written, of %d", d.name, n, k.n)
			}
		}
		flush(hugeFlush/2, false, FlushPieces)
		flush(2*hugeFlush, true, maxPieces)
		flush(hugeFlush/2, true, maxPieces) // it is there
		huge = false
		flush(2*hugeFlush, false, FlushPieces)
		pieces = 1
		flush(2*hugeFlush, false, 1)
		pieces, huge = 2, true
		flush(2*hugeFlush, true, maxPieces)
	}
}

// BufferBytes is what the buffers of a flusher come to.
func TestBufferBytes(t *testing.T) {
	for _, x := range []struct {
		pieces int
		page   int64
		huge   bool
		want   int64
	}{
		{4, 128 << 10, false, 512 << 10}, {4, 128 << 10, true, HugeBuffer}, {4, 512 << 10, true, HugeBuffer}, {1, 4 << 20, true, 4 << 20}, {3, 1 << 20, true, 2 * HugeBuffer},
	} {
		if got := BufferBytes(x.pieces, x.page, x.huge); got != x.want {
			t.Errorf("%d pieces of %d bytes, huge %v: %d bytes, want %d", x.pieces, x.page, x.huge, got, x.want)
		}
		var b buffers
		b.fit(x.pieces, uint64(x.page), x.huge)
		sum := int64(0)
		for i := range x.pieces {
			sum += int64(len(b.piece(i, uint64(x.page))))
		}
		if b.huge != nil {
			sum = int64(b.huge.Size())
		}
		if sum != x.want {
			t.Errorf("%d pieces of %d bytes, huge %v: they take %d bytes, want %d", x.pieces, x.page, x.huge, sum, x.want)
		}
		b.free()
	}
}
