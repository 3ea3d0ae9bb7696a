package hlog

import (
	"errors"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A Multi call on a log that has spilled looks ahead: while the operations of one group run, the cold records that
// the groups behind it will want are on their way from disk, so that the operations find them without waiting one
// after the other. What stands at an address never changes: what is staged cannot be stale, only of no use, if a chain
// has changed meanwhile; the operation then reads for itself.
//
// Where a chain ends and there is a tier below, the key is looked for in that, by the same queue. All tiers of a generation
// say the same of a key (T28), so that an answer is as good as a staged record for an operation that has found a tier of
// the generation of the one that was asked, and of no use for others.
//
//	H11  A staged record lives as long as its entry is alive: the arena of a group is used again when stageRing more
//	    groups have been collected, and entries of the group are dead from then on. A group relies on an entry of an
//	    earlier one only if it will have been operated by then.
//
//	group      0    1    2    3    4    5    6    7    8  ...
//	         [done|done|op..|....|....|....|....]
//	                     ^ operated      ^ collected: its reads are under way, or have ended
//	                     |<-- at most stageAhead -->|
const (
	// stageAhead is how many groups beyond the one that is operated are collected, and stageRing how many are
	// remembered. The ring is twice as large for the records that a later group shares with an earlier one (H11).
	stageAhead = 64
	stageRing  = 2 * stageAhead
	// stageGroup is how many keys are collected and operated together.
	stageGroup = 16
	// stageStep is how many groups are collected at once: their reads are submitted together.
	stageStep = 4
	// stageTable is the size of the table of staged records, a power of two, several times what it holds at a time.
	stageTable = 8192
	stageProbe = 8
)

// staging is what a Multi call reads ahead with. The store has a few, which calls borrow.
type staging struct {
	store  *Store
	fetch  *reclog.Fetcher
	guard  *epoch.Guard
	taken  int64 // bytes of its buffers
	keep   bool  // what is read goes into the cache
	table  [stageTable]stagedRecord
	asks   []ask // stageGroup for each group that was collected and not operated; nil before the first tier
	groups [stageRing]stagedGroup
	at     uint32 // group that is operated; counts up for ever, so that what an earlier call left is old
	ahead  uint32 // group that is collected next
	peek   []byte
}

// stagedGroup is stageGroup keys of a call.
type stagedGroup struct {
	hashes  [stageGroup]uint64
	wants   [stageGroup]want
	n       int    // wants
	pending int    // of wants: those whose chains are being followed
	keys    []byte // what the wants' keys point into
	arena   []byte // the records, and the values that the tier has
	begin   uint64 // where chains end
	tier    *tier  // below; held until the group has been operated
}

// want is a key whose chain is followed on disk, and then into the tier.
type want struct {
	from, to int // of keys
	hash     uint64
}

// ask is the search for a want in the tier.
type ask struct {
	cold.Lookup
	file     uint64 // id of what is read
	answered bool
	pos, end int // of the arena: the value
}

// stagedRecord is a record that has been read, or is under way, on behalf of a group.
type stagedRecord struct {
	a     word.Address
	group uint32
	pos   uint32 // in the group's arena, plus one; 0 while it is under way
}

// bytes returns the record of an entry, nil while it is under way.
func (g *staging) bytes(e *stagedRecord) record.Bytes {
	if e.pos == 0 {
		return nil
	}
	return record.Bytes(g.group(e.group).arena[e.pos-1:])
}

func (g *staging) group(n uint32) *stagedGroup { return &g.groups[n%stageRing] }

// ask returns the search for a want of a group that was collected and not operated.
func (g *staging) ask(group uint32, i int) *ask {
	return &g.asks[int(group%stageAhead)*stageGroup+i]
}

func stageHash(a word.Address) int { return int(uint32(fold(uint64(a), 0)>>20) % stageTable) }

// find returns the entry of address a, or nil.
func (g *staging) find(a word.Address) *stagedRecord {
	h := stageHash(a)
	for i := range stageProbe {
		if e := &g.table[(h+i)%stageTable]; e.a == a && g.alive(e) {
			return e
		}
	}
	return nil
}

// alive reports whether an entry's group is still remembered, with its arena (H11).
func (g *staging) alive(e *stagedRecord) bool { return e.a != word.None && g.ahead-e.group < stageRing }

// shared returns the entry of address a if a group that is collected now may rely on it (H11): it will have been operated
// before stageAhead more groups are collected.
func (g *staging) shared(a word.Address) *stagedRecord {
	if e := g.find(a); e != nil && g.ahead-e.group < stageRing-stageAhead {
		return e
	}
	return nil
}

// insert makes an entry for address a. A full neighbourhood loses its oldest entry, whose operation will then read for
// itself.
func (g *staging) insert(a word.Address, group uint32) *stagedRecord {
	h := stageHash(a)
	var oldest *stagedRecord
	for i := range stageProbe {
		e := &g.table[(h+i)%stageTable]
		if e.a == a || !g.alive(e) {
			oldest = e
			break
		}
		if oldest == nil || g.ahead-e.group > g.ahead-oldest.group {
			oldest = e
		}
	}
	*oldest = stagedRecord{a: a, group: group}
	return oldest
}

// record returns the staged record at a, or nil.
func (g *staging) record(a word.Address) record.Bytes {
	if e := g.find(a); e != nil {
		return g.bytes(e)
	}
	return nil
}

// collect prepares the next group: keys [from, to).
func collect[K keyed](g *staging, s *Session, keys K, from, to int) error {
	n := g.group(g.ahead)
	n.n, n.pending, n.keys, n.arena = 0, 0, n.keys[:0], n.arena[:0]
	for i := from; i < to; i++ {
		n.hashes[i-from] = s.store.hash(keys.at(i))
	}
	if _, err := s.enter(); err != nil {
		return err
	}
	var heads [stageGroup]word.Address // where chains leave memory
	x := s.store.index()               // inside the epoch: a restore replaces it
	prefetch(s.log, x, n.hashes[:to-from])
	head := s.log.Head()
	n.tier, n.begin = s.below()
	n.tier.hold()
	for i := from; i < to; i++ {
		_, e, status := x.Find(n.hashes[i-from])
		if status == index.NeedLoad || n.tier == nil && uint64(e.Address()) < n.begin {
			continue
		}
		key := keys.at(i)
		a, _, ok := s.log.Find(e.Address(), key, head)
		if !ok && (n.tier != nil || a != word.None && uint64(a) >= n.begin) {
			heads[n.n] = a
			n.wants[n.n] = want{len(n.keys), len(n.keys) + len(key), n.hashes[i-from]}
			n.keys = append(n.keys, key...) // keys.at may use one buffer for all
			n.n++
		}
	}
	s.guard.Exit()
	if n.tier != nil && g.asks == nil {
		g.asks = make([]ask, stageAhead*stageGroup)
	}
	for i, a := range heads[:n.n] {
		n.pending++
		g.follow(g.ahead, i, a)
	}
	g.ahead++
	return nil
}

// follow goes down a want's chain from a, through what is at hand, to the first record that has to be read, if any, and to
// the tier when the chain ends.
func (g *staging) follow(group uint32, i int, a word.Address) {
	n := g.group(group)
	key := n.keys[n.wants[i].from:n.wants[i].to]
	for a != word.None && uint64(a) >= n.begin {
		var rec record.Bytes
		if e := g.shared(a); e != nil {
			if rec = g.bytes(e); rec == nil {
				n.pending-- // under way on behalf of a group that comes before
				return
			}
		} else if b, ok := g.store.cache.Peek(a, g.peek[:0]); ok {
			g.peek, rec = b, b
		}
		if rec == nil {
			b, there, under := g.store.prefetcher.has(a, g.peek[:0])
			if under {
				n.pending-- // the operation waits for it
				return
			}
			if there {
				g.peek, rec = b, b
			}
		}
		if rec == nil {
			g.insert(a, group)
			g.fetch.Want(a, int(group%stageRing)*stageGroup+i)
			return
		}
		sh, _ := rec.Shape()
		if string(rec.Key(sh)) == string(key) || rec.Link().Prev() >= a {
			n.pending--
			return
		}
		a = rec.Link().Prev()
	}
	if n.tier == nil {
		n.pending--
		return
	}
	if _, _, under := g.store.prefetcher.has(searchedAt(n.tier, n.wants[i].hash), g.peek[:0]); under {
		n.pending-- // the operation waits for it
		return
	}
	*g.ask(group, i) = ask{Lookup: n.tier.Lookup(g.store.cold.filters, index.Order(n.wants[i].hash), key, nil)}
	g.search(group, i)
}

// search asks for what the search for a want in the tier has to read next.
func (g *staging) search(group uint32, i int) {
	q := g.ask(group, i)
	read, ok := q.Next()
	if ok && read.Records() {
		at := cachedAt(read.Share.Ref().ID, g.group(group).wants[i].hash)
		entry, ahead, _ := g.store.prefetcher.has(at, g.peek[:0])
		g.peek = entry
		if ahead || g.store.cache.Has(at) {
			g.group(group).pending-- // the operation finds it
			return
		}
	}
	if ok {
		q.file = read.Share.Ref().ID
		g.fetch.WantExtent(reclog.Extent{File: read.File().(fsx.File), Off: read.Off, N: read.N}, int(group%stageRing)*stageGroup+i)
		return
	}
	q.answered = true
	g.group(group).pending--
}

// FetchedExtent is told about what search has asked for. What cannot be read, or is damaged, is left to the operation, which
// reports it.
func (g *staging) FetchedExtent(tag int, b []byte, err error) {
	group, i := g.groupOf(tag), tag%stageGroup
	n, q := g.group(group), g.ask(group, i)
	if err == nil {
		n.tier.countRead()
		q.pos = len(n.arena)
		q.Value = n.arena
		err = q.Take(b)
		n.arena, q.Value = q.Value, nil
		q.end = len(n.arena)
		if w := n.wants[i]; g.keep && err == nil && q.Found == cold.Live {
			g.peek = g.store.cold.keep(g.peek, q.file, n.keys[w.from:w.to], w.hash, n.arena[q.pos:q.end])
		}
	}
	if err != nil {
		n.pending--
		return
	}
	for len(n.arena)%word.Align != 0 {
		n.arena = append(n.arena, 0) // records are whole words
	}
	g.search(group, i)
}

// groupOf returns the group of a tag: those under way are not older than at.
func (g *staging) groupOf(tag int) uint32 { return g.at + (uint32(tag/stageGroup)-g.at)%stageRing }

// answer returns what the tier has of a key of the group that is operated: ok says that a tier of the generation of t was
// asked.
func (g *staging) answer(t *tier, key []byte, h uint64) (value []byte, found, ok bool) {
	n := g.group(g.at)
	if n.tier == nil || n.tier.generation() != t.generation() {
		return nil, false, false
	}
	for i, w := range n.wants[:n.n] {
		if q := g.ask(g.at, i); q.answered && w.hash == h && string(n.keys[w.from:w.to]) == string(key) {
			return n.arena[q.pos:q.end], q.Found == cold.Live, true
		}
	}
	return nil, false, false
}

// leave ends the group that was operated.
func (g *staging) leave() {
	n := g.group(g.at)
	if n.tier != nil {
		for i := range stageGroup {
			*g.ask(g.at, i) = ask{}
		}
		n.tier.release()
		n.tier = nil
	}
	g.at++
}

// Fetched is told about a record that follow has asked for. One that cannot be read is left to the operation, which
// reports it.
func (g *staging) Fetched(a word.Address, tag int, rec record.Bytes, sh record.Shape, err error) {
	n := &g.groups[tag/stageGroup]
	e := g.find(a)
	if err != nil {
		if e != nil && e.pos == 0 {
			*e = stagedRecord{}
		}
		n.pending--
		return
	}
	g.store.counters.coldReads.Inc()
	if g.keep {
		g.store.cache.Put(a, rec)
	}
	g.store.invite(g.guard, a, g.fetch.Companions())
	pos := uint32(len(n.arena) + 1)
	n.arena = append(n.arena, rec...)
	group := g.groupOf(tag)
	if e == nil || e.group != group { // its entry had to make room meanwhile
		e = g.insert(a, group)
	}
	e.pos = pos
	w := n.wants[tag%stageGroup]
	if string(rec.Key(sh)) == string(n.keys[w.from:w.to]) || rec.Link().Prev() >= a {
		n.pending--
		return
	}
	g.follow(group, tag%stageGroup, rec.Link().Prev())
}

// await returns when the group that is operated next has what it wants.
func (g *staging) await() {
	g.fetch.Flush(g)
	for n := g.group(g.at); n.pending > 0; {
		g.fetch.Wait(g, n.pending)
	}
}

// stagingFor borrows what a call reads ahead with, if the log has spilled or there is a tier below it, and there is one left.
func (s *Session) stagingFor(does access) *staging {
	if s.phase != usable {
		return nil
	}
	if t, begin := s.below(); does == writing || t == nil && s.log.Head() <= begin {
		return nil
	}
	g := s.store.stagings.take(s.store)
	if g != nil {
		g.keep = does == reading // what is updated moves to the tail
	}
	return g
}

// groupsStaged calls group for each stageGroup of keys [from, len), with their hashes, when their cold records have
// been read, while those of later groups are on their way.
func groupsStaged[K keyed](s *Session, g *staging, keys K, from int, group func(from, to int, hashes []uint64) error) error {
	s.staged = g
	defer s.unstage() // the callback may panic
	n := keys.len()
	for at, ahead := from, from; at < n; at += stageGroup {
		if g.ahead-g.at <= stageAhead-stageStep {
			for ahead < n && g.ahead-g.at < stageAhead && (ahead == at || !g.fetch.Full()) {
				end := min(ahead+stageGroup, n)
				if err := collect(g, s, keys, ahead, end); err != nil {
					return err
				}
				ahead = end
			}
		}
		g.await()
		end := min(at+stageGroup, n)
		if err := group(at, end, g.group(g.at).hashes[:end-at]); err != nil {
			return err
		}
		g.leave()
	}
	return nil
}

// prefetch asks for the buckets of hashes and then for their newest records. The caller is inside the epoch.
func prefetch(l *reclog.Log, x *index.Index, hashes []uint64) {
	for _, h := range hashes {
		x.Prefetch(h)
	}
	head := l.Head()
	for _, h := range hashes {
		if a := x.Seek(h).Address(); uint64(a) >= head {
			mem.Prefetch(l.At(a))
		}
	}
}

// unstage gives back what the Multi call has borrowed.
func (s *Session) unstage() {
	g := s.staged
	s.staged = nil
	g.fetch.Drain()
	for g.at != g.ahead {
		g.leave()
	}
	// What is staged was for this call: nothing of it is alive in the next.
	g.at = g.ahead + stageRing
	g.ahead = g.at
	s.store.stagings.give(g)
}

// stagings lends the means to read ahead. There are so few that their buffers fit into the memory set aside for them (budget.readers),
// but for the first; a call that finds none goes without, and never waits for another call, whose callback may take its time.
type stagings struct {
	memory *budget

	mu    lock.Mutex[lock.Leaf]
	idle  []*staging
	bytes int64 // of mu: of the buffers of those that there are
}

func (p *stagings) init(b *budget) { p.memory = b }

const (
	maxStagings   = 4
	minFetchDepth = 16
	maxFetchDepth = 256
)

// take returns a staging, or nil.
func (p *stagings) take(s *Store) *staging {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		g := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return g
	}
	readers := p.memory.readers()
	depth := int(min(max(readers/maxStagings/reclog.FetchBytes, minFetchDepth), maxFetchDepth))
	bytes := int64(depth * reclog.FetchBytes)
	if p.bytes > 0 && p.bytes+bytes > readers || s.life.Phase().Over() {
		return nil
	}
	g := &staging{store: s, taken: bytes, fetch: s.log.NewFetcher(depth), guard: s.epochs.Register(), at: 2 * stageRing, ahead: 2 * stageRing}
	if g.fetch.Open() != nil {
		g.guard.Release()
		return nil
	}
	p.bytes += bytes
	return g
}

func (p *stagings) give(g *staging) {
	p.mu.Lock()
	// What a store may take of a shared budget may have become less since g was made.
	keep := !g.store.life.Phase().Over() && p.bytes <= max(p.memory.readers(), g.taken)
	if keep {
		p.idle = append(p.idle, g)
	} else {
		p.bytes -= g.taken
	}
	p.mu.Unlock()
	if !keep {
		g.rest()
	}
}

// rest gives back what g holds. Nothing is under way.
func (g *staging) rest() error {
	g.guard.Release()
	return g.fetch.Rest()
}

// close gives back those that are idle, when the life of the store is over; others follow when their calls end.
func (p *stagings) close() (err error) {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, g := range idle {
		err = errors.Join(err, g.rest())
	}
	return err
}
