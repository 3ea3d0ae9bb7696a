package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/word"
)

// simulation is a store in small: a log with records that know their chain, an index, versions, and an index on disk that
// is made of what is flushed. One goroutine does everything, in an order that a seed decides.
type simulation struct {
	*testing.T
	r     *rand.Rand
	disk  *Disk
	files map[uint64][]byte
	id    uint64

	*fixture // the index of the running store
	hashes   []uint64
	log      []simRecord // all that was ever written, by address
	tail     word.Address
	flushed  word.Address
	current  uint64 // log version of new records
	pending  *simVersion
	parent   *simVersion // the newest committed one
	versions []*simVersion
	live     bool         // the store went on from parent without a restore
	start    word.Address // where the log begins that no committed version has

	compacted word.Address // the log below is empty for the next version
	dropped   []simRecord  // tombstones that compaction has not moved

	out, outdated []finishing // what has to be finished, since before a restore or not
	pairs         int         // runs of more than one version
}

// finishing is a run or a merge that is being written; tell says what came of it, and good whether that is a success.
type finishing struct {
	tell func() (used bool)
	good bool
}

type simRecord struct {
	a, prev   word.Address
	hash      uint64
	size      int
	version   uint64
	tombstone bool
	invalid   bool
}

// simVersion is a version: the log that it consists of is that of extents, without records of later versions.
type simVersion struct {
	n          uint64       // log version
	begin, cut word.Address // cut is 0 before it is taken
	extents    []simExtent
	bits       uint
	model      map[uint64]word.Address // newest record of each hash
	shares     Shares
	replay     word.Address
}

type simExtent struct {
	from, to word.Address
	n        uint64 // records of later versions do not belong
}

func (v *simVersion) has(r simRecord) bool {
	return !r.invalid && slices.ContainsFunc(v.extents, func(e simExtent) bool { return r.a >= e.from && r.a < e.to && r.version <= e.n })
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	r := rand.New(rand.NewPCG(seed, 77))
	s := &simulation{
		T: t, r: r, files: map[uint64][]byte{}, tail: word.FirstAddress, flushed: word.FirstAddress, start: word.FirstAddress, current: 1 + r.Uint64N(3)*8190,
		disk: NewDisk(DiskConfig{CutBytes: 200 + r.Int64N(20_000), MergeBytes: tripleBytes * (20 + r.Int64N(3000)), MergePace: 1 << 20}),
	}
	s.disk.Adopt(nil, 0, s.current)
	cfg := Config{}
	if seed%4 == 3 {
		cfg.MaxBytes = func() int64 { return 16 << 10 } // catch-alls
	}
	s.fixture = newTiny(t, cfg, uint(r.IntN(12)))
	for range 1 + r.IntN(3000) {
		s.hashes = append(s.hashes, r.Uint64()>>(r.IntN(2)*r.IntN(40)))
	}
	return s
}

// record returns the record at a.
func (s *simulation) record(a word.Address) simRecord {
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].a >= a })
	return s.log[i]
}

// write publishes a record of h, of the version before the current one if old is set and it meets nothing newer.
func (s *simulation) write(h uint64, old, tombstone, invalid bool) {
	size := 16 + 8*s.r.IntN(4)
	for {
		s.g.Enter()
		slot, e, status := s.FindOrCreate(h)
		if status != Found {
			s.g.Exit()
			if err := s.Load(h); err != nil {
				s.T.Fatal(err)
			}
			continue
		}
		rec := simRecord{s.tail, e.Address(), h, size, s.current, tombstone, invalid}
		if old && (e.Address() < word.FirstAddress || e.Address() < s.begin() || s.record(e.Address()).version < s.current) {
			rec.version--
		}
		if !invalid && !slot.CompareAndSwap(e, rec.a) {
			s.g.Exit() // growth has moved the entry, or the invariants build says so to see what happens
			continue
		}
		s.g.Exit()
		s.log = append(s.log, rec)
		s.tail += word.Address(size)
		return
	}
}

func (s *simulation) begin() word.Address {
	if s.parent == nil {
		return 0
	}
	return s.parent.begin
}

func (s *simulation) writes(n int) {
	for range n {
		fuzzy := s.pending != nil && s.pending.cut == 0
		s.write(s.hashes[s.r.IntN(len(s.hashes))], fuzzy && s.r.IntN(2) == 0, s.r.IntN(9) == 0, s.r.IntN(9) == 0)
	}
}

