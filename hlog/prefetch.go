package hlog

import (
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/lock"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Prefetch begins to read from disk what operations on keys will need, and returns at once: a worker that knows its next
// batch has the disk busy while it works on this one. Operations that follow, of any session, find what was read or wait
// for it. The keys are copied.
//
// It is a hint: there is no error, nothing is held, and what operations return does not depend on it. A store reads ahead
// for at most 4,096 keys at a time, in a 16th of its memory; keys beyond that are ignored, and records that nobody has asked
// for are dropped, the oldest first. Metrics count both. It does nothing for keys that are in memory. While the directory is
// filled from a remote it asks that, for one call at a time of all sessions; other calls do nothing.
func (s *Session) Prefetch(keys [][]byte) {
	prefetchKeys(s, byteKeys(keys))
}

// Prefetch is Session.Prefetch for keys of the table.
func (t *Table[K, V]) Prefetch(keys []K) {
	prefetchKeys(t.s, tableKeys[K, V]{t, keys})
}

func prefetchKeys[K keyed](s *Session, keys K) {
	if s.phase == unbound {
		prefetchFar(s, keys)
	}
	if s.phase != usable || keys.len() == 0 {
		return
	}
	if t, begin := s.below(); t == nil && s.log.Head() <= begin {
		return
	}
	n := min(keys.len(), prefetchKeysMax)
	p := &s.store.prefetcher
	p.ignored.Add(uint64(keys.len() - n))
	var wants []aheadWant
	var arena []byte
	for from := 0; from < n; from += prefetchGroup {
		var ok bool
		to := min(from+prefetchGroup, n)
		if wants, arena, ok = coldOf(s, keys, from, to, wants, arena); !ok {
			letGo(wants)
			return
		}
	}
	p.add(wants)
}

// prefetchGroup is how many keys are looked up in one stay in the epoch.
const prefetchGroup = 64

// coldOf adds to wants where the chains of keys [from, to) leave memory, or, if they end there, what to look for in the tier.
// ok is false when the store is not open.
func coldOf[K keyed](s *Session, keys K, from, to int, wants []aheadWant, arena []byte) ([]aheadWant, []byte, bool) {
	var hashes [prefetchGroup]uint64
	for i := from; i < to; i++ {
		hashes[i-from] = s.store.hash(keys.at(i))
	}
	if _, err := s.enter(); err != nil {
		return wants, arena, false
	}
	x := s.store.index() // inside the epoch: a restore replaces it
	prefetch(s.log, x, hashes[:to-from])
	t, begin := s.below()
	head := s.log.Head()
	for i := from; i < to; i++ {
		h := hashes[i-from]
		_, e, status := x.Find(h)
		if status == index.NeedLoad || t == nil && uint64(e.Address()) < begin {
			continue
		}
		key := keys.at(i)
		a, _, found := s.log.Find(e.Address(), key, head)
		if uint64(a) < begin {
			a = word.None
		}
		if found || t == nil && a == word.None {
			continue
		}
		start := len(arena)
		arena = append(arena, key...) // keys.at may use one buffer for all
		w := aheadWant{a: a, begin: begin, key: arena[start:len(arena):len(arena)], hash: h, tier: t}
		if a == word.None {
			w.a = searchedAt(t, h)
		}
		t.hold()
		wants = append(wants, w)
	}
	s.guard.Exit()
	return wants, arena, true
}

// prefetcher reads ahead for Prefetch. What it has read is in a cache of its own until an operation claims it.
//
//	Prefetch ---> queue ---> flights: the job reads ---> read: not yet claimed ---> an operation
//	                |                                      |
//	                +-> full: ignored                      +-> full: the oldest is dropped
//
//	H14  A record is in flights from when it is queued until it is in read, or was given up; who finds it in flights waits
//	     for no more than that. What is in read is what the disk has at its address (H12), or what a file of the tier has
//	     (T35). Nobody depends on either: who finds nothing reads for himself.
//
// A search in the tier is in flights from its beginning to its end, under an address of its own.
type prefetcher struct {
	store *Store
	depth int
	bytes int64 // that fetch and read may take

	used  atomic.Bool      // Prefetch has found something to read: there are read and fetch
	read  *coldcache.Cache // what was read and not claimed
	fetch *reclog.Fetcher  // of the job
	guard *epoch.Guard     // of the job

	mu      lock.Mutex[lock.Leaf]
	change  sync.Cond                 // of mu: flights has less
	queue   []aheadWant               // of mu
	flights map[word.Address]struct{} // of mu
	closed  bool                      // of mu

	under map[int]aheadWant // of the job, by tag
	tag   int               // of the job: the last one

	fetched, ignored atomic.Uint64
}

// aheadWant is a key whose chain is followed on disk from a to begin, and then into the tier.
type aheadWant struct {
	a     word.Address // of the search when it is in the tier
	begin uint64
	key   []byte
	hash  uint64

	tier   *tier        // held as long as there is the want; nil: none
	search *cold.Lookup // there, if it has begun
	file   uint64       // id of what it reads
}

// searchedAt returns what stands in flights for a search in a tier.
func searchedAt(t *tier, h uint64) word.Address { return cachedAt(^t.generation(), h) }

// letGo lets go of the tiers that wants hold. The caller has no lock.
func letGo(wants []aheadWant) {
	for _, w := range wants {
		w.tier.release()
	}
}

const (
	prefetchKeysMax     = 4096
	prefetchMemoryShare = 16
	minPrefetchDepth    = 8
	maxPrefetchDepth    = 256
)

// init prepares the prefetcher, which takes no memory before it is used.
func (p *prefetcher) init(s *Store) {
	p.store = s
	p.change.L = &p.mu
}

// add queues what is not under way and not at hand, as far as there is room.
func (p *prefetcher) add(wants []aheadWant) {
	s := p.store
	if len(wants) == 0 || !p.begin() {
		letGo(wants)
		return
	}
	var not []aheadWant
	p.mu.Lock()
	for i, w := range wants {
		if len(p.flights) >= prefetchKeysMax || p.closed {
			p.ignored.Add(uint64(len(wants) - i))
			not = append(not, wants[i:]...)
			break
		}
		if _, ok := p.flights[w.a]; ok || s.cache.Has(w.a) || p.read.Has(w.a) {
			not = append(not, w)
			continue
		}
		p.flights[w.a] = struct{}{}
		p.queue = append(p.queue, w)
	}
	p.mu.Unlock()
	letGo(not)
	s.background.prefetch.Wake()
}

// begin takes the memory when the prefetcher is used for the first time; ok is false where nothing is done in the background.
func (p *prefetcher) begin() (ok bool) {
	s := p.store
	if p.used.Load() {
		return true
	}
	if s.background.work() != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.used.Load() {
		return !p.closed
	}
	p.bytes = s.memory.limit() / prefetchMemoryShare
	p.depth = int(min(max(p.bytes/4*3/reclog.FetchBytes, minPrefetchDepth), maxPrefetchDepth))
	p.flights, p.under = map[word.Address]struct{}{}, map[int]aheadWant{}
	p.fetch, p.guard = s.log.NewFetcher(p.depth), s.epochs.Register()
	s.memory.ahead.Store(p.bytes)
	p.read = coldcache.NewQueue(p.bytes)
	mean := int64(max(s.log.MeanRecord(), word.Align))
	p.read.Resize(min(p.bytes-int64(p.depth*reclog.FetchBytes), prefetchKeysMax*(mean+unclaimedOverhead)), min(int(mean), slotRecord/4))
	p.used.Store(true)
	s.log.Kick() // there are fewer frames
	return true
}

// unclaimedOverhead is what a record in read costs beside its bytes.
const unclaimedOverhead = 32

// round is the job: it reads what is queued.
func (p *prefetcher) round() {
	if !p.used.Load() || p.fetch.Open() != nil {
		p.giveUp()
		return
	}
	var batch []aheadWant
	for p.store.check() == nil {
		p.mu.Lock()
		batch, p.queue = append(batch[:0], p.queue...), p.queue[:0]
		p.mu.Unlock()
		for _, w := range batch {
			p.want(w)
		}
		p.fetch.Flush(p)
		if !p.fetch.Waiting() {
			if len(batch) == 0 {
				return
			}
			continue
		}
		p.fetch.Wait(p, 1)
	}
	p.fetch.Drain()
	for _, w := range p.under {
		w.tier.release()
	}
	clear(p.under)
	p.giveUp()
}

func (p *prefetcher) want(w aheadWant) {
	if w.a >= coldcache.Beyond {
		p.searchTier(w)
		return
	}
	p.tag++
	p.under[p.tag] = w
	p.fetch.Want(w.a, p.tag)
}

// searchTier asks for what the search for w in the tier has to read next.
func (p *prefetcher) searchTier(w aheadWant) {
	if w.search == nil {
		l := w.tier.Lookup(p.store.cold.filters, index.Order(w.hash), w.key, nil)
		w.search = &l
	}
	read, ok := w.search.Next()
	if ok && read.Records() {
		at := cachedAt(read.Share.Ref().ID, w.hash)
		ok = !p.store.cache.Has(at) && !p.read.Has(at)
	}
	if !ok {
		p.ends(w)
		return
	}
	w.file = read.Share.Ref().ID
	p.tag++
	p.under[p.tag] = w
	p.fetch.WantExtent(reclog.Extent{File: read.File().(fsx.File), Off: read.Off, N: read.N}, p.tag)
}

// FetchedExtent takes what searchTier has asked for. An error is left to the operation here, too.
func (p *prefetcher) FetchedExtent(tag int, b []byte, err error) {
	w := p.under[tag]
	delete(p.under, tag)
	if err == nil {
		w.tier.countRead()
		err = w.search.Take(b)
	}
	if err == nil && w.search.Found != cold.Live {
		p.searchTier(w)
		return
	}
	if err == nil {
		p.fetched.Add(1)
		p.read.Keep(cachedAt(w.file, w.hash), appendEntry(nil, w.file, w.key, w.search.Value), 0)
	}
	p.ends(w)
}

// ends ends the flight of a want.
func (p *prefetcher) ends(w aheadWant) {
	p.mu.Lock()
	delete(p.flights, w.a)
	p.mu.Unlock()
	p.change.Broadcast()
	w.tier.release()
}

// Fetched takes a record that was read, and goes on to the next of its chain if it is of another key. An error is left to
// the operation, which reads again and reports it.
func (p *prefetcher) Fetched(a word.Address, tag int, rec record.Bytes, sh record.Shape, err error) {
	w := p.under[tag]
	delete(p.under, tag)
	if err == nil {
		p.store.counters.coldReads.Inc()
		p.fetched.Add(1)
		p.read.Keep(a, rec, 0)
		p.store.invite(p.guard, a, p.fetch.Companions())
		next := rec.Link().Prev()
		if string(rec.Key(sh)) != string(w.key) && next < a {
			p.goOn(w, next)
		}
	}
	p.ends(w)
}

// goOn queues the next step of a want, the chain of which leads on to a record that is not read yet, or has ended.
func (p *prefetcher) goOn(w aheadWant, next word.Address) {
	if uint64(next) < w.begin {
		if w.tier == nil {
			return
		}
		next = searchedAt(w.tier, w.hash)
	}
	if p.store.cache.Has(next) {
		return
	}
	w.a = next
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.flights[next]; !ok {
		w.tier.hold()
		p.flights[next] = struct{}{}
		p.queue = append(p.queue, w)
	}
}

// giveUp ends all flights.
func (p *prefetcher) giveUp() {
	p.mu.Lock()
	queue := p.queue
	p.queue = nil
	clear(p.flights)
	p.mu.Unlock()
	p.change.Broadcast()
	letGo(queue)
}

// claim appends the record at a to dst and lets it go, if it was read ahead; it waits while it is under way. The caller is
// outside the epoch (H6).
func (p *prefetcher) claim(a word.Address, dst []byte, does access) ([]byte, bool) {
	if does == passing || !p.used.Load() {
		return dst, false
	}
	p.await(a)
	dst, ok := p.read.Get(a, dst)
	if ok {
		p.read.Take(a)
	}
	return dst, ok
}

// await waits while what flights has under a is under way. The caller is outside the epoch (H6).
func (p *prefetcher) await(a word.Address) {
	if !p.used.Load() {
		return
	}
	p.mu.Lock()
	for {
		if _, ok := p.flights[a]; !ok {
			break
		}
		p.change.Wait()
	}
	p.mu.Unlock()
}

// has reports whether the record at a is under way, or appends it to dst if it was read ahead.
func (p *prefetcher) has(a word.Address, dst []byte) (rec []byte, there, under bool) {
	if !p.used.Load() {
		return dst, false, false
	}
	p.mu.Lock()
	_, under = p.flights[a]
	p.mu.Unlock()
	if under {
		return dst, false, true
	}
	rec, there = p.read.Peek(a, dst)
	return rec, there, false
}

// dropped returns how many records were read and dropped before somebody asked for them.
func (p *prefetcher) dropped() uint64 {
	if !p.used.Load() {
		return 0
	}
	return p.read.Left()
}

// close gives everything back, when the life of the store is over and the job has stopped.
func (p *prefetcher) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.giveUp()
	if !p.used.Load() {
		return nil
	}
	p.read.Resize(0, 0)
	return p.fetch.Rest()
}
