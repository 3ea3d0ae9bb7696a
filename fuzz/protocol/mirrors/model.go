package mirrors

// Sizes of the model.
const (
	entries  = 14 // numbers 1 to entries; the base is number 0
	versions = 7  // the base, and up to three of each mirror
	base     = 0
	nobody   = 7
)

// Kind says what an entry changes.
type Kind uint8

// The kinds of entries.
const (
	absent Kind = iota
	claim
	version
	head
	purge
)

// entry is one of the sequence.
type entry struct {
	kind    Kind
	writer  uint8
	nonce   uint8 // no two entries of a writer have the same
	subject uint8 // of version and head: the version; of purge: a set of them
	own     uint8 // of version: the claim under which its own piece was put
	parents uint8 // and that of its parent's piece
}

// Op is an operation of a mirror.
type Op uint8

// The operations of a script.
const (
	Commit      Op = iota // a version that needs its parent's piece, and its upload
	CommitWhole           // one that does not
	Rollback              // to the base, and its head entry; it may be given up, as after an error of the remote
	RollbackOwn           // the same, to the first version that the mirror has made
	Retain                // purges what retention would
	Open                  // anew: reads the remote and goes to its head, if that is ahead
	Trim                  // deletes entries that nobody needs
	Resume                // brings the remote to where the directory is, as an upload or a rollback that was given up should have
	Sweep                 // deletes pieces that no version names, after a purge entry of no version
)

// target returns where a rollback of mirror i goes, nobody for another operation.
func (o Op) target(i int) uint8 {
	switch o {
	case Rollback:
		return base
	case RollbackOwn:
		return uint8(1 + 3*i)
	}
	return nobody
}

// Config is what is explored.
type Config struct {
	Name   string
	Script [2][]Op
	Epoch  [2]uint8
	Lossy  bool // answers of put-if-absent may be lost, and deletions come late
	Alone  bool // nobody may meet an error
	// Copies tells which mirrors copy a directory that is another's: each operation is a process of its own, which may end at any
	// moment and leave pieces that no version names. The next one names them, as far as J6 lets it.
	Copies [2]bool
	Plant  Plant
}

// trouble is why a mirror has stopped writing.
type trouble uint8

const (
	fine trouble = iota
	fenced
	diverged
)

// mirror is the state of one writer.
type mirror struct {
	op, pc  uint8
	known   uint8 // entries that it has read
	claim   uint8 // number of its claim
	purged  uint8 // number of its last purge since the claim
	nonce   uint8 // of its last entry
	current uint8 // version that its directory is at
	synced  uint8 // number of the entry that has moved the head to what its directory was at then
	made    uint8 // versions that it has committed
	trouble trouble
	doubt   bool // its last put-if-absent may have taken effect
	put     entry
	missing uint8            // pieces still to be put, by content
	doomed  [versions]uint16 // pieces still to be deleted: claims by content
	trimmed uint8
}

// State is a state of the remote and of both mirrors.
type State struct {
	sequence [entries + 1]entry // the truth
	length   uint8
	deleted  uint16           // numbers of entries that were deleted
	stray    uint16           // of those, the ones that a paused writer has made again
	pieces   [versions]uint16 // claims by content
	parent   [versions]uint8
	whole    uint8            // versions that do not need their parent's piece
	late     [versions]uint16 // deletions of pieces that are on their way, although the call has failed
	lied     bool             // somebody has acknowledged what does not stand
	m        [2]mirror
}

// The steps of an operation.
const (
	pcBegin  uint8 = iota
	pcClaim        // put-if-absent of a claim
	pcPlan         // decides what comes next, without the remote
	pcPieces       // puts the pieces that are missing
	pcEntry        // put-if-absent of put
	pcAnchor       // looks whether that was at the end
	pcRead         // gets the next entry
	pcList         // lists the pieces, for a sweep
	pcDelete       // deletes pieces
)

func (c *Config) initial() State {
	var s State
	s.pieces[base] = 1
	for i := range s.parent {
		s.parent[i] = nobody
	}
	return s
}

// ancestor reports whether a is v or one of its ancestors.
func (s *State) ancestor(a, v uint8) bool {
	for v != nobody && v != a {
		v = s.parent[v]
	}
	return v == a
}

// view is what the first entries of the sequence come to.
type view struct {
	head  uint8
	set   uint8 // number of the entry that has moved it there
	epoch uint8
	live  uint8 // set of versions
	names [versions]entry
}

func (c *Config) fold(s *State, n uint8) view {
	v := view{head: base, live: 1 << base}
	for i, e := range s.sequence[1 : n+1] {
		switch e.kind {
		case claim:
			v.epoch = max(v.epoch, c.Epoch[e.writer])
		case version:
			v.live |= 1 << e.subject
			v.names[e.subject] = e
			v.head, v.set = e.subject, uint8(i+1)
		case head:
			v.head, v.set = e.subject, uint8(i+1)
		case purge:
			v.live &^= e.subject
		}
	}
	return v
}

// named returns the claims of the pieces of a content that versions of a set name.
func (s *State) named(v view, set uint8, content uint8) (claims uint16) {
	for i := uint8(0); i < versions; i++ {
		if set&(1<<i) == 0 {
			continue
		}
		if i == content {
			claims |= 1 << v.names[i].own
		}
		if i != base && s.whole&(1<<i) == 0 && s.parent[i] == content {
			claims |= 1 << v.names[i].parents
		}
	}
	return claims
}

// left returns the claims of pieces of a content that are there and may be named although no version does, by a mirror that copies.
func (c *Config) left(s *State, m *mirror, content uint8) uint16 {
	from := uint8(0)
	for n, e := range s.sequence[1 : m.known+1] {
		if e.kind == purge {
			from = uint8(n + 1)
		}
	}
	if c.Plant == LeftBeforePurge {
		from = 0
	}
	return s.pieces[content] & (1<<m.claim - 1) &^ (1<<from - 1)
}

// oneOf returns the lowest claim of a set.
func oneOf(claims uint16) uint8 {
	for i := uint8(0); ; i++ {
		if claims&(1<<i) != 0 {
			return i
		}
	}
}
