package coldcache

import (
	"encoding/binary"
	"sync"

	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// maxRecordShare is the part of a ring that one record may take.
	maxRecordShare = 8
	// moreRounds bounds the work of one insert.
	moreRounds = 32
	// ghostWays is how many addresses share a word of the ghost, and ghostShare how many entries of the cache there are for
	// each that the ghost has. One that remembers longer brings in more of what is not read again.
	ghostWays  = 4
	ghostShare = 2
	// slotsFull and slotsOf are the part of the slots that may be taken: linear probing slows down steeply beyond, and Q3
	// needs an empty one.
	slotsFull, slotsOf = 3, 4
)

// shard is a part of the cache with a lock of its own. Positions and lengths in the ring are in words.
type shard struct {
	mu       sync.Mutex
	region   *mem.Region // nil when the shard holds nothing
	ring     []byte
	slots    []byte
	form     slotForm
	ghosts   []byte
	size     int // of the ring
	head     int // position of the oldest entry or gap
	used     int // words from head on, gaps included
	entries  int
	maxSlots int   // entries that the slots can bear
	maxWords int   // of a record
	gaps     *gaps // like region

	drift   drift
	guests  guests
	hits    uint64   // of Get
	refused uint64   // by Put
	left    uint64   // entries, to make room
	inOrder bool     // gaps are left alone until the ring comes round to them
	_       [64]byte // keeps the neighbour's lock off this one's lines
}

func wordAt(b []byte, i int) uint64     { return mem.Load64(b[i*word.Align:]) }
func setWord(b []byte, i int, v uint64) { binary.LittleEndian.PutUint64(b[i*word.Align:], v) }

func (s *shard) header(pos int) header       { return header(wordAt(s.ring, pos)) }
func (s *shard) setHeader(pos int, h header) { setWord(s.ring, pos, uint64(h)) }
func (s *shard) slotAt(i int) slot           { return slot(binary.LittleEndian.Uint32(s.slots[i*slotBytes:])) }
func (s *shard) slotCount() int              { return len(s.slots) / slotBytes }

func (s *shard) setSlot(i int, v slot) {
	binary.LittleEndian.PutUint32(s.slots[i*slotBytes:], uint32(v))
}

// position returns the position of the entry that slot i leads to.
func (s *shard) position(i int) int { return s.form.position(s.slotAt(i)) }

// homeOf returns the slot where the search for the entry at pos begins.
func (s *shard) homeOf(pos int) int {
	return scale(hashOf(s.header(pos).address()).slot(), s.slotCount())
}

// wrap brings a position that is at most one turn too large back into the ring.
func (s *shard) wrap(pos int) int {
	if pos >= s.size {
		pos -= s.size
	}
	return pos
}

// span returns the words of the ring from pos on, in two pieces where they wrap.
func (s *shard) span(pos, words int) (first, second []byte) {
	n := min(words, s.size-pos)
	return s.ring[pos*word.Align : (pos+n)*word.Align], s.ring[:(words-n)*word.Align]
}

// appendRecord appends the record of the entry at pos to dst.
func (s *shard) appendRecord(dst []byte, pos int) []byte {
	first, second := s.span(s.wrap(pos+1), s.header(pos).words())
	return append(append(dst, first...), second...)
}

// find returns the number of a's slot, or -1.
func (s *shard) find(a word.Address, hash uint32) int {
	n := s.slotCount()
	if n == 0 {
		return -1
	}
	for i := scale(hash, n); ; i++ {
		if i == n {
			i = 0
		}
		v := s.slotAt(i)
		if v == 0 {
			return -1
		}
		if s.form.like(v, hash) && s.header(s.form.position(v)).address() == a {
			return i
		}
	}
}

// addSlot gives the entry at pos a slot (Q2).
func (s *shard) addSlot(hash uint32, pos int) {
	n := s.slotCount()
	i := scale(hash, n)
	for s.slotAt(i) != 0 {
		if i++; i == n {
			i = 0
		}
	}
	s.setSlot(i, s.form.slot(hash, pos))
}

