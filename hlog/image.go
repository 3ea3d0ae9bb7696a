package hlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
)

// An index image is the index as it was at one version. It is written after a version has been committed, when the
// log has grown since the last image by imageLog times the bytes that this has, and by minImageLog, and once per version:
// images cost at most an eighth of what the log costs, amortised (the fuzzy end of a version may count for two). Runs
// (run.go) spare recovery most of the log behind the image. Should the version still be the newest when the image is
// finished, its manifest is amended; else its descendants refer to it.
//
// With little memory, so that the log is read back more slowly, a 16th of it replaces minImageLog.
const (
	minImageLog = 2 << 20
	imageLog    = 8
)

// imageWriter knows the newest index image and the runs behind it, and what is written next.
type imageWriter struct {
	amending lock.Mutex[lock.Amending] // held while a manifest gets image and runs, so that none of two undoes the other

	mu          lock.Mutex[lock.Leaf]
	idle        sync.Cond // of mu: nothing is being written
	minLog      uint64    // least log that is worth an image or a run
	newest      *checkpoint.ImageRef
	runs        []checkpoint.RunRef // behind newest, as V10 has it; replaced as a whole
	opened      *checkpoint.ImageRef
	openedRuns  []checkpoint.RunRef // with opened: what adopt was last told
	nextID      uint64              // above every image and run that exists
	writing     uint64              // id of the image being written; 0: none
	writingFrom uint64              // where its replay will begin
	run         runJob              // the run being written; its id is 0: none
	kept        []uint64            // ids of what was there when the run was begun, which may take some over
	naming      []uint64            // ids that are on their way into a manifest
	retired     int                 // counts restores: an image or run begun before one is of no use after it
}

// init sets the pace of images and finds out which ids are taken: a version on another branch may refer to an image
// that is newer than that of the version which the store is opened at.
func (w *imageWriter) init(s *Store) error {
	w.idle.L = &w.mu
	w.minLog = uint64(min(minImageLog, s.opts.MemoryBytes/16))
	entries, err := s.root.List(s.versions.ImagesPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		var id uint64
		if _, err := fmt.Sscanf(e.Name, "%x.img", &id); err == nil && filepath.Base(s.versions.ImagePath(id)) == e.Name {
			w.nextID = max(w.nextID, id+1)
		}
	}
	return nil
}

// adopt makes the image of version m the newest.
func (w *imageWriter) adopt(m *checkpoint.Manifest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retired++
	w.newest, w.runs, w.opened, w.openedRuns = nil, nil, nil, nil
	if m != nil && m.Image != nil {
		w.newest, w.runs, w.opened, w.openedRuns = m.Image, m.Runs, m.Image, m.Runs
	}
}

// source returns the image and the runs that the index was opened from.
func (w *imageWriter) source() (*checkpoint.ImageRef, []checkpoint.RunRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened, w.openedRuns
}

// latest returns the newest image that is whole, of a version that the store has gone on from, and the runs behind it.
// All that descend from that may use them (R2, R3).
func (w *imageWriter) latest() (*checkpoint.ImageRef, []checkpoint.RunRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest, w.runs
}

// live returns the ids of images and runs that no version may refer to yet.
func (w *imageWriter) live() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := slices.Concat(w.kept, w.naming, idsOf(w.newest, w.runs))
	for _, id := range []uint64{w.writing, w.run.id} {
		if id != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// idsOf returns the ids of an image, which may be nil, and of runs.
func idsOf(image *checkpoint.ImageRef, runs []checkpoint.RunRef) (ids []uint64) {
	if image != nil {
		ids = append(ids, image.ID)
	}
	for _, r := range runs {
		ids = append(ids, r.ID)
	}
	return ids
}

// name returns what latest does, for a manifest: until named is called, nothing of it is an orphan. The caller holds
// amending.
func (w *imageWriter) name() (*checkpoint.ImageRef, []checkpoint.RunRef) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.naming = idsOf(w.newest, w.runs)
	return w.newest, w.runs
}

func (w *imageWriter) named() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.naming = nil
}

// wait returns when no image and no run is being written.
func (w *imageWriter) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing != 0 || w.run.id != 0 {
		w.idle.Wait()
	}
}

// claim reserves an id for an image of a version that ends at cut, if one is due; least is the lowest that it may
// have. Replay over that image would begin at from: one that begins there already is as good, however much log the
// version has from there to its end.
func (w *imageWriter) claim(from, cut, least uint64) (id uint64, retired int, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing != 0 || w.newest != nil && from <= w.newest.ReplayFrom || !w.imageDue(cut) {
		return 0, 0, false
	}
	w.nextID = max(w.nextID, least)
	w.writing, w.writingFrom = w.nextID, from
	w.nextID++
	return w.writing, w.retired, true
}

// imageDue reports whether a version that ends at cut has enough log for an image. The caller holds mu.
func (w *imageWriter) imageDue(cut uint64) bool {
	if w.newest == nil {
		return cut >= w.minLog
	}
	return cut-w.newest.ReplayFrom >= max(imageLog*uint64(w.newest.Bytes), w.minLog)
}

// finish makes ref the newest image unless a restore has come in between, and reports whether it did; ref is nil when
// writing failed. The image counts as being written until release.
func (w *imageWriter) finish(ref *checkpoint.ImageRef, retired int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ref == nil || retired != w.retired {
		return false
	}
	w.newest = ref
	var runs []checkpoint.RunRef // the others are superfluous
	for _, r := range w.runs {
		if r.To > ref.ReplayFrom {
			runs = append(runs, r)
		}
	}
	w.runs = runs
	return true
}

