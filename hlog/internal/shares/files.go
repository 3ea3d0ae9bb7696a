package shares

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/life"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Files is where the files of an index lie, and those of a cold tier.
type Files struct {
	Root         fsx.Root
	Queues       fsx.Queues
	Ledger       *ledger.Ledger                        // what keeps them; set before they are used
	Life         *life.Life                            // of the store
	SegmentShift uint                                  // the size of a segment of log as a power of two
	Made         func(bytes int64, took time.Duration) // is told what a Writer has made durable
	// Rest lets a commit go first, if one is under way, for about as long as the caller has worked since it last did, and
	// reports whether one was (R6).
	Rest func(worked time.Duration) bool
	// Yield lets others have the processor for a moment, and units as long as a cut waits for them (R6).
	Yield func()

	aside   asideSync
	awaited atomic.Int32 // how many wait for runs or merges, or do them because they need them
}

// Close gives back what is used for syncs. No file is written any more.
func (f *Files) Close() { f.aside.queue.Close() }

// Opened is an index with the files that it may still have to read from.
type Opened struct {
	*index.Index
	Files []fsx.File       // of image and runs
	From  checkpoint.Index // the files that it was opened from
}

// Close gives all up.
func (x Opened) Close() {
	x.Index.Close()
	closeAll(x.Files)
}

func closeAll(files []fsx.File) {
	for _, f := range files {
		f.Close()
	}
}

// OpenIndex opens what the files of version m hold of its index, without the log behind them. distant says that each read of a file
// takes long. An error of the index that is opened is named by Fault.
func (f *Files) OpenIndex(m *checkpoint.Manifest, c index.Config, distant bool) (x Opened, err error) {
	if err := f.check(m); err != nil {
		return x, err
	}
	x.From = m.Index
	source := index.Source{Shares: Of(m.Shares), Drop: word.Address(ledger.LogBegin(m)), Open: f.Open, Distant: distant}
	if m.Image != nil {
		if x.Files, err = f.openOld(m, &source); err != nil {
			return Opened{}, err
		}
	}
	if x.Index, err = index.Open(c, source); err != nil {
		closeAll(x.Files)
		return Opened{}, f.Fault(m.Index, err)
	}
	return x, nil
}

// Open opens the file of a share.
func (f *Files) Open(r index.ShareRef) (index.ShareFile, error) {
	name := f.Ledger.ImagePath(r.ID)
	file, err := f.Root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &checkpoint.CorruptionError{File: name, Reason: "share of the index is missing"}
	}
	return file, err
}

// check returns an error if one of the shares of version m is missing, or not as long as it was written: they are opened
// when they are asked for, but whoever opens a version has to know at once that they are there.
func (f *Files) check(m *checkpoint.Manifest) error {
	if len(m.Shares) == 0 {
		return nil
	}
	entries, err := f.Root.List(f.Ledger.ImagesPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := make(map[string]int64, len(entries))
	for _, e := range entries {
		there[e.Name] = e.Size
	}
	for _, r := range m.Shares {
		path := f.Ledger.ImagePath(r.ID)
		switch n, ok := there[filepath.Base(path)]; {
		case !ok:
			return &checkpoint.CorruptionError{File: path, Reason: "share of the index is missing"}
		case n != r.Bytes:
			return &checkpoint.CorruptionError{File: path, Offset: min(n, r.Bytes), Reason: fmt.Sprintf("%d bytes of a share of %d", n, r.Bytes)}
		}
	}
	return nil
}
