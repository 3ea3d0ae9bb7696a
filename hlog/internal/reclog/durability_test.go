package reclog

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// What a sync that failed has covered, the bytes of a segment or the names of new ones, is done again before the next one:
// that it succeeds would say nothing about what was dropped (D6).
func TestSync_DoesAgainWhatOneThatFailedHasCovered(t *testing.T) {
	for _, match := range []string{"*.seg", "/log", "begun ahead: *.seg"} {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: true})
		k := newKitOn(t, 64, disk, "/log")
		k.fill(kitSegment + kitPage) // two segments, all of it in memory
		target := k.cut()
		match, ahead := strings.CutPrefix(match, "begun ahead: ")
		if ahead {
			must(t, k.FlushTo(target))
		}
		disk.FailSync(fsx.SyncFailOnce, match)
		if err := k.SyncTo(target); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrNotDurable) {
			t.Fatalf("%s: the sync that fails: %v", match, err)
		}
		if d := k.Durability(); d.Durable() >= target || d.Lost() != nil {
			t.Fatalf("%s: durable up to %#x, lost: %v", match, d.Durable(), d.Lost())
		}
		disk.FailSync(fsx.SyncHonest, "")
		must(t, k.SyncTo(target))
		if got := k.Durability().Durable(); got < target {
			t.Fatalf("%s: durable up to %#x, not %#x", match, got, target)
		}
		if n := count(t, kitSegments(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), "/log"), uint64(word.FirstAddress), target); n != k.n {
			t.Errorf("%s: %d records are durable, of %d", match, n, k.n)
		}
	}
}

// A sync that was begun ahead has made nothing durable before it has ended, and nothing at all that was written after it began (D8).
func TestSync_BegunAheadCountsForWhatWasWritten(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{Direct: true})
	k := newKitOn(t, 64, disk, "/log")
	durable := func(target uint64) {
		t.Helper()
		if got := k.Durability().Durable(); got != target {
			t.Fatalf("durable up to %#x, not %#x", got, target)
		}
		if n := count(t, kitSegments(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), "/log"), uint64(word.FirstAddress), target); n != k.n {
			t.Errorf("%d records are durable, of %d", n, k.n)
		}
	}
	before := k.Durability().Durable()
	k.fill(kitPage)
	first := k.cut()
	must(t, k.FlushTo(first))
	if got := k.Durability().Durable(); got != before {
		t.Fatalf("durable up to %#x, though nobody has waited for the sync", got)
	}
	must(t, k.SyncTo(first))
	durable(first)

	k.fill(kitPage)
	must(t, k.FlushTo(k.cut()))
	k.fill(kitSegment) // a file that was not there when the sync began
	last := k.cut()
	must(t, k.FlushTo(last))
	must(t, k.SyncTo(last))
	durable(last)
}

// If some of it has left memory, nothing becomes durable any more, until that is abandoned (D6).
func TestSync_LostUntilAbandoned(t *testing.T) {
	for _, match := range []string{"*.seg", "/log"} {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: true})
		k := newKitOn(t, 16, disk, "/log")
		k.fill(kitPage)
		durable := k.cut()
		must(t, k.SyncTo(durable))
		k.fill(2 * kitSegment) // more than memory holds, and a new segment
		disk.FailSync(fsx.SyncFailOnce, match)
		if err := k.SyncTo(k.cut()); !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: the sync that fails: %v", match, err)
		}
		disk.FailSync(fsx.SyncHonest, "")
		for range 2 {
			k.fill(kitPage)
			if err := k.SyncTo(k.cut()); !errors.Is(err, ErrNotDurable) || !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: the one after it: %v", match, err)
			}
		}
		if d := k.Durability(); d.Durable() < durable || d.Durable() > durable+BlockBytes || !errors.Is(d.Lost(), syscall.EIO) {
			t.Errorf("%s: durable up to %#x, want %#x; lost: %v", match, d.Durable(), durable, d.Lost())
		}
		from := k.cut()
		k.Abandon()
		k.n = 0
		k.fill(kitPage)
		target := k.cut()
		must(t, k.SyncTo(target))
		clone := kitSegments(disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), "/log")
		if n := count(t, clone, from, target); n != k.n {
			t.Errorf("%s: %d records are durable since, of %d", match, n, k.n)
		}
	}
}

// A log that is closed uses no file any more.
func TestCloseQueues_GivesFilesBack(t *testing.T) {
	k := newKit(t, 16)
	k.fill(2 * kitSegment)
	if len(k.durability.files) == 0 {
		t.Fatal("no file waits for its sync")
	}
	k.CloseQueues()
	for n, g := range k.segments.open {
		if refs := g.refs.Load(); refs != 1 {
			t.Errorf("segment %d has %d users", n, refs-1)
		}
	}
}
