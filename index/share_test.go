package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// shareFiles are shares in memory.
type shareFiles struct {
	files map[uint64]*file
	next  uint64
}

func (f *shareFiles) create() (io.WriterAt, uint64, error) {
	if f.files == nil {
		f.files = map[uint64]*file{}
	}
	f.next++
	f.files[f.next] = &file{}
	return f.files[f.next], f.next, nil
}

func (f *shareFiles) config() MergeConfig {
	return MergeConfig{MaxBytes: math.MaxInt64, SegmentShift: 16, Create: f.create}
}

func (f *shareFiles) open(t testing.TB, refs ...ShareRef) (shares []*Share) {
	t.Helper()
	for _, r := range refs {
		s, err := OpenShare(bytes.NewReader(f.files[r.ID].b), r)
		if err != nil {
			t.Fatal(err)
		}
		shares = append(shares, s)
	}
	return shares
}

// write writes triples into one share.
func (f *shareFiles) write(t testing.TB, from, to word.Address, triples []Triple) ShareRef {
	t.Helper()
	written, err := WriteTriples(context.Background(), f.config(), from, to, slices.Clone(triples), false)
	if err != nil || len(written) != 1 || written[0].Bytes != int64(len(f.files[f.next].b)) {
		t.Fatalf("%+v, %v", written, err)
	}
	return written[0].ShareRef
}

// all returns the triples of a share with orders between first and last.
func (s *Share) all(first, last uint64) (triples []Triple, err error) {
	i, j := s.within(first, last)
	return s.read(nil, make([]byte, (j-i)*shareBlock), i, j, first, last)
}

func randomTriples(r *rand.Rand, n int) (triples []Triple) {
	a := word.Address(word.FirstAddress)
	hash := []func() uint64{r.Uint64, func() uint64 { return r.Uint64() >> r.IntN(64) }, func() uint64 { return r.Uint64() << 50 }}[r.IntN(3)]
	size := []func() int{func() int { return 32 }, func() int { return 16 + 8*r.IntN(300) }, func() int { return 1 << r.IntN(24) &^ 7 }}[r.IntN(3)]
	for range n {
		bytes := max(size(), 16)
		if r.IntN(50) == 0 {
			a += word.Address(r.Uint64N(1<<26) &^ 7)
		}
		triples = append(triples, MakeTriple(hash(), a, bytes, r.IntN(10) == 0))
		a += word.Address(bytes)
	}
	return triples
}

// newestOf returns the newest triple of each order, in order.
func newestOf(triples []Triple) []Triple {
	sorted := slices.SortedFunc(slices.Values(triples), compareTriples)
	return slices.CompactFunc(sorted, func(a, b Triple) bool { return a.order == b.order })
}

func TestShare_HoldsTheNewestOfEachHash(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		triples := randomTriples(r, r.IntN(1+1<<r.IntN(16)))
		if seed == 0 {
			triples = nil
		}
		var f shareFiles
		ref := f.write(t, 0, word.MaxAddress, triples)
		want := newestOf(triples)
		if ref.Triples != int64(len(want)) || ref.First != 0 || ref.Last != math.MaxUint64 {
			t.Fatalf("%+v for %d triples", ref, len(want))
		}
		s := f.open(t, ref)[0]
		if got, err := s.all(0, math.MaxUint64); err != nil || !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d triples, want %d, or others: %v", seed, len(got), len(want), err)
		}
		for range 20 {
			first, last := r.Uint64(), r.Uint64()
			if len(want) > 0 && r.IntN(2) == 0 {
				first, last = want[r.IntN(len(want))].order, want[r.IntN(len(want))].order
			}
			first, last = min(first, last), max(first, last)
			got, err := s.all(first, last)
			part := slices.DeleteFunc(slices.Clone(want), func(t Triple) bool { return t.order < first || t.order > last })
			if err != nil || !slices.Equal(got, part) {
				t.Fatalf("seed %d: %d triples of a range, want %d, or others: %v", seed, len(got), len(part), err)
			}
		}
		live, sums := int64(0), map[uint32]SegmentBytes{}
		for _, w := range want {
			g := sums[uint32(w.Address()>>16)]
			if g.Segment = uint32(w.Address() >> 16); w.Tombstone() {
				g.Tombstones += w.Size()
			} else {
				g.Live += w.Size()
				live += w.Size()
			}
			sums[g.Segment] = g
		}
		segments, shift := s.Segments()
		if live != ref.Live || len(segments) != len(sums) || shift != 16 {
			t.Fatalf("seed %d: %d bytes live in %d segments, want %d in %d", seed, ref.Live, len(segments), live, len(sums))
		}
		for _, g := range segments {
			if g != sums[g.Segment] {
				t.Fatalf("seed %d: segment holds %+v, want %+v", seed, g, sums[g.Segment])
			}
		}
	}
}

