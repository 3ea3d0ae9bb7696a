// Package base holds what the baseline engines share and package compare hands on to its users under the same names:
// the settings that are equal for all, the errors, and the remote.
package base

import (
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/compare/internal/record"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Options are the settings that are the same for every engine. Package compare documents and defaults them.
type Options struct {
	FS           fsx.FS
	MemoryBytes  int64
	KeepVersions int // < 0 = all
	NoSync       bool
	PageCache    bool
	Remote       Remote
}

var (
	// ErrClosed is returned by every method of a closed engine.
	ErrClosed = errors.New("compare: engine is closed")
	// ErrKey refuses a key that is empty or longer than 65,535 bytes.
	ErrKey = errors.New("compare: a key has 1 to 65,535 bytes")
	// ErrTooLarge refuses a value that is longer than the engine can hold.
	ErrTooLarge = errors.New("compare: value too large")
	// ErrVersionNotFound says that a version was never committed or is no longer kept.
	ErrVersionNotFound = errors.New("compare: version not found")
	// ErrVersionOrder refuses a version that is not higher than every version tried before.
	ErrVersionOrder = errors.New("compare: versions must ascend")
	// ErrCorrupt is what every CorruptionError is: bytes that are not those that were written.
	ErrCorrupt = errors.New("compare: corrupt")
	// ErrRemote says that the directory holds what was asked for, but the remote does not yet: the next commit, or Close,
	// tries again.
	ErrRemote = errors.New("compare: remote copy is behind")
	// ErrFormat refuses files of another engine or of a newer format. They are left as they are.
	ErrFormat = errors.New("compare: unknown format")
)

// CorruptionError names the damaged place. errors.Is(err, ErrCorrupt) holds for it.
type CorruptionError struct {
	File   string // base name
	Offset int64  // bytes from the start of File
	Reason string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("compare: corrupt: %s at %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes a CorruptionError an ErrCorrupt.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }

// CheckKey returns ErrKey for a key that no engine takes.
func CheckKey(key []byte) error {
	if len(key) == 0 || len(key) > record.MaxKey {
		return ErrKey
	}
	return nil
}

// CheckPair returns ErrKey or ErrTooLarge for what no engine takes.
func CheckPair(key, value []byte) error {
	if len(value) > record.MaxValue {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(value), record.MaxValue)
	}
	return CheckKey(key)
}
