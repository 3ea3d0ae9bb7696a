package checkpoint

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound: there is no such version here, or it was purged. Nothing was touched.
	ErrNotFound = errors.New("checkpoint: version not found")
	// ErrOrder: a version's id is not above every id so far, or its parent is not the current version.
	ErrOrder = errors.New("checkpoint: version out of order")
	// ErrInUse: the version is current or pinned, and cannot be purged.
	ErrInUse = errors.New("checkpoint: version in use")
	// ErrCorrupt: bytes that came back are not the bytes that were written. Always carried by a *CorruptionError.
	ErrCorrupt = errors.New("checkpoint: corrupt")
	// ErrFormat: a file was written by a newer release. Nothing was touched.
	ErrFormat = errors.New("checkpoint: format is newer than this release")
	// ErrReadOnly: the directory was opened without the right to write.
	ErrReadOnly = errors.New("checkpoint: directory is open read-only")
)

// CorruptionError says which bytes are damaged. errors.Is(err, ErrCorrupt) holds for it.
type CorruptionError struct {
	File   string // path of the file, or name of the remote object
	Offset int64  // where the damage was noticed, in bytes from the file's start
	Reason string
}

// Error names file, offset and reason.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("corrupt data in %s at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes every CorruptionError an ErrCorrupt.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }

// corrupt returns a *CorruptionError.
func corrupt(file string, offset int, format string, args ...any) error {
	return &CorruptionError{File: file, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}
