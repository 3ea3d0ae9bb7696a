package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// fixture is an index with a guard, and what it should hold.
type fixture struct {
	testing.TB
	*Index
	m *epoch.Manager
	g *epoch.Guard
}

func newFixture(t testing.TB, cfg Config) *fixture {
	t.Helper()
	if cfg.Epoch == nil {
		cfg.Epoch = epoch.New()
	}
	x, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, x)
}

func wrap(t testing.TB, x *Index) *fixture {
	m := x.cfg.Epoch
	f := &fixture{t, x, m, m.Register()}
	t.Cleanup(func() {
		f.g.Release()
		x.Close()
		m.Close()
		if n := x.Bytes(); n != 0 {
			t.Errorf("%d bytes are left after Close", n)
		}
	})
	return f
}

// newTiny returns a fixture whose table begins with 2^bits buckets, fewer than Config allows.
func newTiny(t testing.TB, cfg Config, bits uint) *fixture {
	t.Helper()
	if cfg.Epoch == nil {
		cfg.Epoch = epoch.New()
	}
	x, err := newIndex(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tb, err := x.newTable(bits, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	x.publish(tb)
	return wrap(t, x)
}

// put makes a the newest record of h, and returns the one before it in its chain.
func put(t testing.TB, x *Index, g *epoch.Guard, h uint64, a word.Address) word.Address {
	for {
		g.Enter()
		s, e, status := x.FindOrCreate(h)
		ok := status == Found && s.CompareAndSwap(e, a)
		g.Exit()
		if ok {
			return e.Address()
		}
		if status == NeedLoad {
			if err := x.Load(h); err != nil {
				t.Error(err)
				return 0
			}
		}
	}
}

// get returns the address of h's owner.
func get(t testing.TB, x *Index, g *epoch.Guard, h uint64) word.Address {
	for {
		g.Enter()
		_, e, status := x.Find(h)
		g.Exit()
		switch status {
		case Absent:
			return word.None
		case Found:
			return e.Address()
		}
		if err := x.Load(h); err != nil {
			t.Error(err)
			return 0
		}
	}
}

// testLog is a log of records that know their hash and the record before them in the chain, as the engine's do.
type testLog struct {
	records []testRecord
	tail    atomic.Int64
}

type testRecord struct {
	hash      uint64
	prev      atomic.Uint64
	published atomic.Bool
}

func newTestLog(n int) *testLog { return &testLog{records: make([]testRecord, n)} }

func (l *testLog) at(a word.Address) *testRecord {
	return &l.records[(a-word.FirstAddress)/word.Align]
}

// append writes a record for h and publishes it. An allocation is used or abandoned within one stay in the epoch.
func (l *testLog) append(t testing.TB, x *Index, g *epoch.Guard, h uint64) word.Address {
	for {
		g.Enter()
		s, e, status := x.FindOrCreate(h)
		if status == Found {
			a := word.FirstAddress + word.Address(l.tail.Add(1)-1)*word.Align
			l.at(a).hash = h
			l.at(a).prev.Store(uint64(e.Address()))
			if e.Address() < a && s.CompareAndSwap(e, a) {
				l.at(a).published.Store(true)
				g.Exit()
				return a
			}
		}
		g.Exit()
		if status == NeedLoad {
			if err := x.Load(h); err != nil {
				t.Error(err)
				return 0
			}
		}
	}
}

// end returns the address after the last record.
func (l *testLog) end() word.Address {
	return word.FirstAddress + word.Address(l.tail.Load())*word.Align
}

// replay replays what was published from address from on.
func (l *testLog) replay(t testing.TB, x *Index, from word.Address) {
	t.Helper()
	for a := from; a < l.end(); a += word.Align {
		if r := l.at(a); r.published.Load() {
			if err := x.Replay(Record{r.hash, a}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// newest follows the chain from a to the newest record of h.
func (l *testLog) newest(a word.Address, h uint64) word.Address {
	for a != word.None && l.at(a).hash != h {
		a = word.Address(l.at(a).prev.Load())
	}
	return a
}

// chain returns all records of h that are reached from a, newest first.
func (l *testLog) chain(a word.Address, h uint64) (all []word.Address) {
	for a = l.newest(a, h); a != word.None; a = l.newest(word.Address(l.at(a).prev.Load()), h) {
		all = append(all, a)
	}
	return all
}

// mustMatch compares the whole index with the model: the newest record of every hash. It checks I1.
func mustMatch(t testing.TB, x *Index, g *epoch.Guard, l *testLog, model map[uint64]word.Address) {
	t.Helper()
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	for h, want := range model {
		if got := l.newest(get(t, x, g, h), h); got != want {
			t.Fatalf("newest record of %#x is %#x, want %#x\n%s", h, got, want, x.table.Load().dump(h&x.table.Load().Mask))
		}
	}
}

func TestIndex_RandomOperationsMatchModel(t *testing.T) {
	for _, c := range []struct {
		bits   uint
		hashes uint64
		limit  int64
	}{
		{0, 1 << 10, 0}, {0, 1 << 62, 0}, {1, 1 << 62, 0}, {6, 1 << 62, 0}, {6, 1 << 16, 0}, {0, 1 << 62, 8192},
		{1, 1 << 62, 16384}, {3, 1 << 62, 64 << 10}, {0, 64, 8192},
	} {
		t.Run(fmt.Sprintf("bits=%d/hashes=%#x/limit=%d", c.bits, c.hashes, c.limit), func(t *testing.T) {
			n := testkit.UnderRace(8_000, 30_000)
			if c.limit > 0 {
				n = testkit.UnderRace(1_000, 4_000) // chains are long
			}
			cfg := Config{}
			if c.limit > 0 {
				cfg.MaxBytes = func() int64 { return c.limit }
			}
			f := newTiny(t, cfg, c.bits)
			l := newTestLog(2 * n) // what is overtaken by a growth is written again
			model := map[uint64]word.Address{}
			r := rand.New(rand.NewPCG(1, uint64(c.bits)))
			var hashes []uint64
			for i := range n {
				h := r.Uint64N(c.hashes)
				if len(hashes) > 0 && r.IntN(3) == 0 {
					h = hashes[r.IntN(len(hashes))]
				}
				if _, ok := model[h]; !ok {
					if a := l.newest(get(t, f.Index, f.g, h), h); a != word.None {
						t.Fatalf("%#x is at %#x before it was put", h, a)
					}
					hashes = append(hashes, h)
				}
				model[h] = l.append(t, f.Index, f.g, h)
				if i%(n/4) == 0 {
					mustMatch(t, f.Index, f.g, l, model)
				}
			}
			mustMatch(t, f.Index, f.g, l, model)
			s := f.Stats()
			if c.limit > 0 && s.Bytes > c.limit {
				t.Errorf("%d bytes, limit %d", s.Bytes, c.limit)
			}
			t.Logf("%+v", s)
		})
	}
}

// TestIndex_ConcurrentInsertsDuringGrowth has goroutines append records for the same and for different hashes while
// the table doubles again and again. Every record must be in its chain, once.
func TestIndex_ConcurrentInsertsDuringGrowth(t *testing.T) {
	for _, c := range []struct {
		goroutines int
		hashes     uint64
		spawn      func(func())
		limit      int64
	}{
		{2, 1 << 13, nil, 0},
		{8, 1 << 14, nil, 0},
		{4, 1 << 14, func(func()) {}, 0}, // inserts alone make it grow
		{4, 1 << 13, func(f func()) { f() }, 0},
		{4, 1 << 12, nil, 32 << 10},
		{8, 1 << 62, nil, 0},
	} {
		t.Run(fmt.Sprintf("g=%d/hashes=%#x/limit=%d", c.goroutines, c.hashes, c.limit), func(t *testing.T) {
			each := 40_000 / c.goroutines
			if c.limit > 0 {
				each /= 4 // chains are long
			}
			var taken atomic.Int64
			cfg := Config{Spawn: c.spawn, Reserve: func(n int64) bool { taken.Add(n); return true }}
			if c.limit > 0 {
				cfg.MaxBytes = func() int64 { return c.limit }
			}
			f := newTiny(t, cfg, 0)
			l := newTestLog(40 * each * c.goroutines)
			published := make([]map[word.Address]uint64, c.goroutines)
			var wg sync.WaitGroup
			for i := range c.goroutines {
				published[i] = map[word.Address]uint64{}
				wg.Go(func() {
					g := f.m.Register()
					defer g.Release()
					r := rand.New(rand.NewPCG(uint64(i), 7))
					same := rand.New(rand.NewPCG(99, 7)) // all goroutines draw the same from this
					for range each {
						h := r.Uint64N(c.hashes)
						if r.IntN(2) == 0 {
							h = same.Uint64N(c.hashes)
						}
						published[i][l.append(t, f.Index, g, h)] = h
						if h := r.Uint64N(c.hashes); r.IntN(4) == 0 {
							l.newest(get(t, f.Index, g, h), h)
						}
					}
				})
			}
			wg.Wait()
			if err := f.finishGrowth(context.Background()); err != nil {
				t.Fatal(err)
			}
			mustHoldAll(t, f, l, published)
			f.m.Close() // runs what frees the old tables
			if taken.Load() != f.Bytes() {
				t.Errorf("%d bytes reserved, %d held", taken.Load(), f.Bytes())
			}
			t.Logf("%+v", f.Stats())
		})
	}
}

// mustHoldAll checks that exactly the published records are in the chains of their hashes.
func mustHoldAll(t *testing.T, f *fixture, l *testLog, published []map[word.Address]uint64) {
	t.Helper()
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]map[word.Address]bool{}
	total := 0
	for _, p := range published {
		for a, h := range p {
			if want[h] == nil {
				want[h] = map[word.Address]bool{}
			}
			want[h][a] = true
			total++
		}
	}
	for h, records := range want {
		chain := l.chain(get(t, f.Index, f.g, h), h)
		if len(chain) != len(records) {
			t.Fatalf("%#x has %d records, want %d", h, len(chain), len(records))
		}
		for _, a := range chain {
			if !records[a] {
				t.Fatalf("%#x has a record at %#x that was not published", h, a)
			}
		}
		total -= len(chain)
	}
	if total != 0 {
		t.Fatalf("%d records are missing", total)
	}
}

func TestFind_AllocatesNothing(t *testing.T) {
	f := newFixture(t, Config{})
	for i := range uint64(1000) {
		put(t, f.Index, f.g, i*0x9E3779B97F4A7C15, word.FirstAddress+8)
	}
	i := uint64(0)
	if n := testing.AllocsPerRun(1000, func() {
		f.g.Enter()
		i = (i + 1) % 1000
		h := i * 0x9E3779B97F4A7C15
		f.Prefetch(h)
		f.Find(h)
		if s, e, status := f.FindOrCreate(h); status == Found { // it may be on its way to a larger table
			s.CompareAndSwap(e, e.Address()+8)
		}
		f.g.Exit()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSlot_ClearFreesAndCatchAllStays(t *testing.T) {
	f := newTiny(t, Config{MaxBytes: func() int64 { return 1 }, Spawn: func(func()) {}}, 0)
	f.table.Load().overflow.held = f.table.Load().overflow.mapped // no overflow bucket to be had
	for i := range uint64(bucketSlots) {
		put(t, f.Index, f.g, i, word.FirstAddress)
	}
	f.g.Enter()
	s, e, _ := f.Find(3)
	if !s.Clear(e) || s.Clear(e) {
		t.Fatal("an entry is cleared once")
	}
	if _, _, status := f.Find(3); status != Absent {
		t.Fatalf("a cleared hash is %v", status)
	}
	f.g.Exit()
	put(t, f.Index, f.g, 100, word.FirstAddress) // takes the slot
	put(t, f.Index, f.g, 101, word.FirstAddress+8)
	if n := f.Stats().CatchAlls; n != 1 {
		t.Fatalf("%d catch-alls, want 1", n)
	}
	f.g.Enter()
	defer f.g.Exit()
	s, e, _ = f.Find(101)
	if e.Tag() != word.CatchAll || s.Clear(e) {
		t.Fatalf("cleared %s", entryString(e))
	}
	if _, e, _ := f.Find(0); e.Tag() != word.CatchAll || e.Address() != word.FirstAddress+8 {
		t.Fatalf("the converted entry has not kept its chain: %s", entryString(e))
	}
	if s, e, _ := f.Find(100); !s.Clear(e) {
		t.Fatal("a specific entry beside a catch-all can be cleared")
	}
	if _, e, _ := f.Find(100); e.Tag() != word.CatchAll {
		t.Fatalf("the catch-all does not own the hash: %s", entryString(e))
	}
}

// TestGrow_BeginsByItself has the growth begin when it is wanted, not when no overflow bucket is left.
func TestGrow_BeginsByItself(t *testing.T) {
	spawned, grown := 0, []int{}
	f := newFixture(t, Config{
		Spawn:  func(f func()) { spawned++; f() },
		OnGrow: func(buckets int) { grown = append(grown, buckets) },
	})
	if f.Stats().Buckets != 64 {
		t.Fatalf("%+v", f.Stats())
	}
	for i := range uint64(30_000) {
		put(t, f.Index, f.g, benchHash(i), word.FirstAddress+word.Address(i)*word.Align)
		if i%1000 != 0 {
			continue
		}
		if s := f.Stats(); s.OverflowBuckets > s.Buckets/growShare+2 {
			t.Fatalf("after %d: %+v", i, s)
		}
	}
	f.m.Close() // the callbacks have run
	s := f.Stats()
	if spawned != int(s.Growths) || len(grown) != spawned || grown[len(grown)-1] != int(s.Buckets) {
		t.Fatalf("%d jobs, callbacks %d, %+v", spawned, grown, s)
	}
	if s.Entries < 29_990 || s.LongestChain > 4 || s.Load < 0.3 {
		t.Errorf("%+v", s)
	}
}

func TestNew_RefusesWhatItCannotUse(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no error without Config.Epoch")
	}
	if _, err := New(Config{Epoch: epoch.New(), InitialBits: 60}); err == nil {
		t.Error("no error with 60 bits")
	}
}

func TestFindSpecific_EachSlot(t *testing.T) {
	r, err := mem.Map(4096)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Unmap(); err != nil {
			t.Error(err)
		}
	}()
	for i := range bucketSlots {
		for j := range bucketSlots {
			e := word.MakeEntry(word.MakeTag(uint64(j)+1, 0), word.FirstAddress)
			mem.StorePlain(slotOf(r.At(0), j), uint64(e))
		}
		if p, _ := findSpecific(&mem.Buckets{Base: r.At(0)}, uint64(i)+1); p != slotOf(r.At(0), i) {
			t.Errorf("slot %d: found at %p, it is at %p", i, p, slotOf(r.At(0), i))
		}
	}
}

// TestInsert_BesideAFreedSlot: two goroutines insert one hash while a third frees a slot before the first that was
// free: one may claim the old free slot and the other the new one, and then one has to withdraw (I2, I4).
func TestInsert_BesideAFreedSlot(t *testing.T) {
	f := newTiny(t, Config{Spawn: func(func()) {}}, 0)
	const filler = 1 << 40
	address := word.FirstAddress
	next := func() word.Address { address += word.Align; return address }
	rounds := uint64(200_000)
	if testing.Short() {
		rounds /= 10
	}
	type insert struct {
		h uint64
		a word.Address
	}
	var workers sync.WaitGroup
	begin := [2]chan insert{make(chan insert), make(chan insert)}
	ended := make(chan struct{})
	var ready, wanted atomic.Uint64
	meet := func(round uint64) { // so that all three run at the same time
		for ready.Add(1); ready.Load() < 3*round; {
			runtime.Gosched()
		}
	}
	for _, c := range begin {
		workers.Go(func() {
			g := f.m.Register()
			defer g.Release()
			for in := range c {
				meet(wanted.Load())
				put(t, f.Index, g, in.h, in.a)
				ended <- struct{}{}
			}
		})
	}
	for round := range rounds {
		h := 2*round + 1
		put(t, f.Index, f.g, filler, next())
		wanted.Store(round + 1)
		begin[0] <- insert{h, next()}
		begin[1] <- insert{h, next()}
		meet(round + 1)
		clearHash(t, f, filler)
		<-ended
		<-ended
		if err := f.Check(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		clearHash(t, f, h)
	}
	close(begin[0])
	close(begin[1])
	workers.Wait()
}

// clearHash frees the entry of h.
func clearHash(t *testing.T, f *fixture, h uint64) {
	t.Helper()
	f.g.Enter()
	defer f.g.Exit()
	slot, e, status := f.Find(h)
	if status != Found || !slot.Clear(e) {
		t.Fatalf("entry of %#x: %v", h, status)
	}
}
