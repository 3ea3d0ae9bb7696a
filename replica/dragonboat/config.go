package hlograft

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Errors of [Prepare] and [Start], to be matched with [errors.Is]. Nothing has been changed, and the library does not know of
// the replica, when one of them is returned. Errors of hlog.Open come through as they are: hlog.ErrLocked, for one, when
// the replica has not been stopped to its end yet.
var (
	// ErrConfig says what is wrong with a Config.
	ErrConfig = errors.New("hlograft: config")
	// ErrRolledBack says that the state is behind what was durable before: it was lost, or replaced by an older copy. A
	// *RolledBackError has the two indexes. What to do: replace the replica (see the package).
	ErrRolledBack = errors.New("hlograft: the state is behind what was durable")
	// ErrRecord says that the record (T4) of a replica that was started before is missing or damaged. What to do: put it
	// back, or replace the replica.
	ErrRecord = errors.New("hlograft: no record of what was durable")
	// ErrLogLost says that there is state of a replica that the NodeHost has no log of. What to do: put the directory of the
	// NodeHost back, or replace the replica.
	ErrLogLost = errors.New("hlograft: the state is there and the log is not")
	// ErrOtherReplica says that a directory, or a snapshot, belongs to another shard or replica.
	ErrOtherReplica = errors.New("hlograft: of another replica")
	// ErrCookie says that the version a store opens at was not made by a replica.
	ErrCookie = errors.New("hlograft: version without the index of an entry")
	// ErrCurrent says that the file CURRENT is damaged.
	ErrCurrent = errors.New("hlograft: CURRENT is damaged")
)

// Errors of a running replica.
var (
	// ErrClosed is what lookups return when the replica is closed.
	ErrClosed = errors.New("hlograft: replica is closed")
	// ErrApply says that Apply has returned an error, which is wrapped as well. The library ends the process.
	ErrApply = errors.New("hlograft: a batch failed")
	// ErrOrder says that the library has given an entry that was applied before, or entries out of order.
	ErrOrder = errors.New("hlograft: entries out of order")
)

// RolledBackError is an ErrRolledBack.
type RolledBackError struct {
	Dir             string // of the state
	Recorded, Found uint64 // indexes of entries; Found is 0 when there is no state
}

func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%v: %s has entries up to %d, and those up to %d were durable; take the replica out of the shard and add a new one",
		ErrRolledBack, e.Dir, e.Found, e.Recorded)
}

// Is reports whether target is ErrRolledBack.
func (e *RolledBackError) Is(target error) bool { return target == ErrRolledBack }

// Config says what a replica does.
type Config struct {
	// Dir holds the state of this replica, and nothing else.
	Dir string
	// RecordDir is where the record (T4) lies: not in Dir. Empty stands for the directory of the NodeHost, the right
	// place: the record is of use for as long as the log is there.
	RecordDir string
	// Apply applies the commands in Batch.Entries, in order, and sets their results. It is deterministic: what it does to the
	// state follows from the state and the commands alone, however they are divided into batches. After an error the
	// library ends the process, since the replica cannot go on without the entries; a command that makes no sense has a
	// result that says so, and no error. It is called for one batch at a time.
	Apply func(b *Batch) error
	// Query answers a lookup. It may be called from any goroutine, also while Apply runs. NodeHost.SyncRead returns what it
	// returns.
	Query func(r *Reader, query any) (any, error)
	// Options are the options of the store. Cookie, CheckpointEvery, Version, ReadOnly, Remote and RemoteEpoch must not be
	// set; KeepVersions is 1 by default, since a replica never goes back. For many replicas in one process set Shared.
	// While a snapshot is taken in there are two stores.
	Options hlog.Options
}

// check fills in defaults, or says what is wrong.
func (c *Config) check() error {
	o := &c.Options
	bad := ""
	switch {
	case c.Dir == "":
		bad = "Dir is empty"
	case c.Apply == nil || c.Query == nil:
		bad = "Apply and Query are needed"
	case o.CheckpointEvery != 0:
		bad = "Options.CheckpointEvery is set: its cuts would fall into batches"
	case o.Version != 0:
		bad = "Options.Version is set: a replica cannot go back to entries that the log does not have"
	case o.ReadOnly, o.Cookie != nil, o.Remote != nil, o.RemoteEpoch != 0:
		bad = "Options sets ReadOnly, Cookie, Remote or RemoteEpoch"
	}
	if bad != "" {
		return fmt.Errorf("%w: %s", ErrConfig, bad)
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	records, err := filepath.Abs(c.RecordDir)
	if err != nil {
		return err
	}
	if rel, err := filepath.Rel(dir, records); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("%w: RecordDir %s is in Dir %s, and would be lost with it", ErrConfig, records, dir)
	}
	c.Dir, c.RecordDir = dir, records
	if o.KeepVersions == 0 {
		o.KeepVersions = 1
	}
	if o.FS == nil {
		o.FS = fsx.OS()
	}
	return nil
}
