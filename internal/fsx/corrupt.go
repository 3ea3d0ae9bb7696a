package fsx

import (
	"errors"
	"fmt"
)

// ErrCorrupt reports bytes that came back and are not the bytes that were written. It is always carried by a
// *CorruptionError.
var ErrCorrupt = errors.New("corrupt data")

// CorruptionError says which bytes are damaged. errors.Is(err, ErrCorrupt) holds for it. Whoever knows what the bytes of
// a file must look like makes one; the file system itself never does.
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
