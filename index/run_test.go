package index

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// file is a run in memory.
type file struct{ b []byte }

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(f.b) {
		f.b = append(f.b, make([]byte, need-len(f.b))...)
	}
	return copy(f.b[off:], p), nil
}

// writeRun returns a run of records, and of older runs.
func writeRun(t testing.TB, from, to word.Address, records []Record, older ...[]byte) []byte {
	t.Helper()
	var f file
	n, err := WriteRun(context.Background(), &f, from, to, records, openRuns(t, older)...)
	if err != nil || n != int64(len(f.b)) {
		t.Fatalf("%d bytes, %v; there are %d", n, err, len(f.b))
	}
	return f.b
}

func openRuns(t testing.TB, files [][]byte) []*Run {
	t.Helper()
	var runs []*Run
	for _, b := range files {
		r, err := OpenRun(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	return runs
}

// state returns what an index that has been replayed into tells of hashes: their owners' addresses.
func state(t *testing.T, f *fixture, hashes []uint64) map[uint64]word.Address {
	t.Helper()
	got := map[uint64]word.Address{}
	for _, h := range hashes {
		for {
			f.g.Enter()
			_, e, status := f.Find(h)
			f.g.Exit()
			if status == NeedLoad {
				if err := f.Load(h); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if status == Found {
				got[h] = e.Address()
			}
			break
		}
	}
	return got
}

// Image, runs and a tail that is replayed make the same index as an image and a replay of all that log: R3 of hlog, for
// tables of all sizes, growth, catch-alls, drops, runs that begin below the image's end, and merged ones.
func TestRun_SameAsReplay(t *testing.T) {
	for seed := range uint64(testkit.UnderRace(15, 60)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 5))
			cfg := Config{}
			if seed%5 == 4 {
				cfg.MaxBytes = func() int64 { return 24 << 10 } // catch-alls
			}
			f := newTiny(t, cfg, uint(r.IntN(14)))
			n := 1 + r.IntN(4000)
			l := newTestLog(8 * n)
			var hashes []uint64
			var log []Record
			add := func(n int) {
				for range n {
					h := r.Uint64()
					if len(hashes) > 0 && r.IntN(3) > 0 {
						h = hashes[r.IntN(len(hashes))]
					}
					hashes = append(hashes, h)
					log = append(log, Record{h, l.append(t, f.Index, f.g, h)})
				}
			}
			add(n)
			image := write(t, f.Index, 0)
			from := len(log)
			add(1 + r.IntN(2*n))
			drop := word.Address(0)
			if r.IntN(2) == 0 {
				drop = log[r.IntN(len(log))].Address
			}
			atLeast := f.Bits() + uint(r.IntN(3))

			// The log behind the image, cut into runs at random; the first may begin below it, the rest is the tail.
			at := max(0, from-r.IntN(50))
			var runs [][]byte
			for at < len(log) && len(runs) < 6 {
				to := min(at+1+r.IntN(len(log)), len(log))
				end := word.MaxAddress
				if to < len(log) {
					end = log[to].Address
				}
				records := append([]Record(nil), log[at:to]...)
				r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
				begin, older := log[at].Address, runs[:0:0]
				if len(runs) > 0 && r.IntN(2) == 0 {
					k := r.IntN(len(runs))
					older, runs = runs[k:], runs[:k:k]
					begin = openRuns(t, older)[0].From
				}
				runs = append(runs, writeRun(t, begin, end, records, older...))
				at = to
			}
			want, _ := open(t, Config{InitialBits: atLeast}, image, drop)
			for _, rec := range log[from:] {
				if rec.Address >= drop {
					replayOne(t, want, rec)
				}
			}
			got, _ := openWith(t, Config{InitialBits: atLeast}, image, drop, runs)
			if r.IntN(2) == 0 { // the tail is replayed into blocks that are loaded and others
				state(t, got, hashes[:min(3, len(hashes))])
			}
			for _, rec := range log[at:] {
				if rec.Address >= drop {
					replayOne(t, got, rec)
				}
			}
			if r.IntN(2) == 0 {
				if err := got.LoadAll(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			a, b := state(t, want, hashes), state(t, got, hashes)
			for _, h := range hashes {
				if a[h] != b[h] {
					t.Fatalf("hash %#x leads to %d, with runs to %d", h, a[h], b[h])
				}
			}
			if err := got.Grow(context.Background(), got.Bits()+1); err != nil {
				t.Fatal(err)
			}
			b = state(t, got, hashes)
			for _, h := range hashes {
				if a[h] != b[h] {
					t.Fatalf("after growth hash %#x leads to %d, with runs to %d", h, a[h], b[h])
				}
			}
		})
	}
}

func replayOne(t *testing.T, f *fixture, rec Record) {
	t.Helper()
	if err := f.Replay(rec); err != nil {
		t.Fatal(err)
	}
}

// openWith is open with runs.
func openWith(t testing.TB, cfg Config, image []byte, drop word.Address, runs [][]byte) (*fixture, []*Run) {
	t.Helper()
	cfg.Epoch = epoch.New()
	opened := openRuns(t, runs)
	x, err := OpenImage(cfg, bytes.NewReader(image), int64(len(image)), drop, opened...)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, x), opened
}

func TestRun_MergeIsTheRunOfAllRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var all []Record
	for i := range 20_000 {
		all = append(all, Record{r.Uint64() >> r.IntN(60), word.Address(4096 + 8*i)})
	}
	end := word.Address(4096 + 8*len(all))
	a := writeRun(t, 4096, 4096+8*500, append([]Record(nil), all[:500]...))
	b := writeRun(t, 4096+8*500, 4096+8*9000, append([]Record(nil), all[500:9000]...))
	merged := writeRun(t, 4096, end, append([]Record(nil), all[9000:]...), a, b)
	whole := writeRun(t, 4096, end, append([]Record(nil), all...))
	entries := func(b []byte) (list []Record) {
		if err := openRuns(t, [][]byte{b})[0].each(0, ^uint64(0), func(h uint64, a word.Address) error {
			list = append(list, Record{h, a})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	got, want := entries(merged), entries(whole)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%d entries, want %d, or others", len(got), len(want))
	}
	newest := map[uint64]word.Address{}
	for _, rec := range all {
		newest[rec.Hash] = rec.Address
	}
	for _, rec := range got {
		if newest[rec.Hash] != rec.Address {
			t.Fatalf("hash %#x at %d, want %d", rec.Hash, rec.Address, newest[rec.Hash])
		}
	}
	if len(newest) != len(got) {
		t.Fatalf("%d hashes, want %d", len(got), len(newest))
	}
}

func TestRun_RefusesAddressesOutside(t *testing.T) {
	for _, rec := range []Record{{1, 4088}, {1, 4160}, {1, 4096 + MaxRunSpan}} {
		var f file
		if _, err := WriteRun(context.Background(), &f, 4096, max(4160, rec.Address), []Record{rec}); err == nil {
			t.Errorf("address %d: no error", rec.Address)
		}
	}
}

// damaged returns what is wrong with what a run holds, read in every way there is.
func damaged(b []byte) error {
	r, err := OpenRun(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	all := r.each(0, ^uint64(0), func(uint64, word.Address) error { return nil })
	var f file
	_, merged := WriteRun(context.Background(), &f, r.From, r.To, nil, r)
	if (all == nil) != (merged == nil) {
		return fmt.Errorf("reading: %v, merging: %v", all, merged)
	}
	return all
}

func TestRun_EveryDamagedByte(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var records []Record
	for i := range 1500 {
		records = append(records, Record{r.Uint64(), word.Address(4096 + 8*i)})
	}
	good := writeRun(t, 4096, 4096+8*1500, records)
	if err := damaged(good); err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		var c *CorruptError
		if err := damaged(b); !errors.As(err, &c) || c.Offset > int64(len(good)) || c.Offset < 0 {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := 0; i < len(good); i += testkit.UnderRace(7, 1) {
		for _, mask := range []byte{1, 0x80, 0xff} {
			if i >= 8 && i < 12 {
				continue // the format: see below
			}
			b := bytes.Clone(good)
			b[i] ^= mask
			check(fmt.Sprintf("byte %d ^ %#x", i, mask), b)
		}
	}
	for n := 0; n < len(good); n += 1 + len(good)/500 {
		check(fmt.Sprintf("%d bytes", n), good[:n])
	}
	check("a byte more", append(bytes.Clone(good), 0))
	b := bytes.Clone(good)
	b[8] = runFormat + 1
	if err := damaged(b); !errors.Is(err, ErrFormat) {
		t.Errorf("newer format: %v", err)
	}
	b[8] = 0
	check("format 0", b)
}

// Damage of a part is told with the number of the run and where it lies, to those who need it; the others go on.
func TestRun_DamageConcernsItsPartOnly(t *testing.T) {
	f, l, model := makeIndex(t, Config{}, 14, 30_000)
	image := write(t, f.Index, 0)
	var records []Record
	for h := range model {
		if len(records) < 5000 {
			records = append(records, Record{h, 0})
		}
	}
	first := word.Address(0)
	for i := range records {
		records[i].Address = l.append(t, f.Index, f.g, records[i].Hash)
		model[records[i].Hash] = records[i].Address
		if i == 0 {
			first = records[0].Address
		}
	}
	good := writeRun(t, first, word.MaxAddress, append([]Record(nil), records...))
	bad := bytes.Clone(good)
	bad[len(bad)-5] ^= 1 // of the last part
	healthy := writeRun(t, first, word.MaxAddress, nil)
	got, _ := openWith(t, Config{}, image, 0, [][]byte{healthy, bad})
	failed := 0
	for _, rec := range records {
		if err := got.Load(rec.Hash); err != nil {
			var c *CorruptError
			if !errors.As(err, &c) || c.Run != 2 || c.Offset > int64(len(bad)) {
				t.Fatal(err)
			}
			failed++
			continue
		}
		if s := state(t, got, []uint64{rec.Hash}); s[rec.Hash] != rec.Address {
			t.Fatalf("hash %#x leads to %d, want %d", rec.Hash, s[rec.Hash], rec.Address)
		}
	}
	if failed == 0 || failed > len(records)/4 {
		t.Errorf("%d of %d hashes cannot be loaded", failed, len(records))
	}
	if err := got.LoadAll(context.Background()); err == nil {
		t.Error("all is loaded")
	}
}

// A reader that fails for a while: what was missing is loaded later.
type flaky struct {
	io.ReaderAt
	fail bool
}

func (f *flaky) ReadAt(p []byte, off int64) (int, error) {
	if f.fail {
		return 0, io.ErrClosedPipe
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestRun_ReadErrorPasses(t *testing.T) {
	f, l, model := makeIndex(t, Config{}, 6, 300)
	image := write(t, f.Index, 0)
	var records []Record
	for h := range model {
		records = append(records, Record{h, l.append(t, f.Index, f.g, h)})
		model[h] = records[len(records)-1].Address
	}
	b := writeRun(t, records[0].Address, word.MaxAddress, append([]Record(nil), records...))
	r := &flaky{ReaderAt: bytes.NewReader(b)}
	run, err := OpenRun(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	x, err := OpenImage(Config{Epoch: epoch.New()}, bytes.NewReader(image), int64(len(image)), 0, run)
	if err != nil {
		t.Fatal(err)
	}
	o := wrap(t, x)
	r.fail = true
	if err := o.Load(records[0].Hash); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	r.fail = false
	mustMatch(t, o.Index, o.g, l, model)
}

// FuzzIndexRun feeds the decoder of runs bytes with valid checksums, so that the fuzzer gets past them.
func FuzzIndexRun(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{0, 1, 40, 700} {
		var records []Record
		for i := range n {
			records = append(records, Record{r.Uint64(), word.Address(4096 + 8*i)})
		}
		b := writeRun(f, 4096, 4096+8*1000, records)
		f.Add(b, uint16(0))
		f.Add(b, uint16(3))
		f.Add(b[:len(b)/2], uint16(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, seal uint16) {
		b = bytes.Clone(b)
		if len(b) >= headerBytes && seal > 0 {
			resealRun(b, uint64(seal))
		}
		if err := damaged(b); err != nil {
			var c *CorruptError
			if !errors.As(err, &c) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
		}
	})
}

// resealRun puts right the checksums of the header, of a piece of the directory and of its parts, as far as they can be.
func resealRun(b []byte, n uint64) {
	binary.LittleEndian.PutUint64(b[sumOffset:], xxh3.Hash(b[:sumOffset]))
	r, err := OpenRun(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return
	}
	n %= piecesOf(r.partBits)
	piece := b[r.pieceAt(n):r.pieceAt(n+1)]
	p := &runPiece{n, piece}
	for i := range inPiece(r.partBits) {
		if start, end := p.start(i), p.end(i); start <= end && end <= uint64(r.Entries) {
			binary.LittleEndian.PutUint64(piece[16+i*partRef:], xxh3.Hash(b[r.entryAt(start):r.entryAt(end)]))
		}
	}
	body := len(piece) - 8
	binary.LittleEndian.PutUint64(piece[body:], pieceSum(piece[:body], r.sum, n))
}

// Records are sorted as a whole also where they are spread over digits first: evenly, into one group, with repeats.
func TestSortRecords(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, hash := range map[string]func() uint64{
		"even":       rnd.Uint64,
		"one group":  func() uint64 { return rnd.Uint64() >> recordDigitBits },
		"two groups": func() uint64 { return rnd.Uint64()>>recordDigitBits | rnd.Uint64()<<63 },
		"few alike":  func() uint64 { return rnd.Uint64() &^ (1<<(64-recordDigitBits-subDigitBits) - 1) },
		"repeats":    func() uint64 { return rnd.Uint64() & (0xff<<56 | 1) },
		"same":       func() uint64 { return ^uint64(0) },
	} {
		for _, n := range []int{0, 1, fewRecords, fewRecords + 1, 5 * fewRecords} {
			records := make([]Record, n)
			for i := range records {
				records[i] = Record{Hash: hash(), Address: word.Address(rnd.Uint64N(1 << 40))}
			}
			want := slices.Clone(records)
			slices.SortStableFunc(want, func(a, b Record) int {
				return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(b.Address, a.Address))
			})
			if sortRecords(records); !slices.Equal(records, want) {
				t.Errorf("%s, %d records: not sorted", name, n)
			}
		}
	}
}

// BenchmarkWriteRun makes a run of 100,000 records in random order, and of as many and seven runs like that; ns/record.
func BenchmarkWriteRun(b *testing.B) {
	const n, size = 100_000, 32
	rnd := rand.New(rand.NewPCG(1, 2))
	records := func(from word.Address) []Record {
		records := make([]Record, n)
		for i := range records {
			records[i] = Record{Hash: rnd.Uint64(), Address: from + word.Address(size*i)}
		}
		return records
	}
	var older [][]byte
	at := word.Address(4096)
	for range 7 {
		older = append(older, writeRun(b, at, at+n*size, records(at)))
		at += n * size
	}
	write := func(older ...*Run) func(b *testing.B) {
		return func(b *testing.B) {
			records, again := records(at), make([]Record, n)
			for b.Loop() {
				copy(again, records)
				if _, err := WriteRun(context.Background(), discard{}, 4096, at+n*size, again, older...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*(1+len(older))), "ns/record")
		}
	}
	b.Run("fresh", write())
	b.Run("merge", write(openRuns(b, older)...))
}

// discard takes everything.
type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