// remove empties slot i and moves those after it up, so that none is cut off from its home (Q3).
func (s *shard) remove(i int) {
	n := s.slotCount()
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		v := s.slotAt(j)
		if v == 0 {
			break
		}
		// v may move to i unless its home lies after i, up to j, going round.
		fromHome := j - s.homeOf(s.form.position(v))
		if fromHome < 0 {
			fromHome += n
		}
		fromHole := j - i
		if fromHole < 0 {
			fromHole += n
		}
		if fromHome >= fromHole {
			s.setSlot(i, v)
			i = j
		}
	}
	s.setSlot(i, 0)
}

// remembers returns how often h is in the ghost: as often as it was refused or has left, not long ago.
func (s *shard) remembers(h hash) (times int) {
	w := wordAt(s.ghosts, scale(h.slot(), len(s.ghosts)/word.Align))
	for way := range ghostWays {
		if uint16(w>>(way*ghostBits)) == h.ghost() {
			times++
		}
	}
	return times
}

// remember puts h into the ghost, which forgets what it was given longest ago.
func (s *shard) remember(h hash) {
	if len(s.ghosts) == 0 {
		return
	}
	i := scale(h.slot(), len(s.ghosts)/word.Align)
	setWord(s.ghosts, i, wordAt(s.ghosts, i)<<ghostBits|uint64(h.ghost()))
}

const ghostBits = 64 / ghostWays

// hasRoom reports whether an entry of so many words, header included, fits behind the newest one without another one
// leaving.
func (s *shard) hasRoom(words int) bool {
	return s.used+words <= s.size && s.entries < s.maxSlots
}

// insert puts in a record that is not there and not too large: into a gap, or else behind the newest entry.
func (s *shard) insert(hd header, rec []byte) {
	words := 1 + hd.words()
	if s.entries < s.maxSlots && !s.inOrder {
		if pos, ok := s.takeGap(words); ok {
			s.place(pos, hd, rec, nil)
			return
		}
	}
	s.makeRoom(words)
	s.push(hd, rec, nil)
}

// gone counts an entry that is not there any more.
func (s *shard) gone(hd header) {
	s.entries--
	if hd.guest() {
		s.guests.here--
	}
}

// makeRoom lets the oldest entries leave until one of so many words fits in. Those that have heat go to the end instead and
// lose some of it, but only so many.
func (s *shard) makeRoom(words int) {
	rounds := moreRounds
	for !s.hasRoom(words) {
		hd := s.header(s.head)
		switch {
		case hd.gap():
			s.unlinkGap(s.head)
		case s.heat(hd) > 0 && rounds > 0:
			rounds--
			s.requeue()
			continue
		default:
			h := hashOf(hd.address())
			s.remove(s.mustFind(hd.address()))
			s.gone(hd)
			s.left++
			s.remember(h)
		}
		s.pop(1 + hd.words())
	}
}

func (s *shard) pop(words int) {
	s.head = s.wrap(s.head + words)
	s.used -= words
}

func (s *shard) mustFind(a word.Address) int {
	i := s.find(a, hashOf(a).slot())
	if invariant.Enabled && i < 0 {
		invariant.Check(false, "Q2: no slot for the entry of address %d", a)
	}
	return i
}

// requeue moves the oldest entry to the end of the ring and takes one of its heat.
func (s *shard) requeue() {
	hd := s.header(s.head)
	if hd.guest() {
		s.guests.here--
	}
	hd = hd.withHeat(s.heat(hd) - 1).settled()
	words := 1 + hd.words()
	slot := s.mustFind(hd.address())
	s.setHeader(s.head, hd)
	from, to := s.head, s.wrap(s.head+s.used)
	s.move(from, to, words) // onto itself when the ring is full to the last word: there the end is where the head was
	s.head = s.wrap(s.head + words)
	s.setSlot(slot, s.form.slot(hashOf(hd.address()).slot(), to))
}

// move copies words from one position to another that lies before it, going round; the two may overlap. It goes on in
// pieces that wrap on neither side, from the front, so that nothing is overwritten before it was copied.
func (s *shard) move(from, to, words int) {
	for words > 0 {
		n := min(words, s.size-from, s.size-to)
		copy(s.ring[to*word.Align:(to+n)*word.Align], s.ring[from*word.Align:(from+n)*word.Align])
		from, to, words = s.wrap(from+n), s.wrap(to+n), words-n
	}
}

