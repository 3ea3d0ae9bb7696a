package hlog

import (
	"fmt"
	"log/slog"
	"math/bits"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Limits and defaults of Options.
const (
	// MinMemoryBytes is the smallest memory budget.
	MinMemoryBytes = 4 << 20
	// DefaultMemoryBytes is the memory budget when none is given, unless the container has little. It is a limit, not a
	// reservation.
	DefaultMemoryBytes = 1 << 30
	// DefaultMutableFraction is the share of the frames that is updated in place when none is given.
	DefaultMutableFraction = 0.9
	// MinPageBytes and MaxPageBytes bound a log page.
	MinPageBytes = 16 << 10
	MaxPageBytes = 1 << word.MaxPageBits
	// DefaultSegmentBytes is the size of a segment file when none is given.
	DefaultSegmentBytes = 16 << 20
	// MaxSegmentBytes bounds a segment file; on 32 bits that is 1 GiB.
	MaxSegmentBytes = 1 << 40
	// DefaultOpenTimeout is how long Open waits for an answer of the remote when no time is given.
	DefaultOpenTimeout = 30 * time.Second
	// DefaultKeepVersions is how many committed versions are retained when no number is given.
	DefaultKeepVersions = 8

	autoPageMax   = 2 << 20
	autoPageMin   = 64 << 10
	sharedPageMax = 128 << 10
	pagesInBudget = 64

	// Where an address has 32 bits the frames are in the way of everything else, and so are the sizes of segments.
	max32Bytes     = 1 << 30
	default32Bytes = 128 << 20

	containerShare = 4 // the part of a container's memory that a store takes by itself, at most: one in so many
)

// Options tune a store. The zero value is usable, and so is nil; a field left at its zero takes its default. All of
// them may change from one Open of a directory to the next, except SegmentBytes, which a directory keeps.
type Options struct {
	// MemoryBytes is the budget for log frames, index, caches and I/O buffers together, in bytes. The state may be
	// far larger. At least 4 MiB; default 1 GiB, or a quarter of the memory that the control groups of the process allow
	// (Linux, versions 1 and 2), if that is less. On 32 bits the default is 128 MiB, and the most 1 GiB. Memory is taken as it is needed, never more than this, with one
	// exception: a directory that is opened with less memory than its index had before keeps the index it has.
	MemoryBytes int64

	// Shared is a budget that this store has together with others of the process; MemoryBytes, by default all of it, is
	// then the most that this one may take of it. Open returns ErrBudgetFull when it has no room for one more. nil: the store
	// has MemoryBytes for itself.
	Shared *Budget

	// MutableFraction is the share of the log's frames in which records are updated in place, above 0 and at most
	// 0.95; the other frames are read-only, being written to disk or waiting to be used again. Default 0.9.
	MutableFraction float64

	// PageBytes is the size of a log page, the unit of flushing and eviction: a power of two from 16 KiB to 8 MiB,
	// and at most an eighth of MemoryBytes. A key with its value must fit into one page. Default: a 64th of
	// MemoryBytes, between 64 KiB and 2 MiB, and at most 128 KiB when the budget is shared; but as large as it takes for
	// the records that are in the directory. Where these were written with larger pages than the ones asked for, or than
	// MemoryBytes allows, Open is ErrOptions and says which values it takes: compaction has to move every record.
	PageBytes int

	// SegmentBytes is the size of a log segment file, the unit in which disk space is given back: a power of two,
	// at least one page. Default 16 MiB. A directory keeps the size it was created with.
	SegmentBytes int64

	// KeepVersions is how many committed versions are kept, here and on the remote; older ones are purged after a
	// commit, except for the current one and those that a view reads. Default 8.
	KeepVersions int

	// CheckpointEvery has the store commit a version this often in the background, with the cookie that Cookie returns, when
	// anything has changed. Failures go to Logger, Events and Metrics. 0: only on request.
	CheckpointEvery time.Duration

	// Cookie returns the cookie of a version that nobody calls for: those of CheckpointEvery, and the last one of Close. It
	// is called when the cut is about to be taken, while no unit (Session.Unit) is under way and none can begin: a unit that
	// has returned is in the version, any other is not, so that what the function tells of units describes the version
	// exactly. Of other operations the version holds those that returned before the call, and may hold others that go on
	// meanwhile; in Close there are none.
	//
	// There is one call at a time, in a goroutine of its own, and units that begin wait until it returns: it should copy
	// what it returns from memory, no more. It may wait for a lock under which units are begun, read the store, or call
	// anything else, at a price: what waits for a unit to begin, a checkpoint, a restore or Close goes on only when the call
	// is given up. That is so after a second at most. Then no version is committed, which Close returns as ErrUnitBusy, and
	// which is as good as another failure for CheckpointEvery; the next call begins when that one has returned. A panic in
	// it ends the process.
	//
	// What it returns is copied. nil stands for no cookie. More than 16 MiB is ErrTooLarge, and the version is not
	// committed. Without the option these versions have no cookie.
	Cookie func() []byte

	// Remote, when set, receives a copy of every version, and is what an empty, older or damaged directory is filled
	// from when it is opened; Open says how. A read-only store ignores it. One store at a time may write to a remote. If two do
	// nevertheless, one of them gets ErrFenced or ErrDiverged, and nothing that the other was told is safe is lost.
	Remote checkpoint.Remote

	// RemoteEpoch is a fencing token: a number that whoever takes over the store has a higher one of than everybody
	// before, for instance the term of a raft group, the generation of a consumer group, or the revision of a lease. Open
	// claims the remote with it, and from then on every store with a lower one gets ErrFenced. 0: no token; the store is
	// fenced by any, and otherwise by divergence only (ErrDiverged).
	RemoteEpoch uint64

	// OpenTimeout is how long Open waits for an answer of the remote. Without one, a directory that has a version opens at
	// its own newest one, which the log and Metrics.RemoteError tell; one that has to be filled does not open. Default
	// 30 s; negative: no bound.
	OpenTimeout time.Duration

	// Version opens the store at this version instead of the newest: a rollback like Restore, and the way back when
	// damage keeps the newest version from being opened. The files STORE and HEAD and the manifests of other versions may
	// be damaged then, or the first two missing: they are written again, and what was damaged stays under a name that ends in
	// ".damaged". A damaged version keeps its id and its files until Purge. 0 is the newest. ErrVersionNotFound when there
	// is no such version; nothing is changed then.
	Version checkpoint.Version

	// ReadOnly opens an existing store without writing a single byte. Several may do so at once, in one process or in
	// many, but not while somebody has the directory open for writing (ErrLocked).
	ReadOnly bool

	// NoLock opens the directory also where the file system has no flock (ENOSYS, ENOLCK, EOPNOTSUPP: some network and
	// user-space file systems), which is errors.ErrUnsupported otherwise. Then it is the caller's business that no other
	// process opens the directory meanwhile: two that write destroy each other's log. Within the process a second opening is
	// ErrLocked all the same. Where there is flock, this changes nothing. Default off.
	NoLock bool

	// Logger receives what recovery and background work have to report: errors, warnings, and at the debug level each
	// object that goes to or comes from a remote. nil is silent.
	Logger *slog.Logger

	// Events are callbacks for what the store does; each is optional.
	Events Events

	// NoCompaction switches the automatic compaction off; Store.Compact still works.
	NoCompaction bool

	// ColdAfter says when records move into the cold tier: files in the order of hashes, of which a record takes one to two bytes of
	// memory, instead of an entry in the index, and is found by one read. 0: as the memory asks for it. Nothing moves as long
	// as the log fits into memory, or the index may grow; then the oldest records that are not superseded do, until the index has
	// room. More than 0: besides, whenever the log has more bytes than that. Less than 0: never by itself; but a
	// directory that has a cold tier keeps it, and what would be compacted in it goes there. A demotion needs no version, and
	// is in the next one. Releases that know no cold tier refuse such a version with ErrFormat.
	ColdAfter int64

	// NoReadCache switches off the cache of records that were read from disk.
	NoReadCache bool

	// FS is the file system that every durable byte goes through; nil is that of the operating system. It exists for the
	// tests of this module, which inject faults.
	FS fsx.FS

	pageChosen bool          // PageBytes was 0
	viewsOnly  bool          // the store is there for its views: it opens at no version
	indexPace  shares.Pace   // of the index on disk; 0 but in tests of this package
	giveWay    time.Duration // replaces maxRest where background work lets a commit go first; 0 but in tests of this package
	scanBytes  int64         // that a scan of a view may take; 0: it follows from MemoryBytes
}

// withDefaults returns o with every zero field replaced, or the first field that is out of range.
func (o *Options) withDefaults() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if r.MemoryBytes == 0 {
		if r.Shared != nil {
			r.MemoryBytes = r.Shared.bytes
		} else {
			r.MemoryBytes = defaultMemory(containerMemory())
		}
	}
	if r.MutableFraction == 0 {
		r.MutableFraction = DefaultMutableFraction
	}
	if r.SegmentBytes == 0 {
		r.SegmentBytes = max(DefaultSegmentBytes, int64(r.PageBytes))
	}
	if r.KeepVersions == 0 {
		r.KeepVersions = DefaultKeepVersions
	}
	if r.OpenTimeout == 0 {
		r.OpenTimeout = DefaultOpenTimeout
	}
	if r.FS == nil {
		r.FS = fsx.OS()
	}
	if err := r.validate(); err != nil {
		return Options{}, err
	}
	if r.PageBytes == 0 {
		r.pageChosen = true
		auto := r.MemoryBytes / pagesInBudget
		most := int64(autoPageMax)
		if r.Shared != nil {
			most = sharedPageMax // each of many stores has a few pages at the least
		}
		auto = min(max(auto, autoPageMin), most, r.SegmentBytes)
		r.PageBytes = 1 << (bits.Len64(uint64(auto)) - 1)
	}
	return r, nil
}

