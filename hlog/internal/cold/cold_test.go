package cold

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// memFile is a file in memory.
type memFile struct{ b []byte }

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if off%BlockBytes != 0 {
		return 0, fmt.Errorf("write at %d", off)
	}
	if n := int(off) + len(p); n > len(f.b) {
		f.b = append(f.b, make([]byte, n-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if off%BlockBytes != 0 || len(p)%BlockBytes != 0 {
		return 0, fmt.Errorf("read of %d at %d", len(p), off)
	}
	if off >= int64(len(f.b)) {
		return 0, io.EOF
	}
	if n := copy(p, f.b[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

// files hands out files and opens what was written.
type files struct {
	last uint64
	byID map[uint64]*memFile
}

func newFiles() *files { return &files{byID: map[uint64]*memFile{}} }

func (f *files) create() (io.WriterAt, uint64, error) {
	f.last++
	f.byID[f.last] = &memFile{}
	return f.byID[f.last], f.last, nil
}

func (f *files) open(t testing.TB, refs ...index.ShareRef) (shares []*Share) {
	t.Helper()
	for _, r := range refs {
		s, err := OpenShare(f.byID[r.ID], r)
		if err != nil {
			t.Fatalf("share %+v: %v", r, err)
		}
		shares = append(shares, s)
	}
	return shares
}

// orderOf is what hashes of keys are for tests: keys that begin with # have hashes in common.
func orderOf(key []byte) uint64 {
	if key[0] == '#' && len(key) != 8 {
		return uint64(key[1]%3) << 60
	}
	return bits.Reverse64(xxh3.Hash(key))
}

func recordOf(key string, value []byte) Record {
	return Record{Order: orderOf([]byte(key)), Key: []byte(key), Value: value, Tombstone: value == nil}
}

func config(f *files, maxBytes int64) MergeConfig {
	return MergeConfig{Order: orderOf, MaxBytes: maxBytes, Create: f.create}
}

// search looks for a key in one go and counts the reads that it takes.
func search(t testing.TB, tier *Tier, f *Filters, key string) (value []byte, found Found, reads int) {
	t.Helper()
	l := tier.Lookup(f, orderOf([]byte(key)), []byte(key), []byte("before"))
	for {
		r, ok := l.Next()
		if !ok {
			break
		}
		reads++
		b := mem.AlignedBytes(r.N, BlockBytes)
		if err := r.Share.readAt(b, r.Off); err != nil {
			t.Fatal(err)
		}
		if err := l.Take(b); err != nil {
			t.Fatal(err)
		}
	}
	value, ok := bytes.CutPrefix(l.Value, []byte("before"))
	if !ok {
		t.Fatalf("value %q", l.Value)
	}
	return value, l.Found, reads
}

func mustFind(t testing.TB, tier *Tier, f *Filters, key string, want []byte, there bool) (reads int) {
	t.Helper()
	value, found, reads := search(t, tier, f, key)
	if there && want != nil && (found != Live || !bytes.Equal(value, want)) || there && want == nil && found == Live || !there && found != Absent {
		t.Fatalf("key %.40q: %v with %d bytes, want %d bytes, there %v", key, found, len(value), len(want), there)
	}
	return reads
}

func TestFilter_KnowsWhatItHasSeen(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	passed, asked := 0, 0
	for round := range 400 {
		n := 1 + rng.IntN(filterOrders)
		if round%4 == 0 {
			n = []int{1, 2, 31, 32, 33, filterOrders - 1, filterOrders}[round/4%7]
		}
		first, last := uint64(0), ^uint64(0)
		if round%3 != 0 {
			last = rng.Uint64()
			first = rng.Uint64N(last)
		}
		if round%5 == 0 { // hardly more orders than there are, or fewer than numbers
			first, last = 1000, 1000+uint64(n)<<(round%9)
		}
		set := map[uint64]bool{}
		for len(set) < n && uint64(len(set)) <= last-first {
			o := rng.Uint64()
			if last-first != ^uint64(0) {
				o = first + o%(last-first+1)
			}
			set[o] = true
		}
		set[first] = true
		var orders []uint64
		for o := range set {
			orders = append(orders, o)
		}
		slices.Sort(orders)
		orders = orders[:min(len(orders), filterOrders)]
		b := mem.AlignedBytes(BlockBytes, BlockBytes)
		makeFilter(b, orders, first, last, 7)
		if err := checkFilter(b, first, last, 7); err != nil {
			t.Fatal(err)
		}
		if checkFilter(b, first, last, 8) == nil || checkFilter(b, first+1, last, 7) == nil {
			t.Fatal("a filter of something else passes")
		}
		for _, o := range orders {
			if !mayHold(mem.Of(b), o) {
				t.Fatalf("round %d: %d orders from %#x to %#x: %#x is not there", round, len(orders), first, last, o)
			}
		}
		for range 500 {
			o := rng.Uint64()
			if last-first != ^uint64(0) {
				o = first + o%(last-first+1)
			}
			if set[o] {
				continue
			}
			if asked++; mayHold(mem.Of(b), o) {
				passed++
			}
		}
	}
	if passed*(1<<filterLow) > asked*5/4 || passed == 0 {
		t.Fatalf("%d of %d absent orders pass, expected is one of %d", passed, asked, 1<<filterLow)
	}
	if bits := float64(8*BlockBytes) / filterOrders; bits > 9.3 {
		t.Fatalf("%.2f bits for each order", bits)
	}
}

// randomRecords returns records whose sizes come in all kinds, among them some of one hash, sorted.
func randomRecords(rng *rand.Rand, n, largest int) (records []Record) {
	seen := map[string]bool{}
	for len(records) < n {
		key := fmt.Sprintf("key %d", rng.IntN(4*n))
		switch rng.IntN(20) {
		case 0:
			key = fmt.Sprintf("#%c%09d", 'a'+rng.IntN(3), rng.IntN(n))
		case 1:
			key += string(bytes.Repeat([]byte{'k'}, rng.IntN(min(largest, maxKey-100))))
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		var value []byte
		switch rng.IntN(12) {
		case 0: // a tombstone
		case 1:
			value = make([]byte, rng.IntN(largest))
		default:
			value = make([]byte, rng.IntN(120))
		}
		for i := range value {
			value[i] = byte(rng.Uint32())
		}
		records = append(records, recordOf(key, value))
	}
	SortRecords(records)
	return records
}

func mustWrite(t testing.TB, f *files, maxBytes int64, from, to word.Address, records []Record) []index.ShareRef {
	t.Helper()
	refs, err := Write(context.Background(), config(f, maxBytes), from, to, records)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestShare_HasWhatWasWritten(t *testing.T) {
	for seed := range uint64(testkit.Scaled(8, 24, 60, 200)) {
		rng := rand.New(rand.NewPCG(seed, 3))
		largest := []int{100, 3000, 20_000, 200_000}[seed%4]
		f, filters := newFiles(), NewFilters(1<<20)
		records := randomRecords(rng, 1+rng.IntN(3000), largest)
		refs := mustWrite(t, f, []int64{32 << 10, 1 << 20}[seed/4%2], word.FirstAddress, 1<<20, records)
		tier, err := NewTier(1<<20, 1, refs, f.open(t, refs...))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records { // no key has a question mark
			mustFind(t, tier, filters, string(r.Key), r.Value, true)
			mustFind(t, tier, filters, string(r.Key[:min(len(r.Key), maxKey-1)])+"?", nil, false)
		}
		i := 0
		err = Join(context.Background(), orderOf, 0, ^uint64(0), tier.shares, func(r *Record, _ int64) error {
			if w := &records[i]; r.Order != w.Order || !bytes.Equal(r.Key, w.Key) || !bytes.Equal(r.Value, w.Value) || r.Tombstone != w.Tombstone {
				t.Fatalf("seed %d: record %d is %.20q, want %.20q", seed, i, r.Key, w.Key)
			}
			i++
			return nil
		})
		if err != nil || i != len(records) {
			t.Fatalf("seed %d: %d of %d records: %v", seed, i, len(records), err)
		}
		filters.Close()
	}
}

// A lookup of a small record that is there takes one read of one block; of one that is not there hardly any.
func TestTier_OneReadForOneKey(t *testing.T) {
	f, filters := newFiles(), NewFilters(8<<20)
	defer filters.Close()
	const n = 40_000
	var refs []index.ShareRef
	var at [3][]string
	for i := range 3 { // three segments, one above the other
		var records []Record
		for k := range n {
			key := fmt.Sprintf("%d:%d", i, k)
			at[i] = append(at[i], key)
			records = append(records, recordOf(key, []byte("12345678")))
		}
		SortRecords(records)
		refs = append(refs, mustWrite(t, f, 1<<20, max(word.Address(i)<<30, word.FirstAddress), word.Address(i+1)<<30, records)...)
	}
	tier, err := NewTier(3<<30, 3, refs, f.open(t, refs...))
	if err != nil {
		t.Fatal(err)
	}
	count := func(keys []string, there bool) (reads int) {
		for _, k := range keys {
			want := []byte("12345678")
			if !there {
				want = nil
			}
			reads += mustFind(t, tier, filters, k, want, there)
		}
		return reads
	}
	var absent []string
	for k := range n {
		absent = append(absent, fmt.Sprintf("absent %d", k))
	}
	count(absent, false) // reads the filters of all but the oldest
	for i := range at {
		reads := count(at[i], true)
		if limit := n + n*(2-i)/100 + 300; reads < n || reads > limit {
			t.Errorf("segment %d: %d reads for %d keys, at most %d expected", i, reads, n, limit)
		}
	}
	for _, s := range tier.shares { // those of the oldest as well
		for b := range s.filters {
			buf := mem.AlignedBytes(BlockBytes, BlockBytes)
			if err := errors.Join(s.readAt(buf, s.filterAt(b)), filters.Put(s, b, buf)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if reads := count(absent, false); reads > n*4/100 {
		t.Errorf("%d reads for %d absent keys", reads, n)
	}
	if count(at[0][:1000], true) < 1000 {
		t.Error("keys are found without reading")
	}
	if tier.Excludes(filters, orderOf([]byte(at[0][0]))) {
		t.Error("the tier excludes a key that it has")
	}
	memory := filters.Bytes()
	for _, s := range tier.shares {
		memory += s.MemoryBytes()
	}
	if per := float64(memory) / (3 * n); per > 1.5 {
		t.Errorf("%.2f bytes of memory for each record", per)
	}
}

// Whatever byte of a share is damaged: the share, or what is read of it, is refused, or says what it said before.
func TestShare_DamageIsFound(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	f, filters := newFiles(), NewFilters(1<<20)
	defer filters.Close()
	records := randomRecords(rng, 100, 9000)
	ref := mustWrite(t, f, 1<<30, word.FirstAddress, 1<<20, records)[0]
	file := f.byID[ref.ID]
	step := testkit.Scaled(13, 5, 1, 1)
	refused, damages := 0, 0
	for at := rng.IntN(step); at < len(file.b); at += step {
		flip := byte(1 << rng.IntN(8))
		file.b[at] ^= flip
		damages++
		err := useAll(t, file, ref, filters, records)
		file.b[at] ^= flip
		var c *CorruptError
		switch {
		case errors.Is(err, ErrFormat) && at >= 8 && at < 12:
		case err == nil && (at < BlockBytes || inFill(at, ref)): // the head is looked at when there is no trailer
		case !errors.As(err, &c) || c.Share != ref.ID:
			t.Fatalf("bit at %d of %d: %v", at, len(file.b), err)
		default:
			refused++
		}
	}
	if refused < damages/2 {
		t.Fatalf("%d of %d damages refused", refused, damages)
	}
	testkit.Counted(t, "%d of %d bytes flipped, %d refused", damages, len(file.b), refused)
	if err := useAll(t, &memFile{file.b[:len(file.b)-BlockBytes]}, ref, filters, records); err == nil {
		t.Fatal("a share that lacks its end opens")
	}
}

// inFill reports whether a byte lies between directory and trailer, where nothing is.
func inFill(at int, ref index.ShareRef) bool {
	return at > int(ref.Bytes)-BlockBytes && at < int(ref.Bytes)-shareTrailer
}

// useAll opens a share and reads all of it, and demands what it was made of.
func useAll(t *testing.T, file *memFile, ref index.ShareRef, filters *Filters, records []Record) error {
	s, err := OpenShare(file, ref)
	if err != nil {
		return err
	}
	defer filters.Forget(s)
	b := mem.AlignedBytes(BlockBytes, BlockBytes)
	for n := range s.filters {
		if err := s.readAt(b, s.filterAt(n)); err != nil {
			return err
		}
		if err := filters.Put(s, n, b); err != nil {
			return err
		}
	}
	i := 0
	err = Join(context.Background(), orderOf, 0, ^uint64(0), []*Share{s}, func(r *Record, _ int64) error {
		if i >= len(records) || !bytes.Equal(r.Key, records[i].Key) || !bytes.Equal(r.Value, records[i].Value) || r.Tombstone != records[i].Tombstone {
			t.Fatalf("record %d is another one", i)
		}
		i++
		return nil
	})
	if err == nil && i != len(records) {
		t.Fatalf("%d of %d records", i, len(records))
	}
	return err
}

// Segments come and are merged, in pieces, in any order that the scheduler likes: each key says at each moment what was
// written of it last.
func TestMerge_AgreesWithModel(t *testing.T) {
	for seed := range uint64(testkit.Scaled(3, 8, 30, 100)) {
		rng := rand.New(rand.NewPCG(seed, 9))
		f, filters := newFiles(), NewFilters([]int64{0, 64 << 10, 1 << 20}[seed%3])
		model := map[string][]byte{}
		var refs index.Shares
		at, merges, dropped := word.FirstAddress, 0, 0
		var tier *Tier
		for round := range 40 {
			records := randomRecords(rng, 1+rng.IntN(400), 5000)
			to := at + word.Address(8*(1+rng.IntN(1000)))
			refs = refs.Add(mustWrite(t, f, 64<<10, at, to, records)...)
			at = to
			for _, r := range records {
				model[string(r.Key)] = r.Value
			}
			for rng.IntN(3) > 0 {
				m, ok := refs.NextMerge(int64(2000+rng.IntN(20_000)), nil, index.Known{})
				if !ok {
					break
				}
				merges++
				cfg := config(f, 64<<10)
				cfg.DropTombstones = m.From == word.FirstAddress
				outs, err := Merge(context.Background(), cfg, m, f.open(t, m.Inputs...))
				if err != nil {
					t.Fatal(err)
				}
				refs = refs.Add(outs...)
			}
			var err error
			if tier, err = NewTier(at, uint64(round), refs, f.open(t, refs...)); err != nil {
				t.Fatal(err)
			}
			for k, v := range model {
				if len(k)%8 != round%8 {
					continue
				}
				if got, found, _ := search(t, tier, filters, k); (found == Live) != (v != nil) || found == Live && !bytes.Equal(got, v) {
					t.Fatalf("seed %d, round %d: key %.30q: %v %d bytes, want %d", seed, round, k, found, len(got), len(v))
				} else if v == nil && found == Absent {
					dropped++
				}
			}
			if refs.Bytes() > 0 && len(tier.ranges) == 0 {
				t.Fatal("no ranges")
			}
		}
		if merges < 20 || dropped == 0 {
			t.Fatalf("seed %d: %d merges, %d tombstones gone: the test tests nothing", seed, merges, dropped)
		}
		live := 0
		err := Join(context.Background(), orderOf, 0, ^uint64(0), tier.shares, func(r *Record, _ int64) error {
			if v, ok := model[string(r.Key)]; !ok || r.Tombstone != (v == nil) || !bytes.Equal(v, r.Value) {
				return fmt.Errorf("key %.30q", r.Key)
			}
			if !r.Tombstone {
				live++
			}
			return nil
		})
		for _, v := range model {
			if v != nil {
				live--
			}
		}
		if err != nil || live != 0 {
			t.Fatalf("seed %d: %d keys too many: %v", seed, live, err)
		}
		filters.Close()
	}
}

func TestMerge_StopsWhenAsked(t *testing.T) {
	f := newFiles()
	rng := rand.New(rand.NewPCG(3, 3))
	a := mustWrite(t, f, 1<<30, word.FirstAddress, 8192, randomRecords(rng, 2000, 500))
	b := mustWrite(t, f, 1<<30, 8192, 16384, randomRecords(rng, 2000, 500))
	m := index.Merge{Last: ^uint64(0), From: word.FirstAddress, To: 16384, Inputs: slices.Concat(a, b)}
	ctx, cancel := context.WithCancel(context.Background())
	cfg := config(f, 1<<20)
	waits := 0
	cfg.Wait = func(ctx context.Context) error {
		if waits++; waits == 3 {
			cancel()
		}
		return ctx.Err()
	}
	if _, err := Merge(ctx, cfg, m, f.open(t, m.Inputs...)); !errors.Is(err, context.Canceled) || waits != 3 {
		t.Fatalf("%v after %d waits", err, waits)
	}
	failing := errors.New("no file")
	cfg = config(f, 1<<20)
	cfg.Create = func() (io.WriterAt, uint64, error) { return nil, 0, failing }
	if _, err := Merge(context.Background(), cfg, m, f.open(t, m.Inputs...)); !errors.Is(err, failing) {
		t.Fatal(err)
	}
}

// While blocks come, go and make room no filter says of what a share has that it has not.
func TestFilters_NeverDeny(t *testing.T) {
	f := newFiles()
	var records []Record
	for i := range 60_000 {
		records = append(records, recordOf(fmt.Sprint("k", i), []byte("v")))
	}
	SortRecords(records)
	refs := mustWrite(t, f, 128<<10, word.FirstAddress, 8192, records)
	shares := f.open(t, refs...)
	tier, err := NewTier(8192, 1, refs, shares)
	if err != nil {
		t.Fatal(err)
	}
	filters := NewFilters(6 * BlockBytes)
	defer filters.Close()
	var wg sync.WaitGroup
	rounds := testkit.Scaled(20_000, 60_000, 200_000, 1_000_000)
	for g := range uint64(3) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(g, 1))
			b := mem.AlignedBytes(BlockBytes, BlockBytes)
			known := 0
			for range rounds {
				o := records[rng.IntN(len(records))].Order
				s := tier.over(o)[0]
				switch a, n := filters.ask(s, o); a {
				case no:
					t.Errorf("order %#x is denied", o)
					return
				case maybe:
					known++
				default:
					if err := errors.Join(s.readAt(b, s.filterAt(n)), filters.Put(s, n, b)); err != nil {
						t.Error(err)
						return
					}
				}
			}
			if known == 0 {
				t.Error("no block was ever there")
			}
		})
	}
	wg.Go(func() {
		for i := range rounds / 100 {
			filters.Resize(int64(i%8) * BlockBytes)
		}
		filters.Resize(20 * BlockBytes)
	})
	wg.Wait()
	if got := filters.Bytes(); got > 20*BlockBytes {
		t.Fatalf("%d bytes", got)
	}
	for _, s := range shares {
		filters.Forget(s)
	}
	if got := filters.Bytes(); got != 0 {
		t.Fatalf("%d bytes after all shares are gone", got)
	}
}

func BenchmarkTier(b *testing.B) {
	f, filters := newFiles(), NewFilters(64<<20)
	defer filters.Close()
	const n = 1_000_000
	var records []Record
	keys := make([]byte, 0, 8*n)
	for i := range uint64(n) {
		keys = binary.LittleEndian.AppendUint64(keys, i*0x9e3779b97f4a7c15|1)
		k := keys[8*i:]
		records = append(records, Record{Order: orderOf(k), Key: k, Value: []byte("12345678")})
	}
	SortRecords(records)
	b.Run("op=write", func(b *testing.B) {
		for b.Loop() {
			f := newFiles()
			mustWrite(b, f, 8<<20, word.FirstAddress, 8192, records)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
	})
	older := mustWrite(b, f, 8<<20, word.FirstAddress, 8192, records)
	some := records[:0:0]
	for i := range n / 4 {
		some = append(some, records[4*i])
	}
	newer := mustWrite(b, f, 8<<20, 8192, 16384, some)
	refs := slices.Concat(older, newer)
	shares := f.open(b, refs...)
	b.Run("op=merge", func(b *testing.B) {
		m := index.Merge{Last: ^uint64(0), From: word.FirstAddress, To: 16384, Inputs: refs}
		for b.Loop() {
			if _, err := Merge(context.Background(), config(newFiles(), 8<<20), m, shares); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(n+n/4), "ns/record")
	})
	tier, err := NewTier(16384, 2, refs, shares)
	if err != nil {
		b.Fatal(err)
	}
	buf := mem.AlignedBytes(BlockBytes, BlockBytes)
	for _, s := range shares {
		for n := range s.filters {
			if err := errors.Join(s.readAt(buf, s.filterAt(n)), filters.Put(s, n, buf)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("op=exclude", func(b *testing.B) {
		for i := uint64(0); b.Loop(); i++ {
			tier.Excludes(filters, i*0x9e3779b97f4a7c15)
		}
	})
	b.Run("op=find", func(b *testing.B) {
		value := make([]byte, 0, 64)
		for i := 0; b.Loop(); i++ {
			r := &records[i*7919%n]
			l := tier.Lookup(filters, r.Order, r.Key, value[:0])
			for read, ok := l.Next(); ok; read, ok = l.Next() {
				if err := errors.Join(read.Share.readAt(buf[:read.N], read.Off), l.Take(buf[:read.N])); err != nil {
					b.Fatal(err)
				}
			}
			if l.Found != Live {
				b.Fatalf("key %d: %v", i*7919%n, l.Found)
			}
		}
	})
}
