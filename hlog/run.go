package hlog

import (
	"context"
	"errors"
	"io/fs"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A run holds what a replay of a stretch of log tells the index (R3). Runs follow each other behind the newest image, so
// that recovery replays only the log behind the last of them. One is written when the log behind that has grown by
// imageWriter.minLog, or by as many records as that is at the least: a version names, when it is committed, runs up to
// nearly its end (R4).
//
// Runs come in classes by the log that they stand for, each class runFan times the one below. The next one takes over
// runs of lower classes that it follows, and runFan-1 of its own; then it is of the next class. So classes descend from
// the image on, there are less than runFan of each, and what is told of a record is written once per class at most: 12
// bytes, for one to four classes up to a log of 16 GiB behind the image.
const (
	runFan = 8
	// runLog is how much log a run adds, in units of imageWriter.minLog: its records are sorted in memory.
	runLog = 4
	// runRecord is the size of a record, in bytes, up to which minLog makes a run due. Of larger ones, which are fewer, it
	// takes more log.
	runRecord = 32
)

// runClass returns the class of a run of so much log.
func runClass(log, unit uint64) (class int) {
	for log /= unit; log >= runFan; log /= runFan {
		class++
	}
	return class
}

// takenOver returns the first of the runs that the one which goes on from the last of them to address to takes over;
// len(runs) if it takes over none.
func takenOver(runs []checkpoint.RunRef, from, to, unit uint64) int {
	n := len(runs)
	for {
		class, same := runClass(to-from, unit), n
		for same > 0 && runClass(runs[same-1].To-runs[same-1].From, unit) == class {
			same--
		}
		switch {
		case n > 0 && runClass(runs[n-1].To-runs[n-1].From, unit) < class:
			same = n - 1
		case n-same < runFan-1:
			return n
		}
		if to-runs[same].From >= index.MaxRunSpan {
			return n
		}
		n, from = same, runs[same].From
	}
}

// runJob is a run that is being written.
type runJob struct {
	claim *ledger.Claim
	older []checkpoint.RunRef // what it takes over
	from  uint64              // where the log begins that is not in them
	end   uint64              // where the log ends that may go into it
	limit uint64              // the first record from here on does not
}

// begin returns where the log of the run begins.
func (j *runJob) begin() uint64 {
	if len(j.older) > 0 {
		return j.older[0].From
	}
	return j.from
}

// runDue returns how much log makes a run due, of records of a mean size in bytes.
func (w *imageWriter) runDue(mean int) uint64 {
	return w.minLog.Load() * uint64(min(max(mean/runRecord, 1), runLog))
}

// mayRun reports whether a log that ends at tail may have enough for a run behind the standing index x; mean is as for
// runDue.
func (w *imageWriter) mayRun(x ledger.Index, tail uint64, mean int) bool {
	return x.Image != nil && tail >= x.ReplayFrom()+w.runDue(mean)
}

// nextRun decides whether a run is due of the log that every version to come will have (R4), whether it is committed yet
// or not; or up to the fuzzy end of the current version, if one is due that this may name. mean is as for runDue. As
// long as the version is due an image, which will make runs superfluous, only as much log makes a run due as it can hold.
func (w *imageWriter) nextRun(now ledger.Now, tail uint64, mean int) (j runJob, due bool) {
	m, x, end := now.Lineage.Parent, now.Index, now.CommonEnd(tail)
	if m == nil || now.Making(ledger.Run) != nil || !w.mayRun(x, end, mean) {
		return j, false
	}
	from, least := x.ReplayFrom(), w.runDue(mean)
	if fuzzy := m.LiveFuzzy(); fuzzy >= from+least {
		end = min(end, fuzzy)
	}
	minLog, writing := w.minLog.Load(), now.Making(ledger.Image)
	switch {
	case end < from+least, writing != nil && end < writing.From+least, writing == nil && w.imageDue(x.Image, m.Cut) && end < from+runLog*minLog:
		return j, false
	}
	limit := from + runLog*minLog
	older := x.Runs[takenOver(x.Runs, from, min(limit, end), minLog):]
	return runJob{older: older, from: from, end: end, limit: limit}, true
}

// withRun returns the index files x with a run in the place of those that it takes over; ok is false when an image has
// come in between and the run is of no use.
func withRun(x ledger.Index, run checkpoint.RunRef) (_ ledger.Index, ok bool) {
	if run.To <= x.Image.ReplayFrom {
		return x, false
	}
	var runs []checkpoint.RunRef
	for _, r := range x.Runs {
		if r.To <= run.From {
			runs = append(runs, r)
		}
	}
	return ledger.Index{Image: x.Image, Runs: append(runs, run)}, true
}

// writeRunsIfDue writes runs of the log in the calling goroutine, until what is left is not worth one or the store closes.
func (s *Store) writeRunsIfDue() { s.writeRuns(s.life.Context()) }

// writeRuns is writeRunsIfDue until ctx ends.
func (s *Store) writeRuns(ctx context.Context) {
	for ctx.Err() == nil && s.writeRunIfDue(ctx) {
	}
}

// writeRunIfDue reports whether there may be more to write.
func (s *Store) writeRunIfDue(ctx context.Context) (more bool) {
	var job runJob
	claim := s.ledger.Claim(ledger.Run, func(now ledger.Now) (want ledger.Want, due bool) {
		job, due = s.images.nextRun(now, s.log.Tail(), s.log.MeanRecord())
		return ledger.Want{From: job.from, Reads: ledger.Index{Runs: job.older}.IDs()}, due
	})
	if claim == nil {
		return false
	}
	job.claim = claim
	if s.check() != nil {
		job.older = nil // merging can wait for the next opening, and Close does not wait for it
	}
	ref, err := s.writeRun(ctx, job)
	if errors.Is(err, ErrCorrupt) && len(job.older) > 0 {
		// A damaged run stays the business of those who need it.
		s.logger.Warn("index runs not merged", "err", err)
		job.older = nil
		ref, err = s.writeRun(ctx, job)
	}
	if err != nil {
		err = errors.Join(err, claim.Drop())
	} else {
		_, err = claim.Publish(func(x ledger.Index) (ledger.Index, bool) { return withRun(x, ref) })
	}
	if err != nil {
		if !errors.Is(err, ErrClosed) && ctx.Err() == nil {
			s.logger.Warn("index run not written; recovery replays more log instead", "err", err)
		}
		return false
	}
	s.counters.imageBytes.Add(ref.Bytes)
	return true
}

// writeRun writes the run.
func (s *Store) writeRun(ctx context.Context, job runJob) (ref checkpoint.RunRef, err error) {
	records, to, err := s.runRecords(ctx, job)
	if err != nil {
		return ref, err
	}
	var older []*index.Run
	for _, r := range job.older {
		run, f, err := s.openRun(r)
		if err != nil {
			return ref, err
		}
		defer f.Close()
		older = append(older, run)
	}
	id, name := job.claim.NewFile()
	f, err := s.root.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return ref, err
	}
	ref = checkpoint.RunRef{ID: id, From: job.begin(), To: to}
	ref.Bytes, err = index.WriteRun(ctx, f, word.Address(ref.From), word.Address(to), records, older...)
	if err != nil {
		err = s.indexError(ledger.Index{Runs: job.older}, err)
	} else {
		err = s.syncAside(f)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.root.SyncDir(s.ledger.ImagesPath())
	}
	return ref, err
}