// defaultMemory returns the budget of a store that asks for none, in a process that may have limit bytes of memory.
func defaultMemory(limit int64) int64 {
	most := int64(DefaultMemoryBytes)
	if bits.UintSize == 32 {
		most = default32Bytes
	}
	return max(min(most, limit/containerShare), MinMemoryBytes)
}

// mostMemory and mostSegment bound Options.MemoryBytes and Options.SegmentBytes on this platform.
func mostMemory() int64 {
	if bits.UintSize == 32 {
		return max32Bytes
	}
	return int64(word.MaxAddress) / 2
}

func mostSegment() int64 {
	if bits.UintSize == 32 {
		return max32Bytes
	}
	return MaxSegmentBytes
}

func (o *Options) validate() error {
	switch {
	case o.MemoryBytes < MinMemoryBytes:
		return optionError("MemoryBytes", o.MemoryBytes, fmt.Sprintf("at least %d", MinMemoryBytes))
	case o.MemoryBytes > mostMemory():
		return optionError("MemoryBytes", o.MemoryBytes, fmt.Sprintf("at most %d", mostMemory()))
	case !(o.MutableFraction > 0 && o.MutableFraction <= 0.95):
		return optionError("MutableFraction", o.MutableFraction, "above 0 and at most 0.95")
	case o.PageBytes != 0 && (o.PageBytes < MinPageBytes || o.PageBytes > MaxPageBytes || o.PageBytes&(o.PageBytes-1) != 0):
		return optionError("PageBytes", o.PageBytes, fmt.Sprintf("a power of two from %d to %d", MinPageBytes, MaxPageBytes))
	case int64(o.PageBytes) > o.MemoryBytes/8:
		return optionError("PageBytes", o.PageBytes, fmt.Sprintf("at most an eighth of MemoryBytes (%d)", o.MemoryBytes))
	case o.SegmentBytes < MinPageBytes || o.SegmentBytes > mostSegment() || o.SegmentBytes&(o.SegmentBytes-1) != 0:
		return optionError("SegmentBytes", o.SegmentBytes, fmt.Sprintf("a power of two from %d to %d", MinPageBytes, mostSegment()))
	case o.SegmentBytes < int64(o.PageBytes):
		return optionError("SegmentBytes", o.SegmentBytes, fmt.Sprintf("at least PageBytes (%d)", o.PageBytes))
	case o.KeepVersions < 0:
		return optionError("KeepVersions", o.KeepVersions, "at least 1, or 0 for the default")
	case o.CheckpointEvery < 0:
		return optionError("CheckpointEvery", o.CheckpointEvery, "positive, or 0 for never")
	}
	return nil
}
