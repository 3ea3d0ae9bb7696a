package checkpoint

import (
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

var (
	// ErrNotFound: there is no such version here, or it was purged. Nothing was touched.
	ErrNotFound = errors.New("checkpoint: version not found")
	// ErrOrder: a version's id is not above every id so far, or its parent is not the current version.
	ErrOrder = errors.New("checkpoint: version out of order")
	// ErrInUse: the version is current or pinned, and cannot be purged.
	ErrInUse = errors.New("checkpoint: version in use")
	// ErrCorrupt: bytes that came back are not the bytes that were written. Always carried by a *CorruptionError.
	ErrCorrupt = fsx.ErrCorrupt
	// ErrFormat: a file was written by a newer release. Nothing was touched.
	ErrFormat = errors.New("checkpoint: format is newer than this release")
	// ErrReplaced: somebody has removed files of the directory, or put others in their place, while it was open. Nothing
	// was written or removed.
	ErrReplaced = fsx.ErrReplaced
	// ErrFilling: the directory has no version yet, because it was being filled from a remote, which is missing. Such an
	// error is ErrCorrupt, too.
	ErrFilling = errors.New("checkpoint: directory is not filled yet")

	// ErrNotEmpty: the directory that a whole version is to be imported into holds something.
	ErrNotEmpty = errors.New("checkpoint: directory is not empty")
	// ErrBase: a delta was to be imported into a directory that does not stand at its base. Always carried by a *BaseError.
	ErrBase = errors.New("checkpoint: not at the base of the delta")
	// ErrReadOnly: the directory was opened without the right to write.
	ErrReadOnly = errors.New("checkpoint: directory is open read-only")
)

// BaseError says which version a delta continues, and which one the directory stands at, 0 for none. Other tells that this
// has the same id, but other files: import the whole version. errors.Is(err, ErrBase) holds for it.
type BaseError struct {
	Base, Here Version
	Other      bool
}

func (e *BaseError) Error() string {
	switch {
	case e.Here == 0:
		return fmt.Sprintf("%v: it continues version %d, no version is here", ErrBase, e.Base)
	case e.Other:
		return fmt.Sprintf("%v: it continues version %d, of which the one here has other files", ErrBase, e.Base)
	}
	return fmt.Sprintf("%v: it continues version %d, the directory is at version %d", ErrBase, e.Base, e.Here)
}

// Unwrap returns ErrBase.
func (e *BaseError) Unwrap() error { return ErrBase }

// CorruptionError says which bytes are damaged: File is the path of the file or the name of the remote object, Offset where
// the damage was noticed, in bytes from its start, and Reason what was found. errors.Is(err, ErrCorrupt) holds for it.
type CorruptionError = fsx.CorruptionError

// corrupt returns a *CorruptionError.
func corrupt(file string, offset int, format string, args ...any) error {
	return &CorruptionError{File: file, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}