// flush hands over the log up to a place, beginning where a failed flush may have.
func (s *simulation) flush() {
	from := s.flushed
	if durable := s.start; from > durable && s.r.IntN(5) == 0 {
		from = durable + word.Address(s.r.Uint64N(uint64(from-durable)))
		from = s.boundary(from)
	}
	to := s.boundary(from + word.Address(s.r.Uint64N(uint64(s.tail-from)+1)))
	if s.r.IntN(3) == 0 {
		to = s.tail
	}
	s.flushPiece(from, to)
}

func (s *simulation) flushPiece(from, to word.Address) {
	var records []Logged
	for _, r := range s.span(from, to) {
		if !r.invalid {
			records = append(records, s.logged(r))
		}
	}
	s.disk.Log(from, to, records)
	s.flushed = to
}

func (s *simulation) logged(r simRecord) Logged {
	return Logged{Triple: MakeTriple(r.hash, r.a, r.size, r.tombstone), Version: word.MakeRecordVersion(r.version)}
}

// boundary returns the beginning of the record at or after a.
func (s *simulation) boundary(a word.Address) word.Address {
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].a >= a })
	if i == len(s.log) {
		return s.tail
	}
	return s.log[i].a
}

func (s *simulation) span(from, to word.Address) []simRecord {
	i := sort.Search(len(s.log), func(i int) bool { return s.log[i].a >= from })
	j := sort.Search(len(s.log), func(i int) bool { return s.log[i].a >= to })
	return s.log[i:j]
}

// file is a share in memory.
type memoryFile struct {
	*bytes.Reader
	closed *int
}

func (f memoryFile) Close() error { *f.closed++; return nil }

func (s *simulation) create() (io.WriterAt, uint64, error) {
	s.id++
	return &simFile{s: s, id: s.id}, s.id, nil
}

type simFile struct {
	s  *simulation
	id uint64
}

func (f *simFile) WriteAt(p []byte, off int64) (int, error) {
	b := f.s.files[f.id]
	if need := int(off) + len(p); need > len(b) {
		b = append(b, make([]byte, need-len(b))...)
	}
	f.s.files[f.id] = b
	return copy(b[off:], p), nil
}

func (s *simulation) config() MergeConfig {
	return MergeConfig{Drop: s.begin(), MaxBytes: 2 * s.disk.cfg.MergeBytes, SegmentShift: 16, Create: s.create}
}

var errSimulated = errors.New("simulated failure")

// takeRun writes a run if one is due, and sometimes fails to. It is often finished later, if at all.
func (s *simulation) takeRun(all bool) {
	s.finish()
	r, ok := s.disk.TakeRun(all)
	if !ok {
		return
	}
	if len(r.Groups) > 1 {
		s.pairs++
	}
	for i := range r.Groups {
		g := &r.Groups[i]
		g.Shares = nil
		written, err := WriteTriples(context.Background(), s.config(), r.From, r.To, g.Triples, !g.Mixed)
		if err != nil {
			s.T.Fatal(err)
		}
		g.Shares = written
	}
	var err error
	if s.r.IntN(6) == 0 {
		err = errSimulated
	}
	s.out = append(s.out, finishing{func() bool { return s.disk.FinishRun(r, err) }, err == nil})
	s.finishSometimes()
}

// merge does a merge if one is due, likewise.
func (s *simulation) merge() {
	s.finish()
	m, ok := s.disk.TakeMerge()
	if !ok {
		return
	}
	var inputs []*Share
	for _, ref := range m.Inputs {
		share, err := OpenShare(bytes.NewReader(s.files[ref.ID]), ref)
		if err != nil {
			s.T.Fatal(err)
		}
		inputs = append(inputs, share)
	}
	written, err := MergeShares(context.Background(), s.config(), m, inputs)
	if err != nil {
		s.T.Fatal(err)
	}
	for _, w := range written {
		if w.Bytes > 3*s.disk.cfg.MergeBytes+3*shareBlock {
			s.T.Fatalf("a share of %d bytes", w.Bytes)
		}
	}
	if s.r.IntN(6) == 0 {
		err = errSimulated
	}
	s.out = append(s.out, finishing{func() bool { return s.disk.FinishMerge(m, written, err) }, err == nil})
	s.finishSometimes()
}

