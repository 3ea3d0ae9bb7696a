package tiers

const (
	maxRecords  = 8 // of the log; an address is the number of a record, counted from 1
	maxSegments = 7
	maxTiers    = 7
	sessions    = 2
	opsEach     = 2
	maxOps      = sessions * opsEach
	keys        = 2
	none        = 0 // the address of nothing
)

// Kind says what an operation does.
type Kind uint8

// The operations of a session. Each writes a token of its own, so that one lost or done twice shows.
const (
	Get    Kind = iota
	Set         // the value becomes the token
	RMW         // the token is appended to the value
	Delete      // blind
)

// Op is an operation of a session.
type Op struct {
	Kind Kind
	Key  uint8
}

// Config is what is explored.
type Config struct {
	Name      string
	Ops       [sessions][]Op
	Base      []Op // what the log holds to begin with: Set or Delete
	Cold      bool // all of Base was demoted
	Shared    bool // the keys share an entry
	Demotions uint8
	Merges    uint8
	Cut       bool // a checkpoint
	Restore   bool // of what it has committed
	Scan      bool
	Plant     Plant
}

// segment is what a cold segment says of each key.
type segment struct {
	value [keys]uint16
	has   [keys]uint8 // nothing, or one of these:
}

const (
	hasValue = iota + 1
	hasTombstone
)

// tier is begin and set of segments: never changed.
type tier struct {
	begin, generation uint8    // generations count from 1
	segments          [3]uint8 // newest first, 0 is none
}

// State is a state of the engine. Locals of an actor are zero when they are dead, so that equal situations are equal.
type State struct {
	value   [maxRecords + 1]uint16 // 0 is a tombstone
	key     [maxRecords + 1]uint8
	version [maxRecords + 1]uint8
	prev    [maxRecords + 1]uint8
	tail    uint8
	lost    uint16 // records that a restore has left behind

	slot    [keys]uint8
	control uint8 // log version

	tiers   [maxTiers]tier
	made    uint8 // tiers
	tier    uint8 // the one that stands
	segs    [maxSegments + 1]segment
	written uint8  // segments
	freed   uint16 // segments
	era     uint8  // restores

	inside  uint8 // guards
	session [sessions]session
	demote  demotion
	merge   merging
	cut     cut
	restore restore
	scan    scan

	result [maxOps]uint16
	before [sessions][opsEach]uint8 // operations of the other session that had returned when this one was called
}

type session struct {
	pc, done, called uint8
	version          uint8
	tier             uint8 // that it holds, plus 1
	begin            uint8
	generation       uint8
	entry            uint8
	from             uint8 // record that an update rests on; none: a cold read
	old              uint16
}

func (c *Config) initial() (s State) {
	s.control = 1
	s.made = 1
	s.tiers[0].generation = 1
	for _, op := range c.Base {
		s.append(c, op.Key, s.slot[c.slotOf(op.Key)], 1, c.baseValue(op, s.tail+1))
	}
	if c.Cold {
		s.written = 1
		for a := uint8(1); a <= s.tail; a++ {
			s.segs[1].put(s.key[a], s.value[a])
		}
		s.tiers[0] = tier{begin: s.tail, generation: 1, segments: [3]uint8{1}}
		s.slot = [keys]uint8{}
	}
	return s
}

// baseValue returns the value that a record of the base holds.
func (c *Config) baseValue(op Op, a uint8) uint16 {
	if op.Kind == Delete {
		return 0
	}
	return uint16(8 + a)
}

func (g *segment) put(key uint8, value uint16) {
	g.value[key], g.has[key] = value, hasValue
	if value == 0 {
		g.has[key] = hasTombstone
	}
}

func (c *Config) slotOf(key uint8) uint8 {
	if c.Shared {
		return 0
	}
	return key
}

// append publishes a record.
func (s *State) append(c *Config, key, prev, version uint8, value uint16) {
	s.tail++
	a := s.tail
	s.key[a], s.prev[a], s.version[a], s.value[a] = key, prev, version, value
	s.slot[c.slotOf(key)] = a
}

// walk follows a chain from a down to the newest record of key above begin.
func (s *State) walk(a, key, begin uint8) (at uint8, found bool) {
	for ; a > begin; a = s.prev[a] {
		if s.key[a] == key {
			return a, true
		}
	}
	return a, false
}

// cold returns what a tier says of a key. bad says that a segment of it was removed.
func (s *State) cold(t uint8, key uint8) (value uint16, has uint8, bad string) {
	for _, g := range s.tiers[t].segments {
		if g == 0 {
			break
		}
		if s.freed&(1<<g) != 0 {
			return 0, 0, "a segment was removed under a reader"
		}
		if has := s.segs[g].has[key]; has != 0 {
			return s.segs[g].value[key], has, ""
		}
	}
	return 0, 0, ""
}

// enter begins a stay in the epoch. A session's guard is its number.
func (s *State) enter(guard int) { s.inside |= 1 << guard }

func (s *State) leave(guard int) {
	keep := ^uint8(1 << guard)
	s.inside &= keep
	s.demote.wait &= keep
	s.cut.wait &= keep
}

// install makes t the tier that stands.
func (s *State) install(t tier) (bad string) {
	if s.made == maxTiers {
		return "the model has too few tiers"
	}
	s.tiers[s.made] = t
	s.tier = s.made
	s.made++
	return ""
}

// holds reports whether tier t has segment g.
func (s *State) holds(t, g uint8) bool {
	for _, o := range s.tiers[t].segments {
		if o == g {
			return true
		}
	}
	return false
}