// Records of one size at neighbouring addresses, the most frequent kind, take no more than ten bytes each.
func TestShare_TriplesAreSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var triples []Triple
	for i := range 130_000 {
		triples = append(triples, MakeTriple(r.Uint64(), word.FirstAddress+word.Address(32*i), 32, false))
	}
	var f shareFiles
	if ref := f.write(t, 0, 1<<30, triples); ref.Bytes > 103*int64(len(triples))/10 {
		t.Errorf("%d bytes for %d triples", ref.Bytes, len(triples))
	}
}

// Merging any shares, in any division of the hashes, is writing what is newest in all of them.
func TestMergeShares_IsTheShareOfAllTriples(t *testing.T) {
	for seed := range uint64(testkit.UnderRace(8, 30)) {
		r := rand.New(rand.NewPCG(seed, 2))
		n := r.IntN(1 + 1<<r.IntN(16))
		triples := randomTriples(r, n)
		for i := range triples { // repeats
			if i > 0 && r.IntN(4) == 0 {
				triples[i].order = triples[r.IntN(i)].order
			}
		}
		var f shareFiles
		var refs []ShareRef
		from := word.Address(0)
		for at := 0; at < len(triples); {
			to := min(len(triples), at+1+r.IntN(len(triples)))
			end := triples[to-1].Address() + 8
			refs = append(refs, f.write(t, from, end, triples[at:to]))
			from, at = end, to
		}
		cfg := f.config()
		if r.IntN(2) == 0 {
			cfg.MaxBytes = 2*shareBlock + r.Int64N(40*shareBlock)
		}
		if r.IntN(2) == 0 && n > 0 {
			cfg.Drop = triples[r.IntN(n)].Address()
		}
		want := slices.DeleteFunc(newestOf(triples), func(t Triple) bool { return t.Address() < cfg.Drop })
		var got []Triple
		for first, more := uint64(0), true; more; {
			last := first + r.Uint64N(math.MaxUint64-first) + 1
			if r.IntN(3) == 0 {
				last = math.MaxUint64
			}
			m := Merge{First: first, Last: last, To: word.MaxAddress, Level: 3}
			written, err := MergeShares(context.Background(), cfg, m, f.open(t, refs...))
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range written {
				if w.First != first || w.From != 0 || w.To != word.MaxAddress || w.Level != 3 {
					t.Fatalf("seed %d: %+v, want one from %#x on", seed, w, first)
				}
				all, err := f.open(t, w.ShareRef)[0].all(w.First, w.Last)
				if err != nil || int64(len(all)) != w.Triples {
					t.Fatalf("seed %d: %d of %d triples: %v", seed, len(all), w.Triples, err)
				}
				got = append(got, all...)
				first = w.Last + 1
			}
			more = first != 0
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d triples, want %d, or others", seed, len(got), len(want))
		}
	}
}

// canceling is a reader that ends a context when it is used.
type canceling struct {
	io.ReaderAt
	cancel func()
}