func (s *simulation) finishSometimes() {
	if s.r.IntN(2) == 0 {
		s.finish()
	}
}

// finish tells what came of what was handed out. After a restore it is of no use.
func (s *simulation) finish() {
	for _, f := range s.out {
		if f.tell() != f.good {
			s.T.Fatal("what was written is of no use, or what was not is")
		}
	}
	s.out = nil
	for _, f := range s.outdated {
		if f.tell() {
			s.T.Fatal("what was handed out before a restore is of use")
		}
	}
	s.outdated = nil
}

// beginCheckpoint raises the log version.
func (s *simulation) beginCheckpoint() {
	if s.pending != nil {
		return
	}
	s.pending = &simVersion{n: s.current, begin: s.compacted}
	s.current++
}

func (s *simulation) takeCut() {
	if v := s.pending; v != nil && v.cut == 0 {
		v.cut, v.bits = s.tail, s.Bits()
	}
}

// commit makes the pending version durable, or gives it up.
func (s *simulation) commit() {
	v := s.pending
	if v == nil || v.cut == 0 {
		return
	}
	if s.flushed < v.cut {
		s.flushPiece(s.flushed, v.cut)
	}
	s.pending = nil
	if s.r.IntN(6) == 0 {
		s.disk.Committed(v.n)
		return
	}
	if s.parent != nil {
		v.extents = slices.Clone(s.parent.extents)
		if last := &v.extents[len(v.extents)-1]; s.live {
			last.n = v.n
		}
	}
	v.extents = append(v.extents, simExtent{s.start, v.cut, v.n})
	v.model = map[uint64]word.Address{}
	for _, r := range s.log {
		if v.has(r) && r.a >= v.begin {
			v.model[r.hash] = r.a
		}
	}
	v.shares, v.replay = s.disk.Name(v.n, v.cut)
	if err := v.shares.Check(0, v.replay); err != nil && v.replay > 0 {
		s.T.Fatalf("%v\n%+v", err, v.shares)
	}
	s.disk.Committed(v.n)
	s.parent, s.live, s.start = v, true, v.cut
	s.versions = append(s.versions, v)
	s.clear()
	s.verify(v)
}

// verify opens the index of a version and looks for the newest record of every hash in it.
func (s *simulation) verify(v *simVersion) {
	s.T.Helper()
	opened, closed := 0, 0
	x := s.open(v, v.bits+uint(s.r.IntN(3)), &opened, &closed)
	f := wrap(s.T, x)
	if s.r.IntN(3) == 0 {
		for range 3 {
			if err := x.Load(s.hashes[s.r.IntN(len(s.hashes))]); err != nil {
				s.T.Fatal(err)
			}
		}
	}
	if s.r.IntN(2) == 0 {
		if err := x.LoadAll(context.Background()); err != nil {
			s.T.Fatal(err)
		}
	}
	s.matches(f, v)
	if s.r.IntN(2) == 0 {
		if err := x.Grow(context.Background(), x.Bits()+1); err != nil {
			s.T.Fatal(err)
		}
		s.matches(f, v)
	}
	if err := x.LoadAll(context.Background()); err != nil {
		s.T.Fatal(err)
	}
	if err := x.Check(); err != nil {
		s.T.Fatal(err)
	}
	if closed != opened {
		s.T.Fatalf("%d of %d files are closed", closed, opened)
	}
}

func (s *simulation) matches(f *fixture, v *simVersion) {
	s.T.Helper()
	for _, h := range s.hashes {
		a := get(s.T, f.Index, f.g, h)
		for a >= max(v.begin, word.FirstAddress) {
			r := s.record(a)
			if r.a != a {
				s.T.Fatalf("no record at %#x", a)
			}
			if r.hash == h && v.has(r) {
				break
			}
			a = r.prev
		}
		if a < v.begin {
			a = word.None
		}
		if want := v.model[h]; a != want {
			s.T.Fatalf("version %d [%#x, %#x): hash %#x leads to %#x, want %#x\nreplay from %#x, %+v", v.n, v.begin, v.cut, h, a, want, v.replay, v.shares)
		}
	}
}