// push appends an entry, whose record may come in two pieces; there is room.
func (s *shard) push(hd header, first, second []byte) {
	words := 1 + hd.words()
	if invariant.Enabled && !s.hasRoom(words) {
		invariant.Check(false, "Q1: %d words do not fit into a ring of %d with %d used", words, s.size, s.used)
	}
	pos := s.wrap(s.head + s.used)
	s.used += words
	s.place(pos, hd, first, second)
}

// place writes an entry to pos, where there is room for it.
func (s *shard) place(pos int, hd header, first, second []byte) {
	s.setHeader(pos, hd)
	s.write(s.wrap(pos+1), first)
	s.write(s.wrap(pos+1+len(first)/word.Align), second)
	s.entries++
	if hd.guest() {
		s.guests.here++
	}
	s.addSlot(hashOf(hd.address()).slot(), pos)
}

// write copies whole words into the ring from pos on.
func (s *shard) write(pos int, b []byte) {
	first, second := s.span(pos, len(b)/word.Align)
	copy(second, b[copy(first, b):])
}

// walk calls fn for every entry and gap, from the oldest on.
func (s *shard) walk(fn func(pos int, hd header)) {
	for pos, left := s.head, s.used; left > 0; {
		hd := s.header(pos)
		fn(pos, hd)
		pos, left = s.wrap(pos+1+hd.words()), left-1-hd.words()
	}
}

// resize gives the shard another region of so many bytes, none if 0, for records of so many, and takes the newest entries
// along.
func (s *shard) resize(bytes, record int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next shard
	if bytes > 0 {
		next.lay(bytes, record)
	}
	if s.region != nil && next.region != nil {
		s.moveTo(&next)
	}
	if s.region != nil {
		_ = s.region.Unmap() // a cache that cannot give memory back can do nothing about it
	}
	s.region, s.ring, s.slots, s.form, s.ghosts = next.region, next.ring, next.slots, next.form, next.ghosts
	s.size, s.head, s.used, s.entries, s.guests.here = next.size, next.head, next.used, next.entries, next.guests.here
	s.maxSlots, s.maxWords, s.gaps = next.maxSlots, next.maxWords, next.gaps
}

// moveTo puts the newest entries into next, which is empty.
func (s *shard) moveTo(next *shard) {
	words, entries := 0, s.entries // of the entries that are still to come, all of which have to fit
	s.walk(func(_ int, hd header) {
		if !hd.gap() {
			words += 1 + hd.words()
		}
	})
	s.walk(func(pos int, hd header) {
		if hd.gap() {
			return
		}
		if words <= next.size && entries <= next.maxSlots && hd.words() <= next.maxWords {
			first, second := s.span(s.wrap(pos+1), hd.words())
			next.push(hd, first, second)
		}
		words, entries = words-1-hd.words(), entries-1
	})
}

// lay maps a region and divides it. When the system has no memory to give, the shard holds nothing.
func (s *shard) lay(bytes, record int) {
	region, err := mem.Map(bytes)
	if err != nil {
		return
	}
	per := word.Align + record + slotBytes*slotsOf/slotsFull + word.Align/ghostWays/ghostShare
	entries := bytes / per
	slots := max(entries*slotsOf/slotsFull, 4) &^ 1 // whole words
	ghosts := max(entries/ghostWays/ghostShare, 1)
	s.region, s.gaps = region, new(gaps)
	s.size = bytes/word.Align - slots*slotBytes/word.Align - ghosts
	s.form = formFor(s.size)
	s.ring = region.Bytes(0, s.size*word.Align)
	s.slots = region.Bytes(len(s.ring), slots*slotBytes)
	s.ghosts = region.Bytes(len(s.ring)+len(s.slots), ghosts*word.Align)
	s.maxSlots = slots * slotsFull / slotsOf
	s.maxWords = min(s.size/maxRecordShare, maxHeaderWords)
}
