package hlog

import (
	"cmp"
	"container/list"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/internal/word"
)

// A trace is what operations do to keys, by their numbers: key with its lowest bit free, which is set where the operation
// changes the key after having read it.
type trace []uint32

func access32(key int, update bool) uint32 {
	if update {
		return uint32(key)<<1 | 1
	}
	return uint32(key) << 1
}

func (t trace) at(i int) (key int, update bool) { return int(t[i] >> 1), t[i]&1 == 1 }

// zipfTrace draws keys with weight 1/rank^0.99, a part of them to be updated.
func zipfTrace(keys, n int, updates float64, seed uint64) trace {
	r := rand.New(rand.NewPCG(seed, 1))
	sums := make([]float64, keys)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -0.99)
		sums[i] = sum
	}
	t := make(trace, n)
	for i := range t {
		rank, _ := slices.BinarySearch(sums, r.Float64()*sum)
		key := int(uint64(rank) * 2654435761 % uint64(keys))
		t[i] = access32(key, r.Float64() < updates)
	}
	return t
}

// driftTrace draws nine keys of ten from a tenth of all, which moves on to the next tenth after every rotate draws.
func driftTrace(keys, n, rotate int, seed uint64) trace {
	r := rand.New(rand.NewPCG(seed, 2))
	t := make(trace, n)
	for i := range t {
		key := r.IntN(keys)
		if r.Float64() < 0.9 {
			key = (i/rotate*(keys/10) + r.IntN(keys/10)) % keys
		}
		t[i] = access32(key, r.IntN(2) == 0)
	}
	return t
}

// scattered gives the keys other numbers, so that the order in which they are loaded says nothing of when they are used.
func (t trace) scattered(keys int) trace {
	number := rand.New(rand.NewPCG(11, 3)).Perm(keys)
	out := make(trace, len(t))
	for i := range t {
		key, update := t.at(i)
		out[i] = access32(number[key], update)
	}
	return out
}

// withScans has every key read once, in order, after every so many operations.
func (t trace) withScans(keys, every int) trace {
	var out trace
	for i, op := range t {
		if i > 0 && i%every == 0 {
			for k := range keys {
				out = append(out, access32(k, false))
			}
		}
		out = append(out, op)
	}
	return out
}

// tokenTrace is the identifiers of the Go source tree in their order, each to be updated, as the main job of bench counts
// them; at most n of them.
func tokenTrace(t testing.TB, n int) (tr trace, keys int) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("no Go source: %v", err)
	}
	number := map[string]int{}
	walk := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, word := range strings.FieldsFunc(string(text), func(r rune) bool {
			return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			k, ok := number[word]
			if !ok {
				k = len(number)
				number[word] = k
			}
			if tr = append(tr, access32(k, true)); len(tr) == n {
				return fs.SkipAll
			}
		}
		return nil
	}
	if err := filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), walk); err != nil {
		t.Skipf("no Go source: %v", err)
	}
	return tr, len(number)
}

// policy is a way to spend memory on records. use tells of one operation and reports whether its key was in memory.
type policy interface {
	use(key int, update bool) (hit bool)
}

// missesOf returns the share of operations from the middle of the trace on that have to read.
func missesOf(p policy, t trace) float64 {
	misses := 0
	for i := range t {
		key, update := t.at(i)
		if hit := p.use(key, update); !hit && i >= len(t)/2 {
			misses++
		}
	}
	return float64(misses) / float64(len(t)-len(t)/2)
}

// optimum returns the misses, in the same part of the trace, of a memory that has its most popular keys for good.
func optimum(t trace, keys, records int) float64 {
	count := make([]int, keys)
	for i := len(t) / 2; i < len(t); i++ {
		key, _ := t.at(i)
		count[key]++
	}
	slices.SortFunc(count, func(a, b int) int { return cmp.Compare(b, a) })
	hits := 0
	for _, n := range count[:min(records, keys)] {
		hits += n
	}
	return 1 - float64(hits)/float64(len(t)-len(t)/2)
}

// lru keeps the keys that were used last.
type lru struct {
	records int
	order   list.List
	at      map[int]*list.Element
}

func newLRU(records int) *lru { return &lru{records: records, at: map[int]*list.Element{}} }

func (p *lru) use(key int, _ bool) bool {
	if e := p.at[key]; e != nil {
		p.order.MoveToFront(e)
		return true
	}
	p.at[key] = p.order.PushFront(key)
	if p.order.Len() > p.records {
		delete(p.at, p.order.Remove(p.order.Back()).(int))
	}
	return false
}

// s3fifo is S3-FIFO (SOSP 2023): a small queue of a tenth, a main queue whose keys go round while they have been used, and a
// ghost that remembers as many keys as the main queue has.
type s3fifo struct {
	records     int
	small, main []int
	ghosts      int // how many keys the ghost has been given
	keys        []s3key
}

type s3key struct {
	in    bool
	uses  int
	ghost int // its number among what the ghost was given, 0 for none
}

func newS3FIFO(keys, records int) *s3fifo {
	return &s3fifo{records: records, keys: make([]s3key, keys)}
}