// open returns the index of v: its shares, and a replay of the log behind them.
func (s *simulation) open(v *simVersion, bits uint, opened, closed *int) *Index {
	s.T.Helper()
	x, err := Open(Config{Epoch: epoch.New(), InitialBits: bits}, Source{
		Shares: v.shares, Drop: v.begin,
		Open: func(r ShareRef) (ShareFile, error) {
			*opened++
			return memoryFile{bytes.NewReader(s.files[r.ID]), closed}, nil
		},
	})
	if err != nil {
		s.T.Fatal(err)
	}
	for _, r := range s.span(v.replay, v.cut) {
		if v.has(r) {
			if err := x.Replay(Record{r.hash, r.a}); err != nil {
				s.T.Fatal(err)
			}
		}
	}
	return x
}

// restore goes back to a version, or opens it after a crash: then the log that no version has is written again.
func (s *simulation) restore(v *simVersion, crash bool) {
	if s.pending != nil {
		if crash {
			s.pending = nil
		} else {
			return
		}
	}
	if crash {
		s.tail = word.FirstAddress
		for _, v := range s.versions {
			s.tail = max(s.tail, v.cut)
		}
		s.log = s.log[:len(s.span(0, s.tail))]
	} else {
		s.tail += word.Address(8 * s.r.IntN(100))
	}
	x := s.open(v, v.bits, new(int), new(int))
	s.fixture = wrap(s.T, x)
	s.current = max(s.current, v.n) + 1
	s.disk.Adopt(v.shares, v.replay, s.current)
	if !crash {
		s.outdated = append(s.outdated, s.out...)
	}
	s.out = nil
	var records []Logged
	for _, r := range s.span(v.replay, v.cut) {
		if v.has(r) {
			records = append(records, s.logged(r))
		}
	}
	s.disk.Log(v.replay, v.cut, records)
	s.flushed, s.start, s.parent, s.live, s.compacted, s.dropped = s.tail, s.tail, v, false, v.begin, nil
}

// compact copies what is live in the oldest log to the tail.
func (s *simulation) compact() {
	if s.parent == nil || s.pending != nil {
		return
	}
	to := s.boundary(s.parent.begin + word.Address(s.r.Uint64N(uint64(s.parent.cut-s.parent.begin)+1)))
	if to > s.parent.cut || to <= s.compacted {
		return
	}
	for _, h := range s.hashes {
		a := get(s.T, s.Index, s.g, h)
		for a >= max(s.parent.begin, word.FirstAddress) && s.record(a).hash != h {
			a = s.record(a).prev
		}
		switch {
		case a >= to || a < max(s.parent.begin, word.FirstAddress):
		case s.record(a).tombstone:
			s.dropped = append(s.dropped, s.record(a))
		default:
			s.write(h, false, false, false)
		}
	}
	s.compacted = to
}

// clear frees the entries that lead to nothing in the log any more.
func (s *simulation) clear() {
	s.dropped = slices.DeleteFunc(s.dropped, func(r simRecord) bool {
		if r.a >= s.parent.begin {
			return false
		}
		get(s.T, s.Index, s.g, r.hash) // loads its block
		s.g.Enter()
		defer s.g.Exit()
		if slot, e, status := s.Find(r.hash); status == Found && e.Address() < s.parent.begin && e.Address() != word.None {
			slot.Clear(e)
		}
		return true
	})
}

