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

// count returns how many records the segments have in [from, to).
func count(t *testing.T, s *Segments, from, to uint64) (n uint64) {
	t.Helper()
	must(t, s.NewWalker().Walk(context.Background(), from, to, func(word.Address, record.Bytes, record.Shape, bool) (bool, error) {
		n++
		return true, nil
	}))
	return n
}
