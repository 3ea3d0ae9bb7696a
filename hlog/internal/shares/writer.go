package shares

import (
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Writer makes files for shares.
type Writer struct {
	Claim *ledger.Claim

	f     *Files
	kind  ledger.Kind
	began time.Time
	drops word.Address // where the log began
	files []fsx.File   // open
}

// NewWriter returns a Writer that reads some standing files and has none yet. It ends with Publish of its Claim, or with Drop.
func (f *Files) NewWriter(kind ledger.Kind, reads []uint64) *Writer {
	w := &Writer{f: f, kind: kind, began: time.Now()}
	w.Claim = f.Ledger.Claim(kind, func(now ledger.Now) (ledger.Want, bool) {
		w.drops = word.Address(now.Lineage.Begin())
		return ledger.Want{From: now.Lineage.Start, Reads: reads}, true
	})
	return w
}

func (w *Writer) config() index.MergeConfig {
	return index.MergeConfig{
		Drop: w.drops, MaxBytes: MaxBytes, SegmentShift: w.f.SegmentShift, Create: w.Create,
	}
}

// Create makes a file.
func (w *Writer) Create() (io.WriterAt, uint64, error) {
	id, name := w.Claim.NewFile()
	f, err := w.f.Root.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return nil, 0, err
	}
	w.files = append(w.files, f)
	if w.kind == ledger.Run {
		return &runFile{File: f, awaited: &w.f.awaited, yield: w.f.Yield}, id, nil
	}
	return &mergedFile{File: f, awaited: &w.f.awaited, rest: w.f.Rest, worked: w.began, sync: w.f.syncAside}, id, nil
}

// publish makes what was written durable, and has take make it a part of the index.
func (w *Writer) publish(take func() bool) error {
	if err := w.Durable(); err != nil {
		return errors.Join(err, w.Drop())
	}
	_, err := w.Claim.Publish(take)
	return err
}

// Durable makes what was written durable.
func (w *Writer) Durable() (err error) {
	var n int64
	for _, f := range w.files {
		err = errors.Join(err, w.f.syncAside(f))
		if size, e := f.Size(); e == nil {
			n += size
		}
	}
	if err == nil {
		err = w.close()
	}
	if err == nil {
		err = w.f.Root.SyncDir(w.f.Ledger.ImagesPath())
	}
	if err != nil {
		return err
	}
	w.f.Made(n, time.Since(w.began))
	return nil
}

func (w *Writer) close() (err error) {
	for _, f := range w.files {
		err = errors.Join(err, f.Close())
	}
	w.files = nil
	return err
}

// Drop gives up what was written.
func (w *Writer) Drop() error { return errors.Join(w.close(), w.Claim.Drop()) }

// runFile is a file of a run that is being written. Others have the processor between two writes: whoever comes back from the
// disk would wait for the end of a time slice else, and a commit comes back several times. But while somebody waits for the run
// nobody is to have it: where goroutines never yield, each write would wait for a time slice of each of them.
type runFile struct {
	fsx.File
	awaited *atomic.Int32
	yield   func() // Files.Yield
}

func (f *runFile) WriteAt(p []byte, off int64) (int, error) {
	if f.awaited.Load() == 0 {
		f.yield()
	}
	return f.File.WriteAt(p, off)
}

// mergedFile is a file that is written by a merge or a demotion, which lets a commit go first between two writes (R6), unless
// somebody waits for merges. To yield is not enough: the goroutine that yields is the one that the runtime takes up again, while
// what the commit has begun waits in the queue of another processor. What it writes becomes durable in portions (R8).
type mergedFile struct {
	fsx.File
	awaited *atomic.Int32
	rest    func(worked time.Duration) bool
	worked  time.Time // since when
	sync    func(fsx.File) error
	written int // since the last sync
}

// syncPortion is how much of a merged file is written between two syncs.
const syncPortion = 1 << 20

func (f *mergedFile) giveWay() {
	if f.rest(time.Since(f.worked)) {
		f.worked = time.Now()
	} else {
		runtime.Gosched()
	}
}

func (f *mergedFile) WriteAt(p []byte, off int64) (int, error) {
	if f.awaited.Load() > 0 {
		return f.File.WriteAt(p, off) // whoever waits for it syncs it all
	}
	f.giveWay()
	if f.written >= syncPortion {
		f.written = 0
		if err := f.sync(f.File); err != nil {
			return 0, err
		}
		f.giveWay()
	}
	n, err := f.File.WriteAt(p, off)
	f.written += n
	return n, err
}