func (c canceling) ReadAt(p []byte, off int64) (int, error) {
	c.cancel()
	return c.ReaderAt.ReadAt(p, off)
}

// A merge that is told to stop does not read on.
func TestMergeShares_StopsWhenAsked(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	var f shareFiles
	var triples []Triple
	for i := range 200_000 {
		triples = append(triples, MakeTriple(r.Uint64(), word.Address(4096+32*i), 32, false))
	}
	ref := f.write(t, 0, word.MaxAddress, triples)
	shares := f.open(t, ref)
	ctx, cancel := context.WithCancel(context.Background())
	counting := newReader(f.files[ref.ID].b)
	shares[0].r = canceling{counting, cancel}
	_, err := MergeShares(ctx, f.config(), Merge{Last: math.MaxUint64, To: word.MaxAddress}, shares)
	if !errors.Is(err, context.Canceled) || counting.read.Load() > shareAhead {
		t.Errorf("%v after %d bytes", err, counting.read.Load())
	}
}

// broken returns what is wrong with a share, read in every way there is.
func broken(b []byte, ref ShareRef) error {
	s, err := OpenShare(bytes.NewReader(b), ref)
	if err != nil {
		return err
	}
	_, all := s.all(0, math.MaxUint64)
	var f shareFiles
	_, merged := MergeShares(context.Background(), f.config(), Merge{Last: math.MaxUint64, To: word.MaxAddress}, []*Share{s})
	if (all == nil) != (merged == nil) {
		return fmt.Errorf("reading: %v, merging: %v", all, merged)
	}
	return all
}

func TestShare_EveryDamagedByte(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var f shareFiles
	ref := f.write(t, 0, word.MaxAddress, randomTriples(r, 700))
	good := f.files[ref.ID].b
	if err := broken(good, ref); err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		t.Helper()
		var c *CorruptError
		if err := broken(b, ref); !errors.As(err, &c) || c.Offset > int64(len(good)) || c.Offset < 0 || c.Share != ref.ID || !c.InShare {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := shareHead; i < len(good); i++ {
		b, mask := bytes.Clone(good), []byte{1, 0x80, 0xff}[i%3]
		b[i] ^= mask
		check(fmt.Sprintf("byte %d ^ %#x", i, mask), b)
	}
	for n := 0; n < len(good); n += 1 + len(good)/200 {
		check(fmt.Sprintf("%d bytes", n), good[:n])
	}
	check("a block is another", slices.Concat(good[:shareHead], good[shareHead+shareBlock:shareHead+2*shareBlock], good[shareHead:shareHead+shareBlock], good[shareHead+2*shareBlock:]))
	other := ref
	other.ID++
	if err := broken(good, other); err == nil {
		t.Error("a share of another id is opened")
	}
	newer := bytes.Clone(good)
	newer[8]++
	newer[len(newer)-shareTrailer+8]++ // as a newer release would, which may check the rest in another way
	if err := broken(newer, ref); !errors.Is(err, ErrFormat) {
		t.Errorf("newer format: %v", err)
	}
}

// What a crash leaves of a share that was being written is never taken for one.
func TestShare_CrashWhileItIsWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	triples := randomTriples(r, 20_000)
	whole := 0
	seeds := testkit.UnderRace(12, 60)
	for seed := range uint64(seeds) {
		disk := fsx.NewCrash(fsx.CrashOptions{})
		f, err := disk.Open("/share", fsx.Write|fsx.Create|fsx.Exclusive)
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		cut := &cutFile{w: f, left: r.IntN(8)}
		cfg := MergeConfig{MaxBytes: math.MaxInt64, SegmentShift: 16, Create: func() (io.WriterAt, uint64, error) { return cut, 7, nil }}
		written, err := WriteTriples(context.Background(), cfg, 0, word.MaxAddress, slices.Clone(triples), false)
		ref := ShareRef{ID: 7, Last: math.MaxUint64, To: word.MaxAddress, Bytes: int64(cut.end)}
		if err == nil {
			ref = written[0].ShareRef
		}
		after := disk.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: seed, Torn: seed%2 == 0})
		g, err := after.Open("/share", fsx.Read)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, ref.Bytes)
		n, _ := g.ReadAt(b, 0)
		switch err := broken(b[:n], ref); {
		case err == nil:
			whole++
		case !errors.As(err, new(*CorruptError)):
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d were whole", whole, seeds)
}

