package hlog

import (
	"context"
	"errors"
	"io/fs"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A run holds what a replay of a stretch of log tells the index (R3). Runs follow each other behind the newest image, so
// that recovery replays only the log behind the last of them. One is written when the log behind that has grown by
// imageWriter.minLog since, up to the current version's fuzzy end.
//
// Runs come in classes by the log that they stand for, each class runFan times the one below. The next one takes over
// runs of lower classes that it follows, and runFan-1 of its own; then it is of the next class. So classes descend from
// the image on, there are less than runFan of each, and what is told of a record is written once per class at most: 12
// bytes, for one to four classes up to a log of 16 GiB behind the image.
const (
	runFan = 8
	// runLog is how much log a run adds, in units of imageWriter.minLog: its records are sorted in memory.
	runLog = 4
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
	id      uint64
	retired int
	older   []checkpoint.RunRef // what it takes over
	from    uint64              // where the log begins that is not in them
	end     uint64              // where the log ends that may go into it
	limit   uint64              // the first record from here on does not
}

// begin returns where the log of the run begins.
func (j *runJob) begin() uint64 {
	if len(j.older) > 0 {
		return j.older[0].From
	}
	return j.from
}

// claimRun reserves an id for a run, if one is due; least is the lowest that it may have. fuzzy and cut are those of the
// current version. As long as an image is due, which makes runs superfluous, none is.
func (w *imageWriter) claimRun(fuzzy, cut, least uint64) (j runJob, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.run.id != 0 || w.newest == nil {
		return j, false
	}
	from := w.newest.ReplayFrom
	if n := len(w.runs); n > 0 {
		from = max(from, w.runs[n-1].To)
	}
	if fuzzy <= from || cut-from < w.minLog {
		return j, false
	}
	if w.writing == 0 && w.imageDue(cut) || w.writing != 0 && cut-min(cut, w.writingFrom) < w.minLog {
		return j, false
	}
	w.nextID = max(w.nextID, least)
	limit := from + runLog*w.minLog
	older := w.runs[takenOver(w.runs, from, min(limit, fuzzy), w.minLog):]
	w.run = runJob{id: w.nextID, retired: w.retired, older: older, from: from, end: fuzzy, limit: limit}
	w.nextID++
	w.kept = idsOf(w.newest, w.runs)
	return w.run, true
}

// finishRun puts ref in the place of the runs that it takes over, unless a restore or an image has come in between and
// it is of no use.
func (w *imageWriter) finishRun(ref checkpoint.RunRef, retired int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if retired != w.retired || ref.To <= w.newest.ReplayFrom {
		return
	}
	var runs []checkpoint.RunRef
	for _, r := range w.runs {
		if r.To <= ref.From {
			runs = append(runs, r)
		}
	}
	w.runs = append(runs, ref)
}

// releaseRun ends what claimRun began.
func (w *imageWriter) releaseRun() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run, w.kept = runJob{}, nil
	w.idle.Broadcast()
}

// writeRunsIfDue writes runs of the log that the current version has added, in the calling goroutine, until what is left
// is not worth one.
func (s *Store) writeRunsIfDue() {
	for s.background.Err() == nil && s.writeRunIfDue() {
	}
}

// writeRunIfDue reports whether it has written one.
func (s *Store) writeRunIfDue() bool {
	s.purgeMu.Lock() // a collection that is under way does not know of what is claimed and held meanwhile
	m := s.current()
	if m == nil {
		s.purgeMu.Unlock()
		return false
	}
	// Not from m.Cut on: after a rollback, that may be the id of a run that only a remote still has.
	job, due := s.images.claimRun(members(m).fuzzy, m.Cut, s.versions.NextImageID(s.versions.MaxEnd()))
	if !due {
		s.purgeMu.Unlock()
		return false
	}
	release := s.holdLog(job.from)
	s.purgeMu.Unlock()
	defer release()
	defer s.images.releaseRun()
	if s.current() != m {
		return false // as for an image
	}
	ref, err := s.writeRun(job, m)
	if errors.Is(err, ErrCorrupt) && len(job.older) > 0 {
		// A damaged run stays the business of those who need it.
		s.logger.Warn("index runs not merged", "err", err)
		job.older = nil
		ref, err = s.writeRun(job, m)
	}
	if err == nil {
		s.images.finishRun(ref, job.retired)
		err = s.nameIndex()
	}
	if err != nil {
		if !errors.Is(err, ErrClosed) && s.background.Err() == nil {
			s.logger.Warn("index run not written; recovery replays more log instead", "err", err)
		}
		return false
	}
	s.counters.imageBytes.Add(ref.Bytes)
	return true
}

// writeRun writes the run, as far as version m has log for it.
func (s *Store) writeRun(job runJob, m *checkpoint.Manifest) (ref checkpoint.RunRef, err error) {
	records, to, err := s.runRecords(job, m)
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
	name := s.versions.ImagePath(job.id)
	f, err := s.opts.FS.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return ref, err
	}
	ref = checkpoint.RunRef{ID: job.id, From: job.begin(), To: to}
	ref.Bytes, err = index.WriteRun(s.background, f, word.Address(ref.From), word.Address(to), records, older...)
	if err != nil {
		err = s.indexError(nil, job.older, err)
	} else {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.opts.FS.SyncDir(s.versions.ImagesPath())
	}
	if err != nil {
		return ref, errors.Join(err, s.opts.FS.Remove(name))
	}
	return ref, nil
}

// runRecords returns the records of version m that the run adds, and where their log ends.
func (s *Store) runRecords(job runJob, m *checkpoint.Manifest) (records []index.Record, to uint64, err error) {
	w := walker{log: s.log}
	if s.log.gone.Load() {
		w.log = &hybridLog{segments: s.segments} // the store closes: all of the version is on disk
	} else {
		w.guard = s.epochs.Register()
		defer w.guard.Release()
	}
	to = job.end
	err = walkVersion(s.background, &w, m, job.from, job.end, func(a word.Address, rec image, sh shape) (bool, error) {
		if uint64(a) >= job.limit {
			to = uint64(a)
			return false, nil
		}
		records = append(records, index.Record{Hash: s.hash(rec.key(sh)), Address: a})
		return true, nil
	})
	return records, to, err
}

// walkVersion calls fn for the records of version m in [from, to), in ascending order, until it returns false: those
// that do not belong to the version are left out (C4).
func walkVersion(ctx context.Context, w *walker, m *checkpoint.Manifest, from, to uint64, fn func(a word.Address, rec image, sh shape) (bool, error)) error {
	more := true
	for _, e := range m.Extents {
		if e.End <= from || e.Start >= to || !more {
			continue
		}
		skip := recordSkip(e)
		err := w.walk(ctx, max(e.Start, from), min(e.End, to), func(a word.Address, rec image, sh shape, _ bool) (bool, error) {
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
	name := s.versions.ImagePath(ref.ID)
	f, err := s.opts.FS.Open(name, fsx.Read)
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

// runLoop writes runs when the log has grown.
func (s *Store) runLoop() {
	for {
		select {
		case <-s.background.Done():
			return
		case <-s.grown:
		}
		s.writeRunsIfDue()
	}
}
