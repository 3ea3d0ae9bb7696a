package shares

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// openOld opens the image and the runs of old that version m names. The index reads from the files as it goes.
func (f *Files) openOld(m *checkpoint.Manifest, source *index.Source) (files []fsx.File, err error) {
	name := f.Ledger.ImagePath(m.Image.ID)
	file, err := f.Root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &checkpoint.CorruptionError{File: name, Reason: "index image is missing"}
	}
	if err != nil {
		return nil, err
	}
	files = []fsx.File{file}
	source.Image, source.ImageBytes = file, m.Image.Bytes
	for _, ref := range m.Runs {
		run, file, err := f.openRun(ref)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		source.Runs, files = append(source.Runs, run), append(files, file)
	}
	return files, nil
}

// openRun opens the file of a run, which the caller closes.
func (f *Files) openRun(ref checkpoint.RunRef) (*index.Run, fsx.File, error) {
	name := f.Ledger.ImagePath(ref.ID)
	file, err := f.Root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &checkpoint.CorruptionError{File: name, Reason: "index run is missing"}
	}
	if err != nil {
		return nil, nil, err
	}
	run, err := index.OpenRun(file, ref.Bytes)
	if err == nil && (uint64(run.From) != ref.From || uint64(run.To) != ref.To) {
		err = &index.CorruptError{Reason: "run of other log"}
	}
	if err != nil {
		file.Close()
		return nil, nil, imageError(name, err)
	}
	return run, file, nil
}

// Fault names the file in an error of an index that was opened from these files, or of a share.
func (f *Files) Fault(from checkpoint.Index, err error) error {
	var c *index.CorruptError
	switch {
	case err == nil || errors.Is(err, checkpoint.ErrCorrupt):
		return err
	case errors.As(err, &c) && c.InShare:
		return imageError(f.Ledger.ImagePath(c.Share), err)
	case errors.As(err, &c) && c.Run > 0 && c.Run <= len(from.Runs):
		return imageError(f.Ledger.ImagePath(from.Runs[c.Run-1].ID), err)
	case from.Image != nil:
		return imageError(f.Ledger.ImagePath(from.Image.ID), err)
	case errors.Is(err, index.ErrFormat):
		return fmt.Errorf("%w: %v", checkpoint.ErrFormat, err)
	}
	return err
}

// imageError names the file of a damaged image or run.
func imageError(name string, err error) error {
	var c *index.CorruptError
	if errors.As(err, &c) {
		return &checkpoint.CorruptionError{File: name, Offset: c.Offset, Reason: c.Reason}
	}
	if errors.Is(err, index.ErrFormat) {
		return fmt.Errorf("%w: index image %s: %v", checkpoint.ErrFormat, name, err)
	}
	return fmt.Errorf("index image %s: %w", name, err)
}
