package hlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// flushSink passes on to the index on disk what the flusher tells.
type flushSink struct {
	s      *Store
	logged []index.Logged
}

// Flushing tells of records that are about to be written. When runs cannot keep up with the flusher, it waits for one:
// what was told and is in none is in memory.
func (k *flushSink) Flushing(from, to uint64, flushed []reclog.Flushed) {
	s := k.s
	k.logged = k.logged[:0]
	for _, f := range flushed {
		k.logged = append(k.logged, index.Logged{Triple: index.MakeTriple(f.Hash, f.At, int(f.Size), f.Tombstone), Version: f.Version})
	}
	if s.disk.Log(word.Address(from), word.Address(to), k.logged) {
		s.background.runs.Wake()
	}
	if behind := maxBehind * s.disk.cut; to > uint64(s.disk.Written())+behind {
		s.writeRunsUpTo(to - behind) // whoever commits learns of an error
	}
}

// Rewind says that the log is written again from an address on.
func (k *flushSink) Rewind(from uint64) {
	k.s.disk.Log(word.Address(from), word.Address(from), nil)
}

// writeRunsUpTo returns when runs stand for the log up to address to, as far as there is any, all of which has been flushed.
// It writes them, unless somebody else does.
func (s *Store) writeRunsUpTo(to uint64) error {
	for tries := 0; ; {
		more, err := s.disk.Await(context.Background(), word.Address(to))
		if !more || err != nil {
			return err
		}
		r, ok := s.disk.TakeRun(true)
		if !ok {
			continue // somebody was faster
		}
		err = s.writeRun(context.Background(), r)
		if tries++; err != nil && tries > 1 {
			return fmt.Errorf("hlog: index run of log [%#x, %#x): %w", r.From, r.To, err)
		}
	}
}

// writeRuns writes the runs that are due.
func (s *Store) writeRuns() {
	for s.check() == nil {
		if !s.disk.Wanted() {
			s.giveWay()
		}
		r, ok := s.disk.TakeRun(false)
		if !ok {
			break
		}
		if err := s.writeRun(s.life.Context(), r); err != nil {
			if s.check() == nil {
				s.logger.Warn("index run not written; it is tried again", "err", err)
			}
			return
		}
	}
	s.background.merges.Wake()
}

// writeRun writes a run, of which each group gets a share of its own.
func (s *Store) writeRun(ctx context.Context, r *index.NewRun) error {
	w := s.newShareWriter(ledger.Run, nil)
	for i := range r.Groups {
		g := &r.Groups[i]
		var err error
		if g.Shares, err = index.WriteTriples(ctx, w.config(), r.From, r.To, g.Triples); err != nil {
			s.disk.FinishRun(r, err)
			return errors.Join(err, w.drop())
		}
	}
	err := w.publish(func() bool { return s.disk.FinishRun(r, nil) })
	if err != nil {
		s.disk.FinishRun(r, err)
	}
	return err
}

// mergeShares does the merges that are worth while. Those of the index go before each one of cold files: a load that demotes has
// cold files to merge without end, and an opening reads a block of all the index shares that are left.
func (s *Store) mergeShares() {
	damaged := map[uint64]bool{} // cold files that take no part
	merged := false
	for more := true; more && s.check() == nil; {
		s.mergeIndex()
		var err error
		if more, err = s.mergeColdOnce(damaged); err != nil && s.check() == nil {
			s.logger.Warn("cold files not merged", "err", err)
		}
		merged = merged || more && err == nil
	}
	if merged {
		s.kickMaintenance() // for the files that nothing needs any more
	}
}

// mergeIndex does the merges of index shares that are worth while. Then more is known to be dead.
func (s *Store) mergeIndex() {
	merged := false
	for s.check() == nil {
		s.giveWay()
		m, ok := s.disk.TakeMerge()
		if !ok {
			break
		}
		if err := s.mergeOnce(m); err != nil {
			s.disk.FinishMerge(m, nil, err)
			if s.check() == nil {
				s.logger.Warn("index shares not merged", "err", s.shareError(err))
			}
			if !errors.As(err, new(*index.CorruptError)) {
				break // it is tried again when the log has grown
			}
			continue
		}
		merged = true
	}
	if merged {
		s.kickMaintenance()
	}
}