// cutFile fails after some writes.
type cutFile struct {
	w         io.WriterAt
	left, end int
}

func (c *cutFile) WriteAt(p []byte, off int64) (int, error) {
	if c.left--; c.left < 0 {
		return 0, errSimulated
	}
	c.end = max(c.end, int(off)+len(p))
	return c.w.WriteAt(p, off)
}

// FuzzIndexShare feeds the decoder of shares bytes with valid checksums, so that the fuzzer gets past them.
func FuzzIndexShare(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{0, 1, 40, 700} {
		var files shareFiles
		ref := files.write(f, 4096, 1<<30, randomTriples(r, n))
		b := files.files[ref.ID].b
		f.Add(b, false)
		f.Add(b, true)
		f.Add(b[:len(b)/2], false)
	}
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		b = bytes.Clone(b)
		ref := ShareRef{ID: 1, Bytes: int64(len(b)), Last: math.MaxUint64, From: 4096, To: 1 << 30}
		if seal {
			resealShare(b)
		}
		if err := broken(b, ref); err != nil && !errors.As(err, new(*CorruptError)) && !errors.Is(err, ErrFormat) {
			t.Fatal(err)
		}
	})
}

// resealShare puts right the checksums of a share, as far as they can be.
func resealShare(b []byte) {
	if len(b) < shareHead+shareTrailer {
		return
	}
	trailer := b[len(b)-shareTrailer:]
	seed := shareSeed(binary.LittleEndian.Uint64(trailer[24:]), binary.LittleEndian.Uint64(trailer[32:]), word.Address(binary.LittleEndian.Uint64(trailer[48:])))
	blocks := int(binary.LittleEndian.Uint32(trailer[64:]))
	end := len(b) - shareTrailer
	for n := range blocks {
		if at := int(blockAt(n)); at+shareBlock <= end {
			binary.LittleEndian.PutUint64(b[at:], xxh3.HashSeed(b[at+8:at+shareBlock], seed+uint64(n)))
		}
	}
	if at := int(blockAt(blocks)); at <= end {
		binary.LittleEndian.PutUint64(trailer[88:], xxh3.HashSeed(b[at:end], seed))
	}
	binary.LittleEndian.PutUint64(trailer[shareSum:], xxh3.Hash(trailer[:shareSum]))
}

// Triples are sorted as a whole however they are spread: evenly, into one group, with repeats.
func TestSorter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var s sorter
	for name, order := range map[string]func() uint64{
		"even":       rnd.Uint64,
		"one group":  func() uint64 { return rnd.Uint64() >> 40 },
		"two groups": func() uint64 { return rnd.Uint64()>>40 | rnd.Uint64()<<63 },
		"few alike":  func() uint64 { return rnd.Uint64() &^ (1<<50 - 1) },
		"low bits":   func() uint64 { return rnd.Uint64() & (0xff<<56 | 0xffff) },
		"same":       func() uint64 { return math.MaxUint64 },
	} {
		for _, n := range []int{0, 1, fewTriples, fewTriples + 1, 5000, 60_000} {
			triples := make([]Triple, n)
			for i := range triples {
				triples[i] = Triple{order(), word.MakeSite(word.Address(8+8*rnd.Uint64N(1<<40)), 32, false)}
			}
			want := newestOf(triples)
			if got := s.newest(triples, 0, math.MaxUint64); !slices.Equal(got, want) {
				t.Errorf("%s, %d triples: not sorted, or not the newest", name, n)
			}
		}
	}
}
