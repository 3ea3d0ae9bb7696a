package reclog

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// toldSink keeps what it is told, and checks that it is told of stretches that follow each other.
type toldSink struct {
	t       *testing.T
	at      uint64
	records []Flushed
	rewinds int
}

func (s *toldSink) Flushing(from, to uint64, flushed []Flushed) {
	if from != s.at || to < from {
		s.t.Errorf("told of [%#x, %#x) after %#x", from, to, s.at)
	}
	for _, f := range flushed {
		if n := len(s.records); uint64(f.At) < from || uint64(f.At) >= to || n > 0 && s.records[n-1].At >= f.At {
			s.t.Errorf("told of %#x among [%#x, %#x)", f.At, from, to)
		}
		s.records = append(s.records, f)
	}
	s.at = to
}

func (s *toldSink) Rewind(from uint64) {
	s.rewinds++
	s.at = from
	s.records = slices.DeleteFunc(s.records, func(f Flushed) bool { return uint64(f.At) >= from })
}

// A sink learns of every published record once, in the order of the log, and again of what is written again after a write
// or a sync that failed; of those whose publication failed it learns nothing.
func TestSink_IsToldOfWhatIsOnDisk(t *testing.T) {
	for _, class := range []fsx.Class{fsx.ClassWrite, fsx.ClassSync} {
		disk := fsx.NewErr(fsx.NewCrash(fsx.CrashOptions{Direct: true}))
		sink := &toldSink{t: t, at: uint64(word.FirstAddress)}
		k := newKitTelling(t, 64, disk, "/log", sink)
		published := 2000
		for i := range published {
			a := k.write(i % 300)
			p := k.At(a)
			switch i % 7 {
			case 3:
				record.Abandon(p)
				published--
			case 5:
				r, locked := record.DoorOf(0, uint64(record.LinkAt(p).Version())).Lock(record.See(a, p))
				if !locked {
					t.Fatal("somebody else holds the record")
				}
				r.Delete()
			}
		}
		target := k.cut()
		disk.Inject(fsx.Fault{Class: class, Match: "*.seg", Nth: 2, Err: syscall.EIO}) // the second file, or piece
		var failures int
		for k.SyncTo(target) != nil {
			if failures++; failures > 3 {
				t.Fatal("the fault does not go away")
			}
		}
		if failures != 1 || sink.rewinds != 1 {
			t.Errorf("class %v: %d failures, %d rewinds", class, failures, sink.rewinds)
		}
		var want []Flushed
		must(t, k.segments.NewWalker().Walk(context.Background(), uint64(word.FirstAddress), target, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			want = append(want, Flushed{At: a, Hash: kitHash(rec.Key(sh)), KeyBytes: uint32(len(rec.Key(sh))), Size: uint32(sh.Size), Version: rec.Link().Version(), Tombstone: rec.State().Tombstone()})
			return true, nil
		}))
		if !slices.Equal(sink.records, want) || len(want) != published {
			t.Errorf("class %v: told of %d records, %d are on disk, %d were published", class, len(sink.records), len(want), published)
		}
	}
}

// nullSink drops what it is told.
type nullSink struct{ records int }

func (s *nullSink) Flushing(_, _ uint64, flushed []Flushed) { s.records += len(flushed) }
func (s *nullSink) Rewind(uint64)                           {}

// BenchmarkSumPiece copies a page and gives its records their checksums, with and without a sink. ns/record is what a record takes.
func BenchmarkSumPiece(b *testing.B) {
	for name, sink := range map[string]Sink{"no": nil, "yes": &nullSink{}} {
		b.Run("sink="+name, func(b *testing.B) {
			fsys, dir := disks[0].open(b)
			k := newKitTelling(b, 16, fsys, dir, sink)
			k.fillWith(kitPage, 8)
			from := k.pageStart(k.Tail())
			k.fillWith(kitPage, 8)
			to := k.pageStart(k.Tail())
			records := 0
			began := time.Now()
			for b.Loop() {
				before := k.Totals().Records
				buf := k.copyPiece(0, from, to)
				if err := k.sumPiece(buf, from, len(buf), nil); err != nil {
					b.Fatal(err)
				}
				records += int(k.Totals().Records - before)
			}
			b.ReportMetric(float64(time.Since(began))/float64(records), "ns/record")
		})
	}
}