func (p *s3fifo) use(key int, _ bool) bool {
	k := &p.keys[key]
	if k.in {
		k.uses = min(k.uses+1, 3)
		return true
	}
	for len(p.small)+len(p.main) >= p.records {
		p.evict()
	}
	k.in, k.uses = true, 0
	if k.ghost > 0 && k.ghost > p.ghosts-p.records*9/10 {
		p.main = append(p.main, key)
	} else {
		p.small = append(p.small, key)
	}
	return false
}

func (p *s3fifo) evict() {
	if len(p.small) > p.records/10 || len(p.main) == 0 {
		key := p.small[0]
		p.small = p.small[1:]
		if k := &p.keys[key]; k.uses > 1 {
			k.uses = 0
			p.main = append(p.main, key)
		} else {
			p.ghosts++
			k.in, k.ghost = false, p.ghosts
		}
		return
	}
	key := p.main[0]
	p.main = p.main[1:]
	if k := &p.keys[key]; k.uses > 0 {
		k.uses--
		p.main = append(p.main, key)
	} else {
		k.in = false
	}
}

// stored is the store's own policy: frames as keep.go says, in pages, and the cache itself. It knows addresses, heat and
// sizes; there are no bytes in it but those that the cache copies.
type stored struct {
	record, page     uint64 // sizes in bytes
	frames           uint64 // pages
	readOnly         uint64 // pages that are updated in place, from the tail on
	tail, head, open uint64
	keys             []simRecord
	log              []uint32 // key of each record that was appended
	cache            *coldcache.Cache
	bytes, buf       []byte
	appended         int
}

// simRecord is where a key's newest record is.
type simRecord struct {
	at   uint64
	heat int
}

// newStored returns a store of so many keys, loaded in order, that has so many bytes for frames and for the cache.
func newStored(keys, record, page int, frames, cache int64) *stored {
	p := &stored{record: uint64(record), page: uint64(page), frames: uint64(frames) / uint64(page),
		keys: make([]simRecord, keys), cache: coldcache.NewEmpty(frames + cache), bytes: make([]byte, record)}
	p.readOnly = min(uint64(DefaultMutableFraction*float64(p.frames)), p.frames-p.ahead()-1)
	p.tail, p.head, p.open = p.page, p.page, p.page
	p.cache.Resize(cache, record)
	for k := range keys {
		p.append(k, 0)
	}
	p.appended = 0
	return p
}

// held returns how many keys have their record in memory.
func (p *stored) held() (n int) {
	for _, k := range p.keys {
		if k.at >= p.head || p.cache.Has(word.Address(k.at)) {
			n++
		}
	}
	return n
}

// keyAt returns the key of the record at an address.
func (p *stored) keyAt(at uint64) int { return int(p.log[(at-p.page)/p.record]) }

// ahead is how many pages the pager opens ahead of the tail.
func (p *stored) ahead() uint64 { return min(max(p.frames/16, 2), max((16<<20)/p.page, 4)) }

func (p *stored) append(key, heat int) {
	if p.tail%p.page == 0 { // the pager opens pages, and drops as many
		p.open = p.tail + (p.ahead()+1)*p.page
		if resident := p.frames * p.page; p.open > resident {
			p.dropTo(p.open - resident)
		}
	}
	p.keys[key] = simRecord{p.tail, heat}
	p.log = append(p.log, uint32(key))
	p.tail += p.record
	p.appended++
}

func (p *stored) dropTo(head uint64) {
	for ; p.head < head; p.head += p.record {
		k := &p.keys[p.keyAt(p.head)]
		live := k.at == p.head
		a := word.Address(p.head)
		switch {
		case !live:
		case k.heat > 0 || p.cache.Wants(a, int(p.record)):
			p.cache.Keep(a, p.bytes, rounds(k.heat))
		}
	}
}

func (p *stored) use(key int, update bool) bool {
	k := &p.keys[key]
	if k.at >= p.head {
		now := min(k.heat+1, word.MaxHeat)
		if k.at < p.head+(p.open-p.head)/2 {
			k.heat = now
		}
		if update && k.at < p.tail/p.page*p.page-p.readOnly*p.page {
			p.append(key, now)
		}
		return true
	}
	a, hit := word.Address(k.at), false
	heat, cached := p.cache.Heat(a)
	if cached {
		p.buf, hit = p.cache.Get(a, p.buf[:0])
		heat = heatAfter(min(heat+1, coldcache.MaxHeat), a)
	} else if update && p.cache.Missed(a) {
		heat = 1
	}
	if !hit {
		if !update {
			p.cache.Put(a, p.bytes)
		}
		p.invite(k.at)
	}
	if update {
		p.append(key, heat)
		if cached {
			p.cache.Take(a)
		}
	}
	return hit
}

// invite does what Store.invite does for the record at an address.
func (p *stored) invite(at uint64) {
	if !p.cache.Welcome(word.Address(at)) {
		return
	}
	end := min((at/reclog.BlockBytes+1)*reclog.BlockBytes, p.head)
	for at += p.record; at+p.record <= end; at += p.record {
		if p.keys[p.keyAt(at)].at == at {
			p.cache.Invite(word.Address(at), p.bytes)
		}
	}
}
