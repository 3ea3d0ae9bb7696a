package protocol

// The model is small enough that every address, token, version and counter fits into four bits; an address is the
// number of a record, counted from 1. A boundary of the log is the number of the last record below it, so that the
// engine's "a >= boundary" is "a > boundary" here.
const (
	maxRecords  = 12
	sessions    = 2
	opsEach     = 2
	maxOps      = sessions * opsEach
	checkpoints = 2

	noKey     = 2  // of a filler
	none      = 0  // the address of nothing
	freeSlot  = 14 // a slot of the index that holds no entry
	frozen    = 15 // a slot whose entry has moved to the next table
	baseToken = 8  // record i of the base holds token baseToken + i
)

// The state word of a record: what an update in place and a copy compare and swap (word.State).
const (
	lockedBit    = 1 << iota
	sealedBit    // superseded, or about to be
	tombstoneBit // deletes its key
	pendingBit   // allocated, not yet published or abandoned
	sequence     // two bits: how often it was changed in place
)

const busyBits = lockedBit | sealedBit

// State is a state of the whole engine. It is compared and hashed by its bytes: everything in it is an unsigned
// number, and locals of an actor are zeroed when they are dead, so that equal situations are equal states.
type State struct {
	value  [maxRecords + 1]uint32 // of each record: tokens in the order in which they were applied, newest lowest
	result [maxOps]uint32         // what each finished read or update has seen
	old    [sessions]uint32       // what a read-modify-write works on

	member [checkpoints]uint16 // records of a committed version, a bit each
	extent [checkpoints]uint16 // records in its extents: those of the next version in the fuzzy end as well
	disk   uint16              // records in segment files

	prev    [maxRecords + 1]uint8 // link word: next older record of the chain
	version [maxRecords + 1]uint8 // link word: version it was written in
	key     [maxRecords + 1]uint8
	word    [maxRecords + 1]uint8 // state word

	slot [3]uint8 // of the one bucket: in the old table; in the new one, the two that a catch-all becomes

	tail, readOnly, safe, flushed, head, gone, begin uint8
	control                                          uint8 // log version
	paused                                           uint8
	inside                                           uint8 // guards that are inside the epoch

	session [sessions]session
	compact compaction
	pager   pager
	cut     [checkpoints]cut
	growth  growth
	restore restore

	current uint8                    // the version that the store has gone on from: base versions first, then checkpoints
	live    uint8                    // without a restore in between
	start   uint8                    // where the log of the next version begins
	empty   uint8                    // compactState.begin: below it the log is empty
	dropped uint8                    // keys whose tombstones compaction has left behind
	before  [sessions][opsEach]uint8 // operations of the other session that had returned when this one was called
	gate    uint8                    // of the units; 1: shut
	unit    [sessions]uint8
	revived uint8 // restores that have rewound the entries
	hold    hold
	_       [stateSlack]uint8
}

// stateSlack makes State a multiple of four bytes, so that it has no padding, whose bytes would be undefined.
const stateSlack = 2

type session struct {
	pc      uint8
	done    uint8 // operations that have returned
	called  uint8 // the current one has begun
	starved uint8 // it waits for a page
	version uint8 // control word it entered under
	entry   uint8
	slot    uint8
	stop    uint8 // where a walk in memory ends
	safe    uint8
	begin   uint8
	at      uint8 // record that is locked; where the chain left memory
	source  uint8 // record that is sealed
	seen    uint8 // state word that it was seen in
	fresh   uint8 // record that was allocated
	from    uint8 // modification.addr
	cold    uint8 // modification.cold
	final   uint8
	existed uint8

	// Of an update that goes first (carry.go).
	restores uint8 // 1 + the restores that there had been when it was read; 0: it does not go first
	chain    uint8 // the entry that was read
}

// Op is an operation of a session.
type Op struct {
	Kind Kind
	Key  uint8 // 0 or 1
	Big  bool  // the value never fits: no update in place
}

// Kind says what an operation does.
type Kind uint8

// The operations of a session. Each writes a token of its own, so that one lost or done twice shows.
const (
	Get    Kind = iota
	Set         // the value becomes the token
	RMW         // the token is appended to the value
	Delete      // blind
	Take        // a read-modify-write that deletes what it finds
)

// Base is a record that the log holds to begin with.
type Base struct {
	Key       uint8
	Tombstone bool
}

