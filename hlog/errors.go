package hlog

import (
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Errors about one operation. The store is as it was before the call.
var (
	// ErrNotFound reports that the key has no value.
	ErrNotFound = errors.New("hlog: key not found")

	// ErrTooLarge reports a key of more than 65,535 bytes, a key and value that do not fit into one log page together
	// with their header (Options.PageBytes), or a cookie of more than 16 MiB.
	ErrTooLarge = errors.New("hlog: key or value too large")

	// ErrEmptyKey reports a key of no bytes.
	ErrEmptyKey = errors.New("hlog: empty key")

	// ErrValueSize reports that a Table has found a value whose length is not the size of its value type: it was written
	// as bytes, or by a table of another type.
	ErrValueSize = errors.New("hlog: stored value has another size than the table's value type")

	// ErrUnitNested reports a unit that was begun within a unit of the same session.
	ErrUnitNested = errors.New("hlog: unit within a unit")

	// ErrLength reports that the slices given to a Multi call differ in length.
	ErrLength = errors.New("hlog: slices of a Multi call differ in length")
)

// Errors about the store as a whole.
var (
	// ErrClosed reports that the store, session or view is closed, or was closed while the call waited.
	ErrClosed = reclog.ErrClosed

	// ErrLocked reports that the directory is open already, in this process or in another.
	ErrLocked = fsx.ErrLocked

	// ErrReplaced reports that somebody has removed files of the directory, or put others in their place, an older backup
	// for one, while the store was open. Nothing is committed, collected or rolled back from then on. A directory that is
	// only renamed, or reached by another path than before, goes on being the store's.
	ErrReplaced = fsx.ErrReplaced

	// ErrReadOnly reports a call that would change a store that was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("hlog: store is read-only")

	// ErrCorrupt reports bytes on disk or on the remote that fail their checksum; match it with errors.Is, and the
	// place with errors.As and a *CorruptionError.
	ErrCorrupt = checkpoint.ErrCorrupt

	// ErrFormat reports a directory that was written in a newer format. Nothing in it was touched.
	ErrFormat = checkpoint.ErrFormat

	// ErrLogFull reports that the addresses of the log are used up, after 2^48 bytes (256 TiB) over the lifetime of a
	// directory. What is there can be read; to go on, copy it to a new directory.
	ErrLogFull = reclog.ErrLogFull

	// ErrBudgetFull reports that the Budget of Options.Shared is too small for one more store beside those that are busy.
	// Nothing was opened or made; when one of them is closed, there may be room.
	ErrBudgetFull = errors.New("hlog: the shared budget has no room for one more store")

	// ErrOptions reports an option out of its range; the message names the field, its value and the bound.
	ErrOptions = errors.New("hlog: invalid options")
)

// Errors about versions.
var (
	// ErrRestored reports that the store was restored during a scan, which therefore cannot go on. Scan again.
	ErrRestored = errors.New("hlog: the store was restored during the scan")

	// ErrVersionNotFound reports a version that was never committed, or has been purged.
	ErrVersionNotFound = checkpoint.ErrNotFound

	// ErrVersionOrder reports a version id that is not above every id so far.
	ErrVersionOrder = checkpoint.ErrOrder

	// ErrUnitBusy reports that no cut could be taken, since a unit was under way all the time: see Session.Unit. Or it was
	// Options.Cookie that has not returned, for the versions that have their cookies from it.
	ErrUnitBusy = errors.New("hlog: a unit is under way")

	// ErrVersionInUse reports that a version cannot be purged: the directory opens at it, or a view reads it.
	ErrVersionInUse = checkpoint.ErrInUse

	// ErrNotEmpty reports an import of a whole version into a directory that holds something.
	ErrNotEmpty = checkpoint.ErrNotEmpty

	// ErrBase reports an import of a delta into a directory that does not stand at its base; a *BaseError, with errors.As,
	// says which version that is.
	ErrBase = checkpoint.ErrBase

	// ErrOtherStore reports an import into the directory of another store, a remote that has another store, or views of two
	// stores where they must be of one.
	ErrOtherStore = checkpoint.ErrStoreMismatch

	// ErrRemote reports that a version, or a rollback, is durable in the directory, but has not reached the remote yet. The
	// version can be restored like any other, and the store goes on trying; a rollback comes before any copy. ErrFenced
	// and ErrDiverged say that it will not go on, and are ErrRemote, too. So is the error of a read that a remote has failed
	// or not answered (OpenRemote, Follower, or a store whose directory is being filled); it may be repeated. And so is a
	// directory that was only partly filled, opened without its remote.
	ErrRemote = errors.New("hlog: not copied to the remote")

	// ErrFenced reports that a store with a newer Options.RemoteEpoch has claimed the remote. This one changes the remote
	// no more, however often it is asked to.
	ErrFenced = checkpoint.ErrFenced

	// ErrDiverged reports that another store has gone on, or back, on the remote from where this one was, so that what
	// this one has committed does not descend from what the remote has. It changes the remote no more until it is opened
	// anew; then it either follows the remote, if it has nothing of its own, or is refused. To give the local versions up,
	// open an empty directory.
	ErrDiverged = checkpoint.ErrDiverged
)

// CorruptionError says where damage was found. errors.Is(err, ErrCorrupt) holds for it.
type CorruptionError = checkpoint.CorruptionError

// BaseError says which version a delta continues.
type BaseError = checkpoint.BaseError

func optionError(field string, value, bound any) error {
	return fmt.Errorf("%w: %s is %v, must be %v", ErrOptions, field, value, bound)
}
