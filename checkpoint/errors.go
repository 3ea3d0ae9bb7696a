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
	// ErrReadOnly: the directory was opened without the right to write.
	ErrReadOnly = errors.New("checkpoint: directory is open read-only")
)

// CorruptionError says which bytes are damaged: File is the path of the file or the name of the remote object, Offset where
// the damage was noticed, in bytes from its start, and Reason what was found. errors.Is(err, ErrCorrupt) holds for it.
type CorruptionError = fsx.CorruptionError

// corrupt returns a *CorruptionError.
func corrupt(file string, offset int, format string, args ...any) error {
	return &CorruptionError{File: file, Offset: int64(offset), Reason: fmt.Sprintf(format, args...)}
}