// runRecords returns the records that the run adds, and where their log ends.
func (s *Store) runRecords(ctx context.Context, job runJob) (records []index.Record, to uint64, err error) {
	of := job.claim.Lineage
	var w *reclog.Walker
	switch closing := s.life.Phase().Ends(); {
	case closing && job.end > of.Parent.Cut:
		return nil, 0, ErrClosed // before the last version has been committed
	case closing:
		w = s.segments.NewWalker() // all of the version is on disk
	default:
		w = s.log.NewWalker()
		defer w.Close()
		s.epochs.Synchronize() // what was being allocated below the tail when the run was claimed is written
	}
	to = job.end
	err = walkVersion(ctx, w, of.Extents(job.end), job.from, job.end, func(a word.Address, rec record.Bytes, sh record.Shape) (bool, error) {
		if uint64(a) >= job.limit {
			to = uint64(a)
			return false, nil
		}
		records = append(records, index.Record{Hash: s.hash(rec.Key(sh)), Address: a})
		return true, nil
	})
	return records, to, err
}

// walkVersion calls fn for the records of a version, whose log the extents are, in [from, to), in ascending order, until
// it returns false: those that do not belong to the version are left out (C4).
func walkVersion(ctx context.Context, w *reclog.Walker, extents []checkpoint.Extent, from, to uint64, fn func(a word.Address, rec record.Bytes, sh record.Shape) (bool, error)) error {
	more := true
	for _, e := range extents {
		if e.End <= from || e.Start >= to || !more {
			continue
		}
		skip := recordSkip(e)
		err := w.Walk(ctx, max(e.Start, from), min(e.End, to), func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if skip(a, rec) {
				return true, nil
			}
			var err error
			more, err = fn(a, rec, sh)
			return more, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// openRun opens the file of a run, which the caller closes.
func (s *Store) openRun(ref checkpoint.RunRef) (*index.Run, fsx.File, error) {
	name := s.ledger.ImagePath(ref.ID)
	f, err := s.root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &CorruptionError{File: name, Reason: "index run is missing"}
	}
	if err != nil {
		return nil, nil, err
	}
	run, err := index.OpenRun(f, ref.Bytes)
	if err == nil && (uint64(run.From) != ref.From || uint64(run.To) != ref.To) {
		err = &index.CorruptError{Reason: "run of other log"}
	}
	if err != nil {
		f.Close()
		return nil, nil, imageError(name, err)
	}
	return run, f, nil
}