// Config is what is explored.
type Config struct {
	Name     string
	Ops      [sessions][]Op
	Base     []Base
	Versions []uint8 // cuts of the committed versions: how many records of Base each covers
	Evicted  bool    // the committed records are on disk only
	Warm     bool    // and are being read back, from the newest on

	Passes      uint8 // of the pager
	Evict       bool  // they drop pages from memory, too
	Window      uint8 // records in memory at most; 0: any number
	Checkpoints uint8
	Compact     bool
	Grow        bool // the table doubles
	CatchAll    bool // the entry is one: both halves get it
	Restore     bool
	Target      uint8 // what is restored: index into Versions, behind them the checkpoints
	Units       uint8 // sessions whose operations are one unit, a bit each
	GiveUp      bool  // whoever waits for units gives up once, and tries again
	First       uint8 // sessions whose updates go first, a bit each
	Hold        bool  // pages of the log are held up while a compaction is under way
	Plant       Plant
	Fine        bool // every access to shared memory is a step of its own
}

// Model is a configuration, ready to be explored.
type Model struct {
	cfg      Config
	expected [sessions]uint8 // operations
}

// New returns the model of a configuration.
func New(c Config) *Model {
	m := &Model{cfg: c}
	for i := range c.Ops {
		m.expected[i] = uint8(len(c.Ops[i]))
	}
	return m
}

// initial returns the state in which everything begins.
func (m *Model) initial() State {
	var s State
	s.slot = [3]uint8{freeSlot, freeSlot, freeSlot}
	for i, b := range m.cfg.Base {
		a := uint8(i + 1)
		s.key[a], s.prev[a] = b.Key, s.tail
		s.version[a] = m.baseVersion(a)
		if b.Tombstone {
			s.word[a] = tombstoneBit
		} else {
			s.value[a] = uint32(baseToken + a)
		}
		s.tail, s.slot[0] = a, a
	}
	s.control = uint8(len(m.cfg.Versions)) + 1
	if m.cfg.Hold {
		s.hold.limit = s.tail
	}
	if n := len(m.cfg.Versions); n > 0 {
		c := m.cfg.Versions[n-1]
		s.readOnly, s.safe, s.flushed = c, c, c
		s.start, s.current, s.live = c, uint8(n), 1
		for a := uint8(1); a <= c; a++ {
			s.setDisk(a)
		}
		if m.cfg.Evicted {
			s.head, s.gone = c, c
		}
	}
	return s
}

// baseVersion returns the version that record a of the base was written in.
func (m *Model) baseVersion(a uint8) uint8 {
	v := uint8(1)
	for _, c := range m.cfg.Versions {
		if a > c {
			v++
		}
	}
	return v
}

func (s *State) onDisk(a uint8) bool { return s.disk&(1<<a) != 0 }
func (s *State) setDisk(a uint8)     { s.disk |= 1 << a }

// An actor does one step at a time. A step is one access to shared memory, or several of which all but one concern
// what nobody else can see or change (see the package comment for the mergers and why they lose nothing).
const (
	actorSession0 = iota
	actorSession1
	actorCompact
	actorPager
	actorCut0
	actorCut1
	actorGrowth
	actorRestore
	actorWarm
	actorOpener
	actors
)

// step lets an actor do its next step in s. ok is false if it has none, or has to wait. bad says what is wrong with
// the step, if anything.
func (m *Model) step(s *State, actor int) (ok bool, bad string) {
	switch actor {
	case actorSession0, actorSession1:
		return m.stepSession(s, actor-actorSession0)
	case actorCompact:
		return m.stepCompact(s)
	case actorPager:
		return m.stepPager(s)
	case actorCut0, actorCut1:
		return m.stepCut(s, actor-actorCut0)
	case actorGrowth:
		return m.stepGrowth(s)
	case actorRestore:
		return m.stepRestore(s)
	case actorWarm:
		return m.stepWarm(s), ""
	}
	return m.stepOpener(s), ""
}

// Guards of the epoch; a session's is its number.
const (
	guardCompact = sessions
	guardCut     = guardCompact + 1
	guardRestore = guardCut + checkpoints
)

// enter puts a guard inside the epoch; leave takes it out, which those who wait for it see.
func (s *State) enter(guard int) { s.inside |= 1 << guard }

func (s *State) leave(guard int) {
	keep := ^uint8(1 << guard)
	s.inside &= keep
	s.pager.wait &= keep
	s.growth.wait &= keep
	s.restore.wait &= keep
	for i := range s.cut {
		s.cut[i].wait &= keep
	}
}

// synchronize returns the guards that an epoch.Manager.Synchronize beginning now has to wait for, none if that is
// left out.
func (m *Model) synchronize(s *State, unless Plant) uint8 {
	if m.cfg.Plant == unless && unless != Sound {
		return 0
	}
	return s.inside
}

