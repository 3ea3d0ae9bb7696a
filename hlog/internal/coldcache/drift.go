package coldcache

// drift tells whether the keys that are in use change. As long as they do not, a cache should know a record well before it
// takes it in for another one, and keep for long what it knows to be read often. When they change that is wrong twice: what
// is in use now has to wait at the door, and what was in use stays for many rounds. What tells the two apart is how often a
// record is missed that the cache remembers to have refused or to have let go, for each time that it has one: this is rare
// as long as it has the right ones.
//
//	                                           nothing drifts     it drifts
//	a record is taken if it is remembered      twice              once
//	its heat is good for                       MaxHeat rounds     driftHeat rounds
type drift struct {
	misses, known int    // of the window that goes on; known are those whose records were remembered
	hits          uint64 // of the shard, before it
	on            bool   // what the window before has told
}

const (
	// A window has a part of as many misses as there are entries, so that what has changed is found out before they could
	// all have been replaced, but leastWindow at least.
	windowShare = 10
	leastWindow = 32
	// It drifts when known misses are more than a part driftBegins of the hits, until they are less than driftEnds. Where
	// some keys are always read more often than others there are 0.03 to 0.15, while those change 0.3 to 5.
	driftBegins, driftEnds = 0.20, 0.16

	driftHeat = 1
)

// asks returns how often a record must be remembered to be taken in.
func (d *drift) asks() int {
	if d.on {
		return 1
	}
	return 2
}

// missed counts a miss of a cache that is full, and returns how often the record is remembered.
func (s *shard) missed(h hash) (times int) {
	times = s.remembers(h)
	d := &s.drift
	d.misses++
	if times > 0 {
		d.known++
	}
	if d.misses >= max(s.entries/windowShare, leastWindow) {
		known := float64(d.known) / float64(s.hits-d.hits+1)
		*d = drift{hits: s.hits, on: known > driftBegins || d.on && known > driftEnds}
	}
	return times
}

// heat returns for how many rounds the entry with this header is still good.
func (s *shard) heat(hd header) int {
	if s.drift.on {
		return min(hd.heat(), driftHeat)
	}
	return hd.heat()
}