// mergeOnce does a merge.
func (s *Store) mergeOnce(m index.Merge) error {
	var reads []uint64
	for _, r := range m.Inputs {
		reads = append(reads, r.ID)
	}
	w := s.newShareWriter(ledger.Merge, reads)
	var inputs []*index.Share
	for _, r := range m.Inputs {
		if err := s.life.Context().Err(); err != nil {
			return errors.Join(err, w.drop())
		}
		f, err := s.openShare(r)
		if err != nil {
			return errors.Join(err, w.drop())
		}
		defer f.Close()
		share, err := index.OpenShare(f, r)
		if err != nil {
			return errors.Join(err, w.drop())
		}
		inputs = append(inputs, share)
	}
	written, err := index.MergeShares(s.life.Context(), w.config(), m, inputs)
	if err != nil {
		return errors.Join(err, w.drop())
	}
	return w.publish(func() bool { return s.disk.FinishMerge(m, written, nil) })
}

// openShare opens the file of a share.
func (s *Store) openShare(r index.ShareRef) (index.ShareFile, error) {
	name := s.ledger.ImagePath(r.ID)
	f, err := s.root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptionError{File: name, Reason: "share of the index is missing"}
	}
	return f, err
}

// checkShares returns an error if one of the shares of version m is missing, or not as long as it was written: they are opened
// when they are asked for, but whoever opens a version has to know at once that they are there.
func (s *Store) checkShares(m *checkpoint.Manifest) error {
	if len(m.Shares) == 0 {
		return nil
	}
	entries, err := s.root.List(s.ledger.ImagesPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	there := make(map[string]int64, len(entries))
	for _, e := range entries {
		there[e.Name] = e.Size
	}
	for _, r := range m.Shares {
		path := s.ledger.ImagePath(r.ID)
		switch n, ok := there[filepath.Base(path)]; {
		case !ok:
			return &CorruptionError{File: path, Reason: "share of the index is missing"}
		case n != r.Bytes:
			return &CorruptionError{File: path, Offset: min(n, r.Bytes), Reason: fmt.Sprintf("%d bytes of a share of %d", n, r.Bytes)}
		}
	}
	return nil
}

// shareWriter makes files for shares.
type shareWriter struct {
	s     *Store
	began time.Time
	claim *ledger.Claim
	drops word.Address // where the log began
	files []fsx.File   // open
}

func (s *Store) newShareWriter(kind ledger.Kind, reads []uint64) *shareWriter {
	w := &shareWriter{s: s, began: time.Now()}
	w.claim = s.ledger.Claim(kind, func(now ledger.Now) (ledger.Want, bool) {
		w.drops = word.Address(now.Lineage.Begin())
		return ledger.Want{From: now.Lineage.Start, Reads: reads}, true
	})
	return w
}

func (w *shareWriter) config() index.MergeConfig {
	return index.MergeConfig{
		Drop: w.drops, MaxBytes: maxShare, SegmentShift: w.s.segmentShift(), Create: w.create,
	}
}

func (w *shareWriter) create() (io.WriterAt, uint64, error) {
	id, name := w.claim.NewFile()
	f, err := w.s.root.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return nil, 0, err
	}
	w.files = append(w.files, f)
	return politeFile{f}, id, nil
}

// publish makes what was written durable, and has take make it a part of the index.
func (w *shareWriter) publish(take func() bool) error {
	if err := w.durable(); err != nil {
		return errors.Join(err, w.drop())
	}
	_, err := w.claim.Publish(take)
	return err
}

// durable makes what was written durable.
func (w *shareWriter) durable() (err error) {
	var n int64
	for _, f := range w.files {
		err = errors.Join(err, w.s.syncAside(f))
		if size, e := f.Size(); e == nil {
			n += size
		}
	}
	if err == nil {
		err = w.close()
	}
	if err == nil {
		err = w.s.root.SyncDir(w.s.ledger.ImagesPath())
	}
	if err != nil {
		return err
	}
	w.s.counters.imageBytes.Add(n)
	w.s.events.imageWritten(n, time.Since(w.began))
	return nil
}

func (w *shareWriter) close() (err error) {
	for _, f := range w.files {
		err = errors.Join(err, f.Close())
	}
	w.files = nil
	return err
}

// drop gives up what was written.
func (w *shareWriter) drop() error { return errors.Join(w.close(), w.claim.Drop()) }

// shareError names the file in an error of a share.
func (s *Store) shareError(err error) error { return s.indexError(checkpoint.Index{}, err) }
