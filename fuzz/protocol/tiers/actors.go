package tiers

// An actor does one step at a time.
const (
	actorSession0 = iota
	actorSession1
	actorDemote
	actorMerge
	actorCut
	actorRestore
	actorScan
	actors
)

// next returns the states that one step of an actor leads to; none if it has no step or has to wait. bad says what is
// wrong with the step, if anything.
func (c *Config) next(s State, actor int) (after []State, bad string) {
	ok := false
	switch actor {
	case actorSession0, actorSession1:
		ok, bad = c.stepSession(&s, actor)
	case actorDemote:
		if s.demote.pc == demoteChoose {
			return c.choose(s), ""
		}
		ok, bad = c.stepDemote(&s)
	case actorMerge:
		if s.merge.pc == mergeChoose {
			return c.chooseMerge(s), ""
		}
		ok, bad = c.stepMerge(&s)
	case actorCut:
		ok = c.stepCut(&s)
	case actorRestore:
		ok, bad = c.stepRestore(&s)
	case actorScan:
		ok, bad = c.stepScan(&s)
	}
	if !ok && bad == "" {
		return nil, ""
	}
	return []State{s}, bad
}

// demotion moves records from the begin of the log into a new segment.
type demotion struct {
	pc, passes uint8
	wait       uint8 // guards that were inside when the tier was published
	at, to     uint8
	era        uint8
	segment    segment
	slot       uint8 // that is cleared next
}

const (
	demoteChoose  = iota
	demoteCopy    // look whether a record is the newest of its key, copy it
	demotePublish // switch the tier
	demoteClear   // wait; clear an entry that leads below the begin
)

var demoteNames = [...]string{"chooses how far", "looks at a record", "switches the tier", "clears an entry"}

// choose returns a state for each extent that can be demoted.
func (c *Config) choose(s State) (after []State) {
	if s.demote.passes == c.Demotions || s.restore.pc == restorePaused {
		return nil
	}
	begin := s.tiers[s.tier].begin
	for to := begin + 1; to <= s.tail; to++ {
		n := s
		n.demote = demotion{pc: demoteCopy, passes: s.demote.passes + 1, at: begin + 1, to: to, era: s.era}
		after = append(after, n)
	}
	return after
}

func (c *Config) stepDemote(s *State) (ok bool, bad string) {
	d := &s.demote
	switch d.pc {
	case demoteCopy:
		if d.era != s.era {
			*d = demotion{passes: d.passes}
			return true, ""
		}
		a := d.at
		if at, found := s.walk(s.slot[c.slotOf(s.key[a])], s.key[a], a-1); s.lost&(1<<a) == 0 && found && at == a {
			d.segment.put(s.key[a], s.value[a])
		}
		if d.at++; d.at > d.to {
			d.pc = demotePublish
		}
	case demotePublish:
		if d.era != s.era {
			*d = demotion{passes: d.passes}
			return true, ""
		}
		t := s.tiers[s.tier]
		if t.segments[2] != 0 || s.restore.pc == restorePaused || s.cut.pc > cutBegin && s.cut.pc < cutCommit && c.Plant != SwitchInCut {
			return false, "" // a merge, the restore or the checkpoint has to come first
		}
		if s.written == maxSegments {
			return false, "the model has too few segments"
		}
		s.written++
		s.segs[s.written] = d.segment
		t.segments = [3]uint8{s.written, t.segments[0], t.segments[1]}
		t.begin, t.generation = d.to, t.generation+1
		bad = s.install(t)
		if d.wait = s.inside; c.Plant == NoDrain {
			d.wait = 0
		}
		d.pc, d.at, d.segment = demoteClear, 0, segment{}
	case demoteClear:
		if d.wait != 0 {
			return false, ""
		}
		if e := s.slot[d.slot]; e != none && e <= d.to {
			s.slot[d.slot] = none
		}
		if d.slot++; d.slot == keys {
			*d = demotion{passes: d.passes}
		}
	}
	return true, bad
}

// merging makes one segment of two neighbours.
type merging struct {
	pc, passes uint8
	newer      uint8 // segment; older is the one behind it
	older      uint8
	bottom     uint8 // older is the oldest
	doomed     uint16
}

const (
	mergeChoose = iota
	mergePublish
	mergeFree // remove the two when nobody needs them
)

var mergeNames = [...]string{"chooses two segments", "switches the tier", "removes what was merged"}