// release ends what claim began, when the image has got into a manifest if it ever will: until then a restore, after
// which it is not the newest any more, must not make an orphan of it.
func (w *imageWriter) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing, w.writingFrom = 0, 0
	w.idle.Broadcast()
}

// writeImageIfDue writes an image of the current version, in the calling goroutine, if the log has grown enough to
// pay for it. A restore ends it, and so does Close.
func (s *Store) writeImageIfDue() { s.writeImageWithin(s.longIndexWork()) }

// writeImageWithin is writeImageIfDue that ends with ctx.
func (s *Store) writeImageWithin(ctx context.Context) {
	s.purgeMu.Lock() // a collection that is under way does not know of what is claimed and held meanwhile
	m := s.current()
	if m == nil {
		s.purgeMu.Unlock()
		return
	}
	id, retired, due := s.images.claim(members(m).fuzzy, m.Cut, s.versions.NextImageID(m.Cut))
	release := s.holdLog(members(m).fuzzy) // chains are followed through it, whatever is compacted and purged meanwhile
	s.purgeMu.Unlock()
	defer release()
	if !due {
		return
	}
	defer s.images.release()
	if s.current() != m {
		return // a restore came before the claim, which would not tell; or a commit, which asks for another round
	}
	began := time.Now()
	ref, err := s.writeImage(ctx, id, m)
	s.images.finish(ref, retired)
	if err == nil {
		err = s.nameIndex()
	}
	if err != nil {
		if ctx.Err() == nil {
			s.logger.Warn("index image not written; recovery replays more log instead", "err", err)
		}
		return
	}
	s.counters.imageBytes.Add(ref.Bytes)
	s.events.imageWritten(ref.Bytes, time.Since(began))
}

// nameIndex has the manifest of the current version name the newest image and the runs behind that, if it names others: an
// image that was begun for one version, and finished when the store was at a later one, is of use to that as well (R2).
func (s *Store) nameIndex() error {
	s.images.amending.Lock()
	defer s.images.amending.Unlock()
	c, fresh := s.lineage()
	image, runs := s.images.name()
	defer s.images.named()
	if c == nil || image == nil || !s.amends(fresh) {
		return nil
	}
	m, err := s.versions.Manifest(c.Version) // c is what it was when it was committed
	runs = runsUpTo(runs, members(c).fuzzy)
	if err != nil || m.Image != nil && (m.Image.ID == image.ID && slices.Equal(m.Runs, runs) || replayFrom(image, runs) < replayFrom(m.Image, m.Runs)) {
		return nil // nobody but we amends it; if it is purged, it is not current any more
	}
	_, err = s.versions.Amend(c.Version, *image, runs...)
	return err
}

// amends reports whether the current version's manifest may be replaced, fresh telling whether it was committed since
// the store was opened or restored. One that may be on a remote is not touched: the remote knows it by its checksum. An
// older version may be there even if the store has no remote now.
func (s *Store) amends(fresh bool) bool { return fresh && s.copies.mirror == nil }

// writeImage writes the index as it was at version m, which the store has gone on from.
func (s *Store) writeImage(ctx context.Context, id uint64, m *checkpoint.Manifest) (*checkpoint.ImageRef, error) {
	name := s.versions.ImagePath(id)
	f, err := s.root.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return nil, err
	}
	n, err := s.streamImage(ctx, f, m)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.root.SyncDir(s.versions.ImagesPath())
	}
	if err != nil {
		return nil, errors.Join(err, s.root.Remove(name))
	}
	return &checkpoint.ImageRef{ID: id, Bytes: n, ReplayFrom: members(m).fuzzy}, nil
}

func (s *Store) streamImage(ctx context.Context, f fsx.File, m *checkpoint.Manifest) (int64, error) {
	follow := s.newFollower(m)
	defer follow.guard.Release()
	out := &fileWriter{f: f}
	buffered := bufio.NewWriterSize(out, 256<<10)
	s.tableMu.RLock()
	_, err := s.index().WriteImage(ctx, buffered, logBegin(m), follow.targets)
	s.tableMu.RUnlock()
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Truncate(out.off)
	}
	if err == nil {
		err = s.syncAside(f)
	}
	return out.off, err
}

// fileWriter writes a file from its start.
type fileWriter struct {
	f   fsx.File
	off int64
}

func (w *fileWriter) Write(b []byte) (int, error) {
	n, err := w.f.WriteAt(b, w.off)
	w.off += int64(n)
	return n, err
}

// indexError names the file in an error of an index that was opened from an image and runs.
func (s *Store) indexError(image *checkpoint.ImageRef, runs []checkpoint.RunRef, err error) error {
	var c *index.CorruptError
	switch {
	case errors.As(err, &c) && c.Run > 0 && c.Run <= len(runs):
		return imageError(s.versions.ImagePath(runs[c.Run-1].ID), err)
	case err != nil && image != nil:
		return imageError(s.versions.ImagePath(image.ID), err)
	}
	return err
}

// imageError names the file of a damaged image or run.
func imageError(name string, err error) error {
	var c *index.CorruptError
	if errors.As(err, &c) {
		return &CorruptionError{File: name, Offset: c.Offset, Reason: c.Reason}
	}
	if errors.Is(err, index.ErrFormat) {
		return fmt.Errorf("%w: index image %s: %v", ErrFormat, name, err)
	}
	return fmt.Errorf("index image %s: %w", name, err)
}
