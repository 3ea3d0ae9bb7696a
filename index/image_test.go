package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/word"
)

// write returns the image of x.
func write(t testing.TB, x *Index, drop word.Address) []byte {
	t.Helper()
	var b bytes.Buffer
	info, err := x.WriteImage(context.Background(), &b, drop, nil)
	if err != nil {
		t.Fatal(err)
	}
	bits := x.Bits() // one more if the table has begun to grow since
	if info.Bytes != int64(b.Len()) || info.Bits != bits && info.Bits+1 != bits {
		t.Fatalf("%+v for an image of %d bytes, %d bits", info, b.Len(), bits)
	}
	return b.Bytes()
}

// reader is an image in memory that counts what is read.
type reader struct {
	*bytes.Reader
	read atomic.Int64
}

func newReader(b []byte) *reader { return &reader{Reader: bytes.NewReader(b)} }

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	r.read.Add(int64(len(p)))
	return r.Reader.ReadAt(p, off)
}

func open(t testing.TB, cfg Config, image []byte, drop word.Address) (*fixture, *reader) {
	t.Helper()
	cfg.Epoch = epoch.New()
	r := newReader(image)
	x, err := OpenImage(cfg, r, int64(len(image)), drop)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(t, x), r
}

// makeIndex returns an index with n random hashes, its log, and what it should hold.
func makeIndex(t testing.TB, cfg Config, bits uint, n int) (*fixture, *testLog, map[uint64]word.Address) {
	f := newTiny(t, cfg, bits)
	l := newTestLog(4 * n)
	model := map[uint64]word.Address{}
	r := rand.New(rand.NewPCG(uint64(n), 11))
	for range n {
		h := r.Uint64()
		model[h] = l.append(t, f.Index, f.g, h)
	}
	return f, l, model
}

func TestImage_RoundTrip(t *testing.T) {
	for _, c := range []struct {
		bits, atLeast uint
		n             int
		limit         int64
	}{
		{0, 0, 0, 0}, {0, 0, 1, 0}, {0, 0, 30, 0}, {6, 0, 500, 0}, {6, 0, 20_000, 0}, {6, 9, 500, 0}, {0, 5, 30, 0},
		{6, 14, 5000, 0}, {2, 0, 2000, 24 << 10}, {2, 4, 2000, 24 << 10}, {3, 14, 2000, 24 << 10},
	} {
		t.Run(fmt.Sprintf("bits=%d/atLeast=%d/n=%d/limit=%d", c.bits, c.atLeast, c.n, c.limit), func(t *testing.T) {
			cfg := Config{}
			if c.limit > 0 {
				cfg.MaxBytes = func() int64 { return c.limit }
			}
			f, l, model := makeIndex(t, cfg, c.bits, c.n)
			mustMatch(t, f.Index, f.g, l, model)
			image := write(t, f.Index, 0)
			o, _ := open(t, Config{InitialBits: c.atLeast}, image, 0)
			if want := max(f.Bits(), c.atLeast); o.Bits() != want {
				t.Fatalf("%d bits, want %d", o.Bits(), want)
			}
			mustMatch(t, o.Index, o.g, l, model) // loads on demand
			if err := o.LoadAll(context.Background()); err != nil {
				t.Fatal(err)
			}
			mustMatch(t, o.Index, o.g, l, model)
			if err := o.Grow(context.Background(), o.Bits()+2); err != nil {
				t.Fatal(err)
			}
			mustMatch(t, o.Index, o.g, l, model)
			again, _ := open(t, Config{}, write(t, o.Index, 0), 0)
			mustMatch(t, again.Index, again.g, l, model)
		})
	}
}

func TestImage_IsThatOfTheTable(t *testing.T) {
	f, _, _ := makeIndex(t, Config{}, 6, 3000)
	image := write(t, f.Index, 0)
	o, _ := open(t, Config{}, image, 0)
	if !bytes.Equal(write(t, o.Index, 0), image) {
		t.Fatal("the image of an image differs")
	}
}

