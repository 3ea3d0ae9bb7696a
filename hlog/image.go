package hlog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
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

// imageWriter sets the pace of images and runs.
type imageWriter struct {
	patient patientSync

	minLog atomic.Uint64                // least log that is worth an image or a run
	of     atomic.Pointer[ledger.Index] // see source
}

func (w *imageWriter) init(memoryBytes int64) {
	w.minLog.Store(uint64(min(minImageLog, memoryBytes/16)))
}

// opened says that the index in memory was opened from that of version m, nil for an empty one.
func (w *imageWriter) opened(m *checkpoint.Manifest) {
	x := ledger.IndexOf(m)
	w.of.Store(&x)
}

// source returns the files that the index in memory was opened from.
func (w *imageWriter) source() ledger.Index { return *w.of.Load() }

// due decides whether an image of the current version is. Replay over it would begin at the version's fuzzy end: an image
// whose replay begins there already is as good, however much log the version has from there to its end. Chains are
// followed through the log from there on.
func (w *imageWriter) due(now ledger.Now) (want ledger.Want, due bool) {
	m := now.Lineage.Parent
	if m == nil || now.Making(ledger.Image) != nil || !w.imageDue(now.Index.Image, m.Cut) {
		return want, false
	}
	want.From = m.LiveFuzzy()
	return want, now.Index.Image == nil || want.From > now.Index.Image.ReplayFrom
}

// imageDue reports whether a version that ends at cut has enough log for an image, newest being the newest.
func (w *imageWriter) imageDue(newest *checkpoint.ImageRef, cut uint64) bool {
	if newest == nil {
		return cut >= w.minLog.Load()
	}
	return cut-newest.ReplayFrom >= max(imageLog*uint64(newest.Bytes), w.minLog.Load())
}

// writeImageIfDue writes an image of the current version, in the calling goroutine, if the log has grown enough to
// pay for it. A restore ends it, and so does Close.
func (s *Store) writeImageIfDue() { s.writeImageWithin(s.longIndexWork()) }

// writeImageWithin is writeImageIfDue that ends with ctx.
func (s *Store) writeImageWithin(ctx context.Context) {
	claim := s.ledger.Claim(ledger.Image, s.images.due)
	if claim == nil {
		return
	}
	began := time.Now()
	ref, err := s.writeImage(ctx, claim)
	if err != nil {
		err = errors.Join(err, claim.Drop())
	} else {
		_, err = claim.Publish(func(x ledger.Index) (ledger.Index, bool) {
			behind := slices.DeleteFunc(slices.Clone(x.Runs), func(r checkpoint.RunRef) bool { return r.To <= ref.ReplayFrom })
			return ledger.Index{Image: ref, Runs: behind}, true
		})
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

// writeImage writes the index as it was at the version which the store had gone on from when the image was claimed.
func (s *Store) writeImage(ctx context.Context, claim *ledger.Claim) (*checkpoint.ImageRef, error) {
	m := claim.Lineage.Parent
	id, name := claim.NewFile()
	f, err := s.root.Open(name, fsx.Write|fsx.Create|fsx.Exclusive)
	if err != nil {
		return nil, err
	}
	n, err := s.streamImage(ctx, f, m)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.root.SyncDir(s.ledger.ImagesPath())
	}
	if err != nil {
		return nil, err
	}
	return &checkpoint.ImageRef{ID: id, Bytes: n, ReplayFrom: m.LiveFuzzy()}, nil
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

// indexError names the file in an error of an index, or of a run, that was opened from these files.
func (s *Store) indexError(from ledger.Index, err error) error {
	var c *index.CorruptError
	switch {
	case errors.As(err, &c) && c.Run > 0 && c.Run <= len(from.Runs):
		return imageError(s.ledger.ImagePath(from.Runs[c.Run-1].ID), err)
	case err != nil && from.Image != nil:
		return imageError(s.ledger.ImagePath(from.Image.ID), err)
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
