package hlog

import (
	"bufio"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// An index image is written when the log has grown by as many bytes as the last image has, and by minImageLog: images
// cost at most as much again as the log itself, amortised, and recovery replays no more log than that.
const minImageLog = 8 << 20

// imageWriter knows the newest index image and writes the next.
type imageWriter struct {
	mu      sync.Mutex
	newest  *checkpoint.ImageRef
	opened  *checkpoint.ImageRef // what adopt was last told
	bits    uint                 // of the index in it
	nextID  uint64               // above every image that exists
	writing uint64               // id of the one being written; 0: none
	retired int                  // counts restores: an image begun before one is of no use after it
}

// adopt makes the image of version m the newest.
func (w *imageWriter) adopt(m *checkpoint.Manifest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retired++
	w.newest, w.opened = nil, nil
	if m != nil && m.Image != nil {
		w.newest, w.opened, w.bits = m.Image, m.Image, auxBits(m.Aux)
		w.nextID = max(w.nextID, m.Image.ID+1)
	}
}

// source returns the image that the index was opened from.
func (w *imageWriter) source() *checkpoint.ImageRef {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened
}

// latest returns the newest image that is whole. A version may use it if it begins later: its entries point at
// nothing beyond what the store had written when it was finished.
func (w *imageWriter) latest() *checkpoint.ImageRef {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

// live returns the ids of images that no version may refer to yet.
func (w *imageWriter) live() []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := []uint64{}
	if w.newest != nil {
		ids = append(ids, w.newest.ID)
	}
	if w.writing != 0 {
		ids = append(ids, w.writing)
	}
	return ids
}

// claim reserves an id for a new image if one is due with the log at tail.
func (w *imageWriter) claim(tail uint64, bits uint) (id uint64, retired int, due bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.writing != 0 {
		return 0, 0, false
	}
	grown, size := tail, int64(0)
	if w.newest != nil {
		grown, size = tail-w.newest.ReplayFrom, w.newest.Bytes
	}
	if grown < uint64(max(size, minImageLog)) && !(w.newest != nil && bits > w.bits) {
		return 0, 0, false
	}
	w.nextID = max(w.nextID, 1)
	w.writing = w.nextID
	w.nextID++
	return w.writing, w.retired, true
}

// finish makes ref the newest image unless a restore has come in between; ref is nil when writing failed.
func (w *imageWriter) finish(ref *checkpoint.ImageRef, bits uint, retired int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = 0
	if ref != nil && retired == w.retired {
		w.newest, w.bits = ref, bits
	}
}

// writeImageIfDue writes an index image in the calling goroutine if the log has grown enough to pay for it.
func (s *Store) writeImageIfDue() {
	bits := s.index().Bits()
	id, retired, due := s.images.claim(s.log.tail.Load(), bits)
	if !due {
		return
	}
	began := time.Now()
	ref, err := s.writeImage(id)
	s.images.finish(ref, bits, retired)
	if err != nil {
		s.logger.Warn("index image not written; recovery replays more log instead", "err", err)
		return
	}
	s.counters.imageBytes.Add(ref.Bytes)
	s.opts.Events.imageWritten(ref.Bytes, time.Since(began))
}

// writeImage writes the index as it is at some moments between now and when it returns. Replaying the log from the
// tail of now makes it that of any version that is cut later: everything allocated below that tail has been
// published before an entry is read.
func (s *Store) writeImage(id uint64) (*checkpoint.ImageRef, error) {
	from := s.log.tail.Load()
	s.epochs.Synchronize()
	name := s.versions.ImagePath(id)
	f, err := s.opts.FS.Open(name, fsx.Write|fsx.Create)
	if err != nil {
		return nil, err
	}
	n, err := s.streamImage(f)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.opts.FS.SyncDir(s.versions.ImagesPath())
	}
	if err != nil {
		return nil, errors.Join(err, s.opts.FS.Remove(name))
	}
	return &checkpoint.ImageRef{ID: id, Bytes: n, ReplayFrom: from}, nil
}

func (s *Store) streamImage(f fsx.File) (int64, error) {
	out := &fileWriter{f: f}
	buffered := bufio.NewWriterSize(out, 256<<10)
	s.tableMu.RLock()
	_, err := s.index().WriteImage(s.background, buffered, word.Address(s.log.begin.Load()))
	s.tableMu.RUnlock()
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Truncate(out.off)
	}
	if err == nil {
		err = f.Sync()
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

// imageError names the file of a damaged image.
func imageError(name string, err error) error {
	var c *index.CorruptError
	if errors.As(err, &c) {
		return &CorruptionError{File: name, Offset: c.Offset, Reason: c.Reason}
	}
	return fmt.Errorf("index image %s: %w", name, err)
}