// find returns the slot that owns key, or wait while its bucket is being moved.
func (m *Model) find(s *State, key uint8) (slot uint8, wait bool) {
	switch {
	case s.growth.pc == growthIdle:
		return 0, false
	case s.growth.pc < growthMoved:
		return 0, true
	case m.cfg.CatchAll && key == 1:
		return 2, false
	}
	return 1, false
}

// walk follows a chain in memory from a down to the newest record of key above stop (hybridLog.find).
func (m *Model) walk(s *State, a, key, stop uint8) (at uint8, found bool, bad string) {
	for a > stop {
		if a <= s.gone {
			return a, false, "a frame was reused under a reader"
		}
		if s.key[a] == key {
			return a, true, ""
		}
		a = s.prev[a]
	}
	return a, false, ""
}

// walkDisk is walk in the segment files, down to begin.
func (m *Model) walkDisk(s *State, a, key, begin uint8) (at uint8, found bool, bad string) {
	for a > begin {
		if !s.onDisk(a) {
			return a, false, "a chain leads to log that was never written"
		}
		if s.key[a] == key {
			return a, true, ""
		}
		a = s.prev[a]
	}
	return none, false, ""
}

// allocate takes the next record of the log and fills it; it is pending until it is published or abandoned.
func (s *State) allocate(key, version, prev uint8, value uint32) uint8 {
	s.tail++
	a := s.tail
	s.key[a], s.version[a], s.prev[a], s.value[a] = key, version, prev, value
	s.word[a] = pendingBit
	if value == 0 {
		s.word[a] |= tombstoneBit
	}
	return a
}

// abandon takes record a out of the log, whose publication has failed. The engine marks it invalid and never uses its
// address again; since nobody looks at such a record, and addresses only matter by their order, the model closes the
// gap, which makes many states one.
func (s *State) abandon(a uint8) {
	for b := a; b < s.tail; b++ {
		s.value[b], s.prev[b], s.version[b], s.key[b], s.word[b] =
			s.value[b+1], s.prev[b+1], s.version[b+1], s.key[b+1], s.word[b+1]
	}
	t := s.tail
	s.value[t], s.prev[t], s.version[t], s.key[t], s.word[t] = 0, 0, 0, 0, 0
	below := uint16(1)<<a - 1
	for _, set := range []*uint16{&s.disk, &s.member[0], &s.member[1], &s.extent[0], &s.extent[1]} {
		*set = *set&below | *set>>1&^below
	}
	s.addresses(func(x *uint8) {
		if *x >= a && *x < freeSlot {
			*x--
		}
	})
}

// addresses calls fn for everything in s that is an address or a boundary of the log.
func (s *State) addresses(fn func(*uint8)) {
	for i := range s.prev {
		fn(&s.prev[i])
	}
	for i := range s.slot {
		fn(&s.slot[i])
	}
	for _, p := range []*uint8{
		&s.tail, &s.readOnly, &s.safe, &s.flushed, &s.head, &s.gone, &s.begin, &s.start, &s.empty,
		&s.pager.target, &s.growth.entry, &s.hold.limit,
		&s.restore.filler, &s.compact.at, &s.compact.entry, &s.compact.stop, &s.compact.seen, &s.compact.fresh,
	} {
		fn(p)
	}
	for i := range s.session {
		x := &s.session[i]
		for _, p := range []*uint8{
			&x.entry, &x.stop, &x.safe, &x.begin, &x.at, &x.source, &x.fresh, &x.from, &x.cold, &x.chain,
		} {
			fn(p)
		}
	}
	for i := range s.cut {
		c := &s.cut[i]
		for _, p := range []*uint8{&c.fuzzy, &c.empty, &c.end, &c.begin, &c.filler} {
			fn(p)
		}
	}
}

// publish makes record a the head of its chain if the slot still holds old.
func (m *Model) publish(s *State, slot, old, a uint8) (ok bool, bad string) {
	if slot == 0 && s.growth.pc == growthFreed {
		return false, "an entry of a table that was given back was changed"
	}
	if s.slot[slot] != old && m.cfg.Plant != StoreEntry {
		return false, ""
	}
	s.slot[slot] = a
	s.word[a] &^= pendingBit
	return true, ""
}

// flush writes the log up to target.
func (s *State) flush(target uint8) (bad string) {
	for a := s.flushed + 1; a <= target; a++ {
		switch {
		case s.word[a]&pendingBit != 0:
			return "a record was flushed before it was published or abandoned"
		case s.word[a]&lockedBit != 0:
			return "a record was flushed while it was being changed"
		}
		s.setDisk(a)
	}
	s.flushed = max(s.flushed, target)
	return ""
}
