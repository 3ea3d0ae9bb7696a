package hlog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// openOld opens the image and the runs of old that version m names. The index reads from the files as it goes.
func (s *Store) openOld(m *checkpoint.Manifest, source *index.Source) (files []fsx.File, err error) {
	name := s.ledger.ImagePath(m.Image.ID)
	f, err := s.root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &CorruptionError{File: name, Reason: "index image is missing"}
	}
	if err != nil {
		return nil, err
	}
	files = []fsx.File{f}
	source.Image, source.ImageBytes = f, m.Image.Bytes
	for _, ref := range m.Runs {
		run, f, err := s.openRun(ref)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		source.Runs, files = append(source.Runs, run), append(files, f)
	}
	return files, nil
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

// indexError names the file in an error of an index that was opened from these files, or of a share.
func (s *Store) indexError(from checkpoint.Index, err error) error {
	var c *index.CorruptError
	switch {
	case err == nil || errors.Is(err, ErrCorrupt):
		return err
	case errors.As(err, &c) && c.InShare:
		return imageError(s.ledger.ImagePath(c.Share), err)
	case errors.As(err, &c) && c.Run > 0 && c.Run <= len(from.Runs):
		return imageError(s.ledger.ImagePath(from.Runs[c.Run-1].ID), err)
	case from.Image != nil:
		return imageError(s.ledger.ImagePath(from.Image.ID), err)
	case errors.Is(err, index.ErrFormat):
		return fmt.Errorf("%w: %v", ErrFormat, err)
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