// Whatever is flushed, written again, cut into runs, merged, committed, given up, restored, compacted and cleared in
// whatever order: the shares that a version names, and a replay of the log behind them, lead to the newest record of every
// hash, in tables as fine as the one that the log was written under and in finer ones (I13 to I18).
func TestDisk_EveryVersionIsWhole(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 40
	}
	files, level, runs, pairs := 0, 0, 0, 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newSimulation(t, seed)
			steps, mergeFrom := 150, 0
			if seed%3 == 0 { // many runs come before the first merge
				steps, mergeFrom = 450, 300
				s.disk.cfg.CutBytes = 200
			}
			for i := range steps {
				switch s.r.IntN(16) {
				case 0, 1, 2:
					s.writes(s.r.IntN(200))
				case 3, 4, 5:
					s.flush()
				case 6, 7:
					s.takeRun(s.r.IntN(8) == 0)
				case 8, 9:
					if i >= mergeFrom {
						s.merge()
					} else {
						s.takeRun(false)
					}
				case 10:
					s.beginCheckpoint()
				case 11:
					s.takeCut()
				case 12, 13:
					s.commit()
				case 14:
					s.compact()
				case 15:
					if n := len(s.versions); n > 0 && s.r.IntN(3) == 0 {
						s.restore(s.versions[max(0, n-1-s.r.IntN(4))], s.r.IntN(2) == 0)
					}
				}
			}
			s.finish()
			for _, v := range s.versions[max(0, len(s.versions)-3):] {
				s.verify(v)
			}
			for _, r := range s.disk.shares {
				level = max(level, r.Level)
				if r.From > 0 && r.Level > 0 {
					runs++
				}
			}
			files += int(s.id)
			pairs += s.pairs
		})
	}
	t.Logf("%d files were written, with up to %d merges behind one; %d are of runs merged with each other; %d runs were of two versions",
		files, level, runs, pairs)
	if level < 5 || runs == 0 || pairs == 0 {
		t.Error("too little of what the test is about has happened")
	}
}

// Writing triples may fail half way, and is then done again with the same ones: the newest of each hash are still among them.
func TestWriteTriples_Again(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{10, 5000} {
		var f shareFiles
		var triples []Triple
		newest := map[uint64]word.Address{}
		for i := range n {
			h := r.Uint64N(uint64(n)) * 0x9e3779b97f4a7c15
			a := word.FirstAddress + word.Address(i*word.Align)
			triples, newest[h] = append(triples, MakeTriple(h, a, 32, false)), a
		}
		for range 3 {
			written, err := WriteTriples(t.Context(), f.config(), 0, word.MaxAddress, triples, false)
			if err != nil {
				t.Fatal(err)
			}
			all, err := f.open(t, written[0].ShareRef)[0].all(0, ^uint64(0))
			if err != nil || len(all) != len(newest) {
				t.Fatalf("%d triples of %d hashes, %v", len(all), len(newest), err)
			}
			for _, x := range all {
				if a := newest[x.Hash()]; a != x.Address() {
					t.Fatalf("hash %#x: %#x, the newest is %#x", x.Hash(), x.Address(), a)
				}
			}
		}
	}
}

// What waits for a run takes memory, twice as much while it is being written, and none once it is.
func TestDisk_Memory(t *testing.T) {
	d := NewDisk(DiskConfig{CutBytes: 4096, MergeBytes: 4096, MergePace: 2})
	var logged []Logged
	for i := range 100 {
		a := word.FirstAddress + word.Address(32*i)
		logged = append(logged, Logged{Triple: MakeTriple(uint64(i), a, 32, false)})
	}
	d.Log(word.FirstAddress, word.FirstAddress+3200, logged)
	told := d.Memory()
	if told < 100*16 {
		t.Errorf("100 triples take %d bytes", told)
	}
	r, ok := d.TakeRun(true)
	if n := d.Memory(); !ok || n != 2*told {
		t.Errorf("%d bytes while they are written, %d before", n, told)
	}
	d.FinishRun(r, nil)
	if n := d.Memory(); n != 0 {
		t.Errorf("%d bytes when they are written", n)
	}
}

// Merges of others share the ration: what they spend those of the index do not have, however much that is, and what is earned
// adds up to the length of a merge, which any merge may have.
func TestDisk_Ration(t *testing.T) {
	const length = 4096
	d := NewDisk(DiskConfig{CutBytes: 4096, MergeBytes: length, MergePace: 2})
	expect := func(what string, bytes int64, want bool) {
		t.Helper()
		if got := d.Afford(bytes); got != want {
			t.Errorf("%s: a merge of %d bytes may begin: %v", what, bytes, got)
		}
	}
	expect("nothing earned", 1, false)
	d.Earn(100)
	expect("little earned", 100, true)
	expect("little earned", 101, false)
	d.Earn(1 << 40)
	expect("all earned", 1<<30, true)
	d.Spend(3 * length)
	expect("more spent than there was", 1, false)
	d.Earn(2 * length)
	expect("what was spent too much is earned first", 1, false)
	d.Log(word.FirstAddress, word.FirstAddress+length/4, nil)
	expect("something logged", length/2, true)
	expect("something logged", length/2+1, false)
	d.Committed(1)
	expect("a version", length/2+length/versionMerges, true)
}