func (c *Config) chooseMerge(s State) (after []State) {
	if s.merge.passes == c.Merges {
		return nil
	}
	g := s.tiers[s.tier].segments
	for i := range len(g) - 1 {
		if g[i+1] != 0 {
			n := s
			bottom := i+2 == len(g) || g[i+2] == 0
			n.merge = merging{pc: mergePublish, passes: s.merge.passes + 1, newer: g[i], older: g[i+1], bottom: bit(bottom)}
			after = append(after, n)
		}
	}
	return after
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func (c *Config) stepMerge(s *State) (ok bool, bad string) {
	g := &s.merge
	switch g.pc {
	case mergePublish:
		t := s.tiers[s.tier]
		i := 0
		for ; i < len(t.segments)-1 && (t.segments[i] != g.newer || t.segments[i+1] != g.older); i++ {
		}
		if i == len(t.segments)-1 || s.restore.pc == restorePaused { // a restore has brought another tier
			*g = merging{passes: g.passes}
			return true, ""
		}
		if s.written == maxSegments {
			return false, "the model has too few segments"
		}
		s.written++
		out := s.segs[g.older]
		for k := range keys {
			if s.segs[g.newer].has[k] != 0 {
				out.put(uint8(k), s.segs[g.newer].value[k])
			}
			if out.has[k] == hasTombstone && (g.bottom != 0 || c.Plant == DropTombstone) {
				out.has[k] = 0
			}
		}
		s.segs[s.written] = out
		t.segments[i] = s.written
		copy(t.segments[i+1:], append(t.segments[i+2:len(t.segments):len(t.segments)], 0))
		bad = s.install(t)
		*g = merging{pc: mergeFree, passes: g.passes, doomed: 1<<g.newer | 1<<g.older}
	case mergeFree:
		free := g.doomed
		for n := uint8(1); n <= s.written; n++ {
			if free&(1<<n) != 0 && c.needed(s, n) {
				free &^= 1 << n
			}
		}
		if free == 0 {
			return false, ""
		}
		s.freed |= free
		if g.doomed &^= free; g.doomed == 0 {
			*g = merging{passes: g.passes}
		}
	}
	return true, bad
}

// needed reports whether a tier that stands, is held, or is named by a version, has segment n.
func (c *Config) needed(s *State, n uint8) bool {
	if s.holds(s.tier, n) || s.cut.pc != cutBegin && s.holds(s.cut.tier, n) || s.scan.tier != 0 && s.holds(s.scan.tier-1, n) {
		return true
	}
	for i := range s.session {
		if t := s.session[i].tier; t != 0 && s.holds(t-1, n) && c.Plant != FreeEarly {
			return true
		}
	}
	return false
}

// cut is a checkpoint.
type cut struct {
	pc       uint8
	wait     uint8
	version  uint8
	tier     uint8
	members  uint16 // records
	returned uint8  // operations that had returned before it was called
	called   uint8  // operations that were called before it returned
}

const (
	cutBegin  = iota // name the tier
	cutBump          // begin the next version
	cutTake          // wait for the operations of the old one; what is there belongs to the version
	cutCommit        // write the manifest
	cutDone
)

var cutNames = [...]string{"names the tier", "begins the next version", "takes the cut", "writes the manifest", ""}

func (c *Config) stepCut(s *State) bool {
	x := &s.cut
	if !c.Cut || s.restore.pc == restorePaused {
		return false
	}
	switch x.pc {
	case cutBegin:
		x.returned, x.tier = s.returned(), s.tier
	case cutBump:
		x.version = s.control
		s.control++
		x.wait = s.inside
	case cutTake:
		if x.wait != 0 {
			return false
		}
		for a := uint8(1); a <= s.tail; a++ {
			if s.version[a] <= x.version && s.lost&(1<<a) == 0 {
				x.members |= 1 << a
			}
		}
		x.called = s.called()
	case cutCommit:
		if c.Plant == NameLate {
			x.tier = s.tier
		}
	default:
		return false
	}
	x.pc++
	return true
}

// recovered returns what the keys hold in the version.
func (s *State) recovered() (v values, bad string) {
	x := &s.cut
	for k := range v {
		if a := x.newest(s, uint8(k)); a != none {
			v[k] = s.value[a]
		} else if v[k], _, bad = s.cold(x.tier, uint8(k)); bad != "" {
			return v, "a segment that a version names was removed"
		}
	}
	return v, ""
}

// newest returns the newest record of a key that the version's own log has.
func (x *cut) newest(s *State, key uint8) uint8 {
	for a := s.tail; a > s.tiers[x.tier].begin; a-- {
		if x.members&(1<<a) != 0 && s.key[a] == key {
			return a
		}
	}
	return none
}

// restore takes the store back to the version.
type restore struct {
	pc       uint8
	returned uint8
	called   uint8
}

const (
	restoreBegin = iota
	restorePaused
	restoreDone
)

var restoreNames = [...]string{"stops the store", "goes back", ""}

func (c *Config) stepRestore(s *State) (ok bool, bad string) {
	r := &s.restore
	switch r.pc {
	case restoreBegin:
		// It waits for a demotion that has switched the tier, and drops one that has not.
		if !c.Restore || s.cut.pc != cutDone || s.demote.pc == demoteClear {
			return false, ""
		}
		r.returned = s.returned()
		r.pc = restorePaused
	case restorePaused:
		if s.inside != 0 {
			return false, ""
		}
		bad = c.goBack(s)
		r.called, r.pc = s.called(), restoreDone
	default:
		return false, ""
	}
	return true, bad
}

func (c *Config) goBack(s *State) (bad string) {
	x := &s.cut
	named, stands := s.tiers[x.tier], s.tiers[s.tier]
	if named.generation == stands.generation || c.Plant == Rewind {
		for i, e := range s.slot {
			for e != none && x.members&(1<<e) == 0 {
				e = s.prev[e]
			}
			s.slot[i] = e
		}
		s.tier = x.tier
	} else { // open the version's own index
		s.slot = [keys]uint8{}
		for a := named.begin + 1; a <= s.tail; a++ {
			if x.members&(1<<a) != 0 {
				s.slot[c.slotOf(s.key[a])] = a
			}
		}
		t := named
		if t.generation = stands.generation + 1; c.Plant == SameGeneration {
			t.generation = named.generation
		}
		bad = s.install(t)
	}
	s.lost = (1<<(s.tail+1) - 2) &^ x.members
	if c.Plant != SameGeneration {
		s.control++
	}
	s.era++
	return bad
}

// called returns the operations that have been called, returned those that have returned, a bit each.
func (s *State) called() (mask uint8) {
	for i := range s.session {
		n := s.session[i].done + s.session[i].called
		mask |= (1<<n - 1) << (i * opsEach)
	}
	return mask
}

func (s *State) returned() (mask uint8) {
	for i := range s.session {
		mask |= (1<<s.session[i].done - 1) << (i * opsEach)
	}
	return mask
}

// scan visits every key.
type scan struct {
	pc    uint8
	tier  uint8 // that it holds, plus 1
	tail  uint8
	at    uint8
	times [keys]uint8 // that a key was visited
	saw   [keys]uint16
}

const (
	scanPin  = iota
	scanLog  // visit a record of the log if it was the newest of its key
	scanCold // visit what the tier has of a key that the log has nothing of
	scanDone
)

var scanNames = [...]string{"pins tier and tail", "looks at a record", "looks at a cold key", ""}

func (c *Config) stepScan(s *State) (ok bool, bad string) {
	x := &s.scan
	switch x.pc {
	case scanPin:
		if !c.Scan {
			return false, ""
		}
		*x = scan{pc: scanLog, tier: s.tier + 1, tail: s.tail, at: s.tiers[s.tier].begin + 1}
	case scanLog:
		if x.at > x.tail {
			x.pc, x.at = scanCold, 0
			break
		}
		if a := x.at; c.newestFor(s, s.key[a]) == a && s.value[a] != 0 {
			x.visit(s.key[a], s.value[a])
		}
		x.at++
	case scanCold:
		key := x.at
		if c.newestFor(s, key) == none {
			v, has, bad := s.cold(x.tier-1, key)
			if bad != "" {
				return true, bad
			}
			if has == hasValue {
				x.visit(key, v)
			}
		}
		if x.at++; x.at == keys {
			x.pc, x.tier = scanDone, 0
		}
	default:
		return false, ""
	}
	return true, ""
}

func (x *scan) visit(key uint8, value uint16) {
	x.times[key]++
	x.saw[key] = value
}

// newestFor returns the newest record of a key between the scan's begin and its tail. Where the chain has been cut it is
// found in the log.
func (c *Config) newestFor(s *State, key uint8) uint8 {
	x := &s.scan
	begin := s.tiers[x.tier-1].begin
	stop := s.tiers[s.tier].begin
	e := s.slot[c.slotOf(key)]
	for ; e > stop; e = s.prev[e] {
		if s.key[e] == key && e <= x.tail {
			return e
		}
	}
	if c.Plant == ScanTrusts {
		return none
	}
	for a := x.tail; a > begin; a-- {
		if s.key[a] == key && s.lost&(1<<a) == 0 {
			return a
		}
	}
	return none
}
