package hlogstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// Errors that [Worker.Run] returns, to be matched with [errors.Is].
var (
	// ErrSourceGap says that messages which were never read are not in the source any more (X14). What to do: restore the
	// stream, or remove the partition's versions and begin anew, or accept the loss by Config.AcceptGap.
	ErrSourceGap = errors.New("hlogstream: the source has lost messages that were not read")
	// ErrSourceShort says that the source ends before the sequence that was read last (X14): it has lost its tail, or is
	// another stream. What to do: restore the stream, or open the partition at an older version.
	ErrSourceShort = errors.New("hlogstream: the source ends before what was read")
	// ErrOutput says that the output stream is not what this partition has written: it has more, or less, than went out.
	ErrOutput = errors.New("hlogstream: the output stream has other messages than went out")
	// ErrCookie says that the newest version of a partition was not made by a worker.
	ErrCookie = errors.New("hlogstream: version without the sequence it was read up to")
	// ErrProcess says that Process has returned an error, which is wrapped as well.
	ErrProcess = errors.New("hlogstream: a batch failed")
	// ErrConfig says what is wrong with a Config.
	ErrConfig = errors.New("hlogstream: config")
)

// Message is a message of a source.
type Message struct {
	Sequence uint64 // in its partition: ascending, gaps allowed
	Time     time.Time
	Subject  string
	Data     []byte
}

// Source is a log with partitions, which keeps what was read for as long as somebody may read it again. Its methods are
// safe for concurrent use.
type Source interface {
	// Bounds returns the sequences of the first and the last message that a partition has. With none of them first is the
	// one that the next message will have, and last the one before.
	Bounds(ctx context.Context, partition int) (first, last uint64, err error)
	// Open begins to read a partition at a sequence, or behind it if there is no such message.
	Open(ctx context.Context, partition int, from uint64) (Reader, error)
}

// Reader reads a partition in order. It is used by one goroutine.
type Reader interface {
	// Read appends up to most messages to dst and returns. It waits for the first one until ctx ends, which is no error.
	Read(ctx context.Context, dst []Message, most int) ([]Message, error)
	Close() error
}

// Outputs is where batches emit to: one log per partition, which nobody else writes to and whose messages are numbered from
// 1 on. Its methods are safe for concurrent use.
type Outputs interface {
	// Last returns the number of the last message, 0 if there never was one.
	Last(ctx context.Context, partition int) (uint64, error)
	// Publish appends messages, of which the first has number first, if first-1 is the last one there. It returns how many
	// of them are certainly there. After an error, Last tells.
	Publish(ctx context.Context, partition int, first uint64, messages [][]byte) (int, error)
}

// Config says what a worker does.
type Config struct {
	// Name tells the workers of one group apart: letters, digits, - and _. No two that run have the same.
	Name string
	// Dir holds the local directory of each partition. Workers on one machine have one each.
	Dir string
	// Partitions is their number, numbered from 0 on. It is the same for all workers and never changes.
	Partitions int
	Source     Source
	// Outputs is what Batch.Emit writes to; nil if no batch emits.
	Outputs Outputs
	Leases  *Leases
	// Remote returns where a partition's versions go. It is needed when there is more than one worker; nil keeps them in
	// Dir alone.
	Remote func(partition int) (checkpoint.Remote, error)
	// Process applies a batch. It is called for one batch of a partition at a time, and for several partitions at once.
	// After an error nothing of the batch is kept: the partition goes back to its last version, and Run returns the error.
	Process func(b *Batch) error
	// Keys, if it is not nil, appends the keys that Process will ask for on behalf of a message, so that they can be read
	// while the batch before is worked on.
	Keys func(m Message, keys [][]byte) [][]byte

	// CheckpointEvery is the time between two versions of a partition; 0 is one second. Outputs wait for it.
	CheckpointEvery time.Duration
	// BatchMessages is the most messages of a batch; 0 is 1,000.
	BatchMessages int
	// LeaseTime is how long a worker that says nothing keeps its partitions; 0 is ten seconds.
	LeaseTime time.Duration
	// Options are the options of each store; Remote, RemoteEpoch, Cookie, CheckpointEvery and Version are the worker's.
	Options hlog.Options
	// AcceptGap accepts the loss that ErrSourceGap is about, for one partition.
	AcceptGap func(partition int, cookie, first uint64) bool
	// Logger is told of partitions that come and go; nil is silent.
	Logger *slog.Logger
	// Events is called when a partition is ready for its first message, with how long it took; nil is nobody.
	Events func(Event)
}

// Event tells what became of a partition.
type Event struct {
	Partition int
	Kind      EventKind
	Sequence  uint64        // read up to
	Took      time.Duration // of opening: from the lease on
	Err       error
}

// EventKind is a kind of [Event].
type EventKind int

// The kinds of events.
const (
	Opened    EventKind = iota // it is ready for messages
	Committed                  // a version is durable
	Closed                     // it was given up after a last version
	Lost                       // somebody else has it
)

var names = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// check fills in defaults, or says what is wrong.
func (c *Config) check() error {
	bad := ""
	switch {
	case !names.MatchString(c.Name):
		bad = fmt.Sprintf("Name is %q", c.Name)
	case c.Dir == "":
		bad = "Dir is empty"
	case c.Partitions < 1:
		bad = fmt.Sprintf("Partitions is %d", c.Partitions)
	case c.Source == nil || c.Leases == nil || c.Process == nil:
		bad = "Source, Leases and Process are needed"
	case c.CheckpointEvery < 0 || c.BatchMessages < 0 || c.LeaseTime < 0:
		bad = "a time or a number is negative"
	case c.Options.Remote != nil || c.Options.ReadOnly || c.Options.Version != 0 || c.Options.CheckpointEvery != 0:
		bad = "Options sets what is the worker's to set"
	}
	if bad != "" {
		return fmt.Errorf("%w: %s", ErrConfig, bad)
	}
	if c.CheckpointEvery == 0 {
		c.CheckpointEvery = time.Second
	}
	if c.BatchMessages == 0 {
		c.BatchMessages = 1000
	}
	if c.LeaseTime == 0 {
		c.LeaseTime = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = func(Event) {}
	}
	return nil
}

func (c *Config) dir(partition int) string {
	return filepath.Join(c.Dir, fmt.Sprintf("p%04d", partition))
}