func TestOpenImage_ReadsBlocksOnDemand(t *testing.T) {
	f, l, model := makeIndex(t, Config{}, 13, 30_000)
	image := write(t, f.Index, 0)
	o, r := open(t, Config{}, image, 0)
	if n := r.read.Load(); n > headerBytes+trailerBytes+8*refBytes {
		t.Fatalf("%d bytes read before anything was asked for", n)
	}
	o.g.Enter()
	if _, _, status := o.Find(5); status != NeedLoad {
		t.Fatalf("status %v in a block that is missing", status)
	}
	if _, _, status := o.FindOrCreate(5); status != NeedLoad {
		t.Fatalf("status %v in a block that is missing", status)
	}
	o.g.Exit()
	before := r.read.Load()
	if err := o.Load(5); err != nil {
		t.Fatal(err)
	}
	if n := r.read.Load() - before; n < blockBuckets*bucketBytes || n > 2*blockBuckets*bucketBytes {
		t.Fatalf("%d bytes read for one block", n)
	}
	if s := o.Stats(); s.Blocks != 8 || s.BlocksLoaded != 1 {
		t.Fatalf("%+v", s)
	}
	for h, a := range model {
		if h&o.table.Load().Mask < blockBuckets {
			if got := l.newest(get(t, o.Index, o.g, h), h); got != a {
				t.Fatalf("%#x: %#x, want %#x", h, got, a)
			}
		}
	}
	if n := o.Stats().BlocksLoaded; n != 1 {
		t.Fatalf("%d blocks were loaded for hashes of one", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.LoadAll(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("LoadAll with an ended context: %v", err)
	}
	mustMatch(t, o.Index, o.g, l, model)
	if s := o.Stats(); s.Blocks != 0 || o.table.Load().busy.Load() {
		t.Fatalf("all is loaded, but %+v", s)
	}
}

func TestImage_Drop(t *testing.T) {
	for _, limit := range []int64{0, 24 << 10} {
		cfg := Config{}
		if limit > 0 {
			cfg.MaxBytes = func() int64 { return limit }
		}
		f, l, model := makeIndex(t, cfg, 2, 2000)
		half := word.FirstAddress + 1000*word.Align
		onWrite, _ := open(t, Config{}, write(t, f.Index, half), 0)
		onOpen, _ := open(t, Config{}, write(t, f.Index, 0), half)
		for _, o := range []*fixture{onWrite, onOpen} {
			if err := o.LoadAll(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := o.Check(); err != nil {
				t.Fatal(err)
			}
			for h, a := range model {
				got := l.newest(get(t, o.Index, o.g, h), h)
				if a >= half && got != a {
					t.Fatalf("%#x: %#x, want %#x", h, got, a)
				}
				if a < half && got != word.None && got != a {
					t.Fatalf("%#x: %#x is not its record", h, got)
				}
			}
			err := o.Range(context.Background(), func(_ Slot, e word.Entry) bool {
				if e.Address() < half && e.Address() != word.None {
					t.Errorf("%s is left", entryString(e))
				}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		alive := int64(0)
		for _, a := range model {
			if a >= half {
				alive++
			}
		}
		if n := onWrite.Stats().Entries; n > alive {
			t.Errorf("%d entries are left for %d hashes", n, alive)
		}
	}
}

// TestImage_WhileOperationsRun writes an image while goroutines insert, and the table grows before and after. The
// image with the log behind it must be what the index is in the end.
func TestImage_WhileOperationsRun(t *testing.T) {
	for _, c := range []struct {
		hashes uint64
		limit  int64
	}{{1 << 62, 0}, {1 << 20, 0}, {1 << 12, 0}, {1 << 12, 40 << 10}} {
		for round := range 3 {
			t.Run(fmt.Sprintf("hashes=%#x/limit=%d/round=%d", c.hashes, c.limit, round), func(t *testing.T) {
				const goroutines = 3
				each := 3000
				cfg := Config{}
				if c.limit > 0 {
					each = 1000 // chains are long
					cfg.MaxBytes = func() int64 { return c.limit }
				}
				f := newTiny(t, cfg, 0)
				l := newTestLog(20 * goroutines * each)
				var wg sync.WaitGroup
				for i := range goroutines {
					wg.Go(func() {
						g := f.m.Register()
						defer g.Release()
						r := rand.New(rand.NewPCG(uint64(i), uint64(round)))
						for range each {
							l.append(t, f.Index, g, r.Uint64N(c.hashes))
						}
					})
				}
				for l.tail.Load() < int64(700*(1+round)) {
					(&waiter{}).wait()
				}
				from := l.end()
				f.m.Synchronize() // what was allocated below from is published, or never will be
				image := write(t, f.Index, 0)
				wg.Wait()
				if err := f.Check(); err != nil {
					t.Fatal(err)
				}
				mustRecover(t, f, l, image, from, f.Bits())
			})
		}
	}
}

// mustRecover opens image, replays the log from address from on in several orders of loading and replaying, and
// compares the chain of every hash with that of f.
func mustRecover(t *testing.T, f *fixture, l *testLog, image []byte, from word.Address, bits uint) {
	t.Helper()
	hashes := map[uint64]bool{}
	for a := word.FirstAddress; a < l.end(); a += word.Align {
		hashes[l.at(a).hash] = true
	}
	for _, when := range []string{"load first", "replay first", "both at once"} {
		o, _ := open(t, Config{InitialBits: bits}, image, 0)
		loaded := make(chan error, 1)
		load := func() { loaded <- o.LoadAll(context.Background()) }
		switch when {
		case "load first":
			load()
		case "both at once":
			go load()
		}
		l.replay(t, o.Index, from)
		if when == "replay first" {
			load()
		}
		if err := <-loaded; err != nil {
			t.Fatal(err)
		}
		if err := o.Check(); err != nil {
			t.Fatal(err)
		}
		for h := range hashes {
			want, got := l.newest(get(t, f.Index, f.g, h), h), l.newest(get(t, o.Index, o.g, h), h)
			if got != want {
				t.Fatalf("%s: newest record of %#x is %#x, want %#x\n%s", when, h, got, want,
					o.table.Load().dump(h&o.table.Load().Mask))
			}
		}
	}
}

func TestReplay_KeepsTheGreatestAddress(t *testing.T) {
	const h = 0x1234567
	low, high := word.FirstAddress, word.FirstAddress+word.Align
	f := newTiny(t, Config{}, 0)
	put(t, f.Index, f.g, h, low)
	image := write(t, f.Index, 0)
	for _, order := range [][]word.Address{{high, low}, {low, high}, {high}} {
		for _, first := range []bool{false, true} {
			o, _ := open(t, Config{}, image, 0)
			if first {
				if err := o.Load(h); err != nil {
					t.Fatal(err)
				}
			}
			for _, a := range order {
				if err := o.Replay(Record{h, a}); err != nil {
					t.Fatal(err)
				}
			}
			if got := get(t, o.Index, o.g, h); got != high {
				t.Errorf("replaying %#x, loaded %v: %#x", order, first, got)
			}
		}
	}
}

// TestReplay_NeedsGranularity shows what I9 is for: two hashes that had a chain each are lost to each other when they
// are replayed into a table that cannot tell them apart, and are not in one that is as fine as the one they were
// written with.
func TestReplay_NeedsGranularity(t *testing.T) {
	f := newTiny(t, Config{}, 4)
	a, b := uint64(3), uint64(3|1<<20) // the same for a table of 2^3 buckets, whose fresh tags end at bit 19
	l := newTestLog(10)
	l.append(t, f.Index, f.g, a)
	l.append(t, f.Index, f.g, b)
	for bits, want := range map[uint]word.Address{4: word.FirstAddress, 3: word.None} {
		o := newTiny(t, Config{}, bits)
		l.replay(t, o.Index, word.FirstAddress)
		if got := l.newest(get(t, o.Index, o.g, a), a); got != want {
			t.Errorf("2^%d buckets: %#x, want %#x", bits, got, want)
		}
		if err := o.Grow(context.Background(), 8); err != nil {
			t.Fatal(err)
		}
		l.replay(t, o.Index, word.FirstAddress)
		if got := l.newest(get(t, o.Index, o.g, b), b); got != word.FirstAddress+word.Align {
			t.Errorf("2^%d buckets: %#x", bits, got)
		}
	}
}

// TestReplay_MakesNoCatchAll replays more hashes than the index may have room for.
func TestReplay_MakesNoCatchAll(t *testing.T) {
	f := newTiny(t, Config{MaxBytes: func() int64 { return 1 }, Reserve: func(n int64) bool { return n < 0 }}, 0)
	l := newTestLog(2000)
	model := map[uint64]word.Address{}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range l.records {
		a := word.FirstAddress + word.Address(i)*word.Align
		h := r.Uint64N(1 << 17)
		l.at(a).hash = h
		l.at(a).prev.Store(uint64(model[h])) // every hash had its own chain
		model[h] = a
		if err := f.Replay(Record{h, a}); err != nil {
			t.Fatal(err)
		}
	}
	mustMatch(t, f.Index, f.g, l, model)
	if n := f.Stats().CatchAlls; n != 0 {
		t.Errorf("%d catch-alls", n)
	}
}

func TestImage_DamagedBlockLeavesOthersReadable(t *testing.T) {
	f, l, model := makeIndex(t, Config{}, 12, 15_000)
	image := write(t, f.Index, 0)
	im, err := readImage(newReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	const bad = 2
	image[im.blocks[bad].offset+1000] ^= 4
	o, _ := open(t, Config{}, image, 0)
	var damage *CorruptError
	if err := o.LoadAll(context.Background()); !errors.As(err, &damage) || damage.Offset != im.blocks[bad].offset {
		t.Fatalf("LoadAll: %v", err)
	}
	for h, a := range model {
		if im.blockOf(h) != bad {
			if got := l.newest(get(t, o.Index, o.g, h), h); got != a {
				t.Fatalf("%#x: %#x, want %#x", h, got, a)
			}
			continue
		}
		o.g.Enter()
		_, _, status := o.Find(h)
		o.g.Exit()
		if err := o.Load(h); status != NeedLoad || !errors.As(err, &damage) {
			t.Fatalf("in the damaged block: %v, %v", status, err)
		}
	}
	if _, err := o.WriteImage(context.Background(), io.Discard, 0, nil); !errors.As(err, &damage) {
		t.Fatalf("WriteImage without a block: %v", err)
	}
	if err := o.Range(context.Background(), func(Slot, word.Entry) bool { return true }); !errors.As(err, &damage) {
		t.Fatalf("Range without a block: %v", err)
	}
	if err := o.Grow(context.Background(), 14); !errors.As(err, &damage) {
		t.Fatalf("Grow without a block: %v", err)
	}
}

// TestImage_EveryFlipAndTruncation damages a small image in every way there is with one byte, and cuts it everywhere.
func TestImage_EveryFlipAndTruncation(t *testing.T) {
	f, l, model := makeIndex(t, Config{}, 3, 100)
	image := write(t, f.Index, 0)
	try := func(b []byte, what string) {
		t.Helper()
		m := epoch.New()
		x, err := OpenImage(Config{Epoch: m}, newReader(b), int64(len(b)), 0)
		if err == nil {
			err = x.LoadAll(context.Background())
			x.Close()
		}
		var damage *CorruptError
		if !errors.As(err, &damage) && !errors.Is(err, ErrFormat) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range image {
		for _, flip := range []byte{1, 0x80, 0xFF} {
			image[i] ^= flip
			try(image, fmt.Sprintf("byte %d ^ %#x", i, flip))
			image[i] ^= flip
		}
		try(image[:i], fmt.Sprintf("first %d bytes", i))
	}
	o, _ := open(t, Config{}, image, 0)
	mustMatch(t, o.Index, o.g, l, model)
}

func TestOpenImage_NewerFormat(t *testing.T) {
	f, _, _ := makeIndex(t, Config{}, 3, 10)
	image := write(t, f.Index, 0)
	binary.LittleEndian.PutUint32(image[8:], imageFormat+1)
	_, err := OpenImage(Config{Epoch: epoch.New()}, newReader(image), int64(len(image)), 0)
	if !errors.Is(err, ErrFormat) {
		t.Fatal(err)
	}
}

// TestOpenImage_ReaderFails passes the error of the reader on, and loads when it works again.
func TestOpenImage_ReaderFails(t *testing.T) {
	f, l, model := makeIndex(t, Config{}, 11, 5000)
	image := write(t, f.Index, 0)
	r := &failing{newReader(image), errors.New("no such luck")}
	if _, err := OpenImage(Config{Epoch: epoch.New()}, r, int64(len(image)), 0); !errors.Is(err, r.err) {
		t.Fatal(err)
	}
	failure := r.err
	r.err = nil
	x, err := OpenImage(Config{Epoch: epoch.New()}, r, int64(len(image)), 0)
	if err != nil {
		t.Fatal(err)
	}
	o := wrap(t, x)
	r.err = failure
	if err := o.Load(1); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if err := o.LoadAll(context.Background()); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	r.err = nil
	mustMatch(t, o.Index, o.g, l, model)
}

type failing struct {
	io.ReaderAt
	err error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestWriteImage_WriterFailsAnywhere(t *testing.T) {
	f, _, _ := makeIndex(t, Config{}, 11, 5000)
	size := len(write(t, f.Index, 0))
	for n := 0; n < size; n += size / 50 {
		w := &limited{n}
		if _, err := f.WriteImage(context.Background(), w, 0, nil); !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.WriteImage(ctx, io.Discard, 0, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := f.Grow(context.Background(), f.Bits()+1); err != nil {
		t.Fatalf("after failed images the table cannot grow: %v", err)
	}
}

// TestWriteImage_GrowthWaits makes the table want to grow while an image is being written.
func TestWriteImage_GrowthWaits(t *testing.T) {
	f, l, model := makeIndex(t, Config{Spawn: func(f func()) { f() }}, 11, 5000)
	l.records = append(l.records, make([]testRecord, 100_000)...)
	before := f.Bits()
	from := l.end()
	r := rand.New(rand.NewPCG(4, 4))
	var image bytes.Buffer
	w := writerFunc(func(p []byte) (int, error) {
		for range 5_000 {
			h := r.Uint64()
			model[h] = l.append(t, f.Index, f.g, h)
		}
		if f.Bits() != before {
			t.Errorf("the table has 2^%d buckets in the middle of an image of 2^%d", f.Bits(), before)
		}
		return image.Write(p)
	})
	if _, err := f.WriteImage(context.Background(), w, 0, nil); err != nil {
		t.Fatal(err)
	}
	if f.Bits() == before {
		t.Error("the growth was forgotten")
	}
	mustMatch(t, f.Index, f.g, l, model)
	mustRecover(t, f, l, image.Bytes(), from, f.Bits())
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type limited struct{ left int }

func (w *limited) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, io.ErrShortWrite
	}
	w.left -= len(p)
	return len(p), nil
}

// reseal makes the checksums of an image fit its bytes, as far as it has the shape of one.
func reseal(b []byte) {
	if len(b) < headerBytes+trailerBytes {
		return
	}
	put := func(at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
	header, trailer := b[:headerBytes], b[len(b)-trailerBytes:]
	put(sumOffset, xxh3.Hash(header[:sumOffset]))
	offset := binary.LittleEndian.Uint64(trailer[16:])
	if end := uint64(len(b) - trailerBytes); offset >= headerBytes && offset <= end {
		directory := b[offset:end]
		for i := 0; i+refBytes <= len(directory); i += refBytes {
			ref := readRef(directory[i:])
			if ref.offset >= 0 && ref.length >= 0 && ref.offset <= int64(len(b)) && ref.length <= int64(len(b))-ref.offset {
				binary.LittleEndian.PutUint64(directory[i+16:], xxh3.Hash(b[ref.offset:ref.offset+ref.length]))
			}
		}
		binary.LittleEndian.PutUint64(trailer[40:], xxh3.Hash(directory))
	}
	binary.LittleEndian.PutUint64(trailer[48:], xxh3.Hash(header))
	binary.LittleEndian.PutUint64(trailer[sumOffset:], xxh3.Hash(trailer[:sumOffset]))
}

// FuzzIndexImage opens whatever it gets as an image, once as it is and once with checksums that fit. What opens must
// be a valid index, and nothing may panic or take more memory than the image is large.
func FuzzIndexImage(f *testing.F) {
	for _, c := range []struct {
		bits  uint
		n     int
		limit int64
	}{{0, 0, 0}, {0, 7, 0}, {0, 20, 1}, {3, 100, 0}, {2, 500, 12 << 10}} {
		cfg := Config{}
		if c.limit > 0 {
			cfg.MaxBytes = func() int64 { return c.limit }
		}
		x, _, _ := makeIndex(f, cfg, c.bits, c.n)
		f.Add(write(f, x.Index, 0), uint8(0))
		f.Add(write(f, x.Index, 0), uint8(7))
	}
	f.Fuzz(func(t *testing.T, image []byte, bits uint8) {
		fuzzImage(t, image, bits)
		image = bytes.Clone(image)
		reseal(image)
		fuzzImage(t, image, bits)
	})
}

func fuzzImage(t *testing.T, image []byte, bits uint8) {
	m := epoch.New()
	defer m.Close()
	x, err := OpenImage(Config{Epoch: m, InitialBits: uint(bits % 8)}, newReader(image), int64(len(image)), 0)
	if err != nil {
		return
	}
	defer x.Close()
	if n := x.Bytes(); n > 4*int64(len(image))+64<<10 {
		t.Fatalf("%d bytes for an image of %d", n, len(image))
	}
	// Entries may be missing where a block was refused; what is there is valid, and stays so.
	loaded := x.LoadAll(context.Background())
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	if loaded != nil {
		return
	}
	for h := range uint64(64) {
		if err := x.Replay(Record{h << 3, word.FirstAddress + word.Address(h)*word.Align}); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Grow(context.Background(), x.Bits()+1); err != nil {
		t.Fatal(err)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
}
