package index

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/internal/word"
)

// However large the index becomes, whether keys are new or are updated: a block is read from few shares, merges write
// little for each byte of log, and each of them is small.
func TestDisk_MergesAreBounded(t *testing.T) {
	for _, c := range []struct {
		name                      string
		record, keys, log, merged int64 // bytes, number, MiB of log; bytes merged per byte of log at most, in hundredths
	}{
		{"load of small records", 32, math.MaxInt64, 2 << 10, 210},
		{"load of large records", 1 << 10, math.MaxInt64, 12 << 10, 40},
		{"updates of ten million small records", 32, 10_000_000, 2 << 10, 210},
		{"updates of a few records", 32, 10_000, 512, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			const cut, pieces = 4 << 20, 16
			d := NewDisk(DiskConfig{CutBytes: cut, MergeBytes: 5 << 20, MergePace: 2})
			ids := uint64(0)
			// What comes of so many triples in a range: those of keys that are in it once each.
			size := func(triples float64, s span) int64 {
				all := float64(c.keys) * s.size()
				return int64(all * -math.Expm1(-triples/all))
			}
			write := func(r ShareRef, triples float64) []Written {
				ids++
				r.ID, r.Triples = ids, size(triples, r.span())
				r.Bytes = r.Triples*tripleBytes + shareBlock
				return []Written{{ShareRef: r, Shift: 30}}
			}
			deepest, merged := 0, int64(0)
			end := word.Address(0)
			for range c.log << 20 / cut {
				for range pieces {
					d.Log(end, end+cut/pieces, nil)
					end += cut / pieces
					if r, ok := d.TakeRun(false); ok {
						r.Groups[0].Shares = write(ShareRef{Last: math.MaxUint64, From: r.From, To: r.To}, cut/float64(c.record))
						d.FinishRun(r, nil)
					}
					m, ok := d.TakeMerge()
					if !ok {
						continue
					}
					s, triples := span{m.First, m.Last}, 0.0
					for _, r := range m.Inputs {
						triples += r.in(s)
					}
					w := write(ShareRef{First: m.First, Last: m.Last, From: m.From, To: m.To, Level: m.Level}, triples)
					if w[0].Bytes > 8<<20 {
						t.Fatalf("a merge writes %d bytes", w[0].Bytes)
					}
					merged += w[0].Bytes
					d.FinishMerge(m, w, nil)
				}
				deepest = max(deepest, len(d.shares.Over(0, 0)), len(d.shares.Over(math.MaxUint64, math.MaxUint64)))
			}
			if err := d.shares.Check(0, end); err != nil {
				t.Fatal(err)
			}
			per := merged * 100 / (c.log << 20)
			t.Logf("%d shares of %d MiB, up to %d for a block, %d hundredths of the log merged", len(d.shares), d.shares.Bytes()>>20, deepest, per)
			if deepest > maxDepth+2*mergeFan || per > c.merged {
				t.Errorf("%d shares for a block, %d hundredths merged", deepest, per)
			}
		})
	}
}

// testDisk is an index on disk with files, of which nothing is merged but what a test asks for.
type testDisk struct {
	*Disk
	shareFiles
	t *testing.T
}

func newTestDisk(t *testing.T, oldest uint64) *testDisk {
	d := &testDisk{Disk: NewDisk(DiskConfig{CutBytes: 1, MergeBytes: 5 << 20, MergePace: 1 << 20}), t: t}
	d.Adopt(nil, 0, oldest)
	return d
}

// run writes what was logged.
func (d *testDisk) run() {
	d.t.Helper()
	d.write(d.take())
}

func (d *testDisk) take() *NewRun {
	d.t.Helper()
	r, ok := d.TakeRun(true)
	if !ok {
		d.t.Fatal("no run can be taken")
	}
	return r
}

// write writes a run that was taken.
func (d *testDisk) write(r *NewRun) {
	d.t.Helper()
	for i := range r.Groups {
		g := &r.Groups[i]
		written, err := WriteTriples(context.Background(), d.config(), r.From, r.To, slices.Clone(g.Triples), !g.Mixed)
		if err != nil {
			d.t.Fatal(err)
		}
		g.Shares = written
	}
	if !d.FinishRun(r, nil) {
		d.t.Fatal("the run is of no use")
	}
}

// merge does one merge.
func (d *testDisk) merge() (ok bool) {
	d.t.Helper()
	m, ok := d.TakeMerge()
	if !ok {
		return false
	}
	written, err := MergeShares(context.Background(), d.config(), m, d.open(d.t, m.Inputs...))
	if err != nil {
		d.t.Fatal(err)
	}
	return d.FinishMerge(m, written, nil)
}

// leads returns where an index that is opened from shares leads for a hash.
func (d *testDisk) leads(shares Shares, h uint64) word.Address {
	d.t.Helper()
	x, err := Open(Config{Epoch: epoch.New()}, Source{Shares: shares, Open: func(r ShareRef) (ShareFile, error) {
		return memoryFile{bytes.NewReader(d.files[r.ID].b), new(int)}, nil
	}})
	if err != nil {
		d.t.Fatal(err)
	}
	f := wrap(d.t, x)
	return get(d.t, x, f.g, h)
}

func logged(h uint64, a word.Address, version uint64) Logged {
	return Logged{Triple: MakeTriple(h, a, 32, false), Version: word.MakeRecordVersion(version)}
}

// Log beyond the cut of a version is written again, with other records, when the store has crashed and is opened at that
// version. A run that was written of both sides of the cut does not stand for it (I18).
func TestDisk_RunsEndAtTheCutOfTheVersionThatNamesThem(t *testing.T) {
	d := newTestDisk(t, 1)
	d.Log(4096, 8192, []Logged{logged(1, 4096, 1), logged(2, 6000, 2), logged(1, 8000, 2)})
	d.run()
	shares, replay := d.Name(1, 5000)
	if replay != 5000 || len(shares) != 1 || shares[0].To != 5000 {
		t.Fatalf("%+v, replay from %d", shares, replay)
	}
	d.Adopt(shares, replay, 2)
	d.Log(5000, 6000, []Logged{logged(3, 5000, 2)})
	d.run()
	shares, _ = d.Name(2, 6000)
	for h, want := range map[uint64]word.Address{1: 4096, 2: 0, 3: 5000} {
		if a := d.leads(shares, h); a != want {
			t.Errorf("hash %d leads to %d, want %d", h, a, want)
		}
	}
}

// A commit that finds its run handed out to somebody else waits until that has come back, written or not, and takes it then
// if it has to; for a merge it does not wait.
func TestDisk_Await(t *testing.T) {
	d := newTestDisk(t, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	await := func(ctx context.Context, a word.Address, more bool, want error) {
		t.Helper()
		if m, err := d.Await(ctx, a); m != more || !errors.Is(err, want) {
			t.Errorf("more: %v, %v; want %v, %v", m, err, more, want)
		}
	}
	await(context.Background(), 8192, false, nil) // there is nothing
	d.Log(4096, 8192, []Logged{logged(1, 4096, 1)})
	await(context.Background(), 8192, true, nil) // nobody writes it
	r, _ := d.TakeRun(false)
	await(ctx, 8192, true, context.Canceled)
	waited := make(chan bool)
	wait := func() {
		more, _ := d.Await(context.Background(), 8192)
		waited <- more
	}
	go wait()
	d.FinishRun(r, errSimulated)
	if more := <-waited; !more {
		t.Error("a run that was not written is not to be taken")
	}
	d.Log(8192, 9000, nil)
	r = d.take() // before anybody waits: for a run that nobody writes he would not
	go wait()
	d.write(r)
	if <-waited {
		t.Errorf("written up to %d, and not enough", d.Written())
	}
	await(ctx, 9000, true, nil) // what was logged while the run was being written
	for _, ok := d.TakeRun(true); ok; _, ok = d.TakeRun(true) {
		d.FinishRun(d.writing, nil)
	}
	await(context.Background(), 9000, false, nil)
	if m, ok := d.TakeMerge(); ok {
		await(context.Background(), 9000, false, nil)
		d.FinishMerge(m, nil, errSimulated)
	}
}

// A run that is about to be needed is due as soon as its log is there, however little that is, and not before.
func TestDisk_Want(t *testing.T) {
	d := newTestDisk(t, 1)
	d.cfg.CutBytes = 1 << 20
	take := func(want bool) {
		t.Helper()
		if _, ok := d.TakeRun(false); ok != want {
			t.Errorf("a run can be taken: %v", ok)
		}
	}
	d.Log(4096, 8192, []Logged{logged(1, 4096, 1)})
	take(false)
	d.Want(12288)
	take(false)
	if due := d.Log(8192, 12000, []Logged{logged(2, 8192, 1)}); due {
		t.Error("a run is due before its log is there")
	}
	if due := d.Log(12000, 16384, []Logged{logged(3, 12288, 1)}); !due {
		t.Error("no run is due")
	}
	d.run()
	d.Log(16384, 20480, []Logged{logged(4, 16384, 1)})
	take(false) // it stands for what was wanted
	d.Want(18000)
	take(true)
	d.Adopt(nil, 4096, 2) // which begins anew
	d.Log(4096, 20480, []Logged{logged(1, 4096, 2)})
	take(false)
}

// A run that is wanted up to an address a little further than what makes a run due stands for all of that: nobody waits for
// one run after another. While the address is far, runs are taken on the way there.
func TestDisk_WantIsOneRun(t *testing.T) {
	d := newTestDisk(t, 1)
	d.cfg.CutBytes = 8192
	wanted := word.Address(4096 + 5*8192/2)
	d.Want(wanted)
	due := func(from, to word.Address) bool { return d.Log(from, to, []Logged{logged(uint64(from), from, 1)}) }
	if !due(4096, 12288) {
		t.Error("no run is due on the way to an address that is far")
	}
	d.run()
	if due(12288, 21000) {
		t.Error("a run is due before the log up to the wanted address is there")
	}
	if !due(21000, wanted) {
		t.Error("the run that is wanted is not due")
	}
	d.run()
	if d.Wanted() {
		t.Errorf("a run is wanted up to %#x, and shares stand for the log up to %#x", wanted, d.Written())
	}
	if !due(wanted, wanted+8192) {
		t.Error("no run is due when none is wanted")
	}
}

// What records hide of each other counts as dead once they are merged, segment by segment; what a flush has written twice
// is no less alive for it; tombstones count by themselves.
func TestDisk_CountsWhatIsLive(t *testing.T) {
	const size = 32
	d := newTestDisk(t, 1)
	live := map[uint64]word.Address{}
	end := word.Address(word.FirstAddress)
	for round := range 12 {
		var records []Logged
		from := end
		for i := range 5000 {
			h := benchHash(uint64(i * (round%3 + 1)))
			r := logged(h, end, 1)
			if i%10 == 0 {
				r.Triple = MakeTriple(h, end, size, true)
			}
			records, live[h] = append(records, r), end
			if i%10 == 0 {
				live[h] = 0
			}
			end += size
		}
		d.Log(from, end, records)
		if round%4 == 0 { // a sync has failed
			half := records[len(records)/2:]
			d.Log(half[0].Address(), end, half)
		}
		d.run()
	}
	for d.merge() {
	}
	if n := len(d.shares); n != 1 {
		t.Fatalf("%d shares are left", n)
	}
	want, sums := map[uint32]int64{}, map[uint32]int64{}
	for _, a := range live {
		if a != 0 {
			want[uint32(a>>16)] += size
		}
	}
	check := func() {
		t.Helper()
		got := d.Live(16)
		clear(sums)
		var tombstones int64
		for n, g := range got {
			if sums[n] = g.Live; g.Live != want[n] {
				t.Errorf("segment %d has %d bytes live, want %d", n, g.Live, want[n])
			}
			tombstones += g.Tombstones
		}
		if n := len(d.Uncounted()); n > 0 || len(sums) < len(want) || tombstones == 0 {
			t.Errorf("%d segments, want %d; %d shares were not counted; %d bytes of tombstones", len(sums), len(want), n, tombstones)
		}
	}
	check()
	shares, replay := d.Name(1, end)
	d.Adopt(shares, replay, 2) // as when it is opened again
	if n := len(d.Uncounted()); n != 1 {
		t.Errorf("%d shares were not counted after opening", n)
	}
	var all, spread int64 // what is in which segment is not known, but how much there is
	for _, n := range want {
		all += n
	}
	for n, g := range d.Live(16) {
		if spread += g.Live; g.Live > 1<<16 || uint64(n) > uint64(end)>>16 {
			t.Errorf("segment %d has %d bytes live", n, g.Live)
		}
	}
	if spread < all*99/100 || spread > all {
		t.Errorf("%d bytes are live in a share that was not counted, want %d", spread, all)
	}
	for _, s := range d.open(t, d.Uncounted()...) {
		d.Count(s)
	}
	check()
}

// Nearly all keys are deleted. What the last of the tombstones hide is known to be dead at once, up to a twentieth of the
// log, however few they are beside all that the index has: what it has are tombstones.
func TestDisk_WhatTombstonesHideIsMergedWhenLittleElseIsLive(t *testing.T) {
	const keys, kept, tombstone = 20_000, 50, 32
	for _, size := range []int{32, 128, 1000} {
		for _, part := range []int{3, 4, 5, 8, 12, 50} {
			for _, opened := range []string{"", "opened", "opened, written by a release that did not count tombstones"} {
				d := newTestDisk(t, 1)
				end := word.Address(word.FirstAddress)
				write := func(from, to, size int, tombstone bool) {
					var records []Logged
					begin := end
					for i := from; i < to; i++ {
						records = append(records, Logged{Triple: MakeTriple(benchHash(uint64(i)), end, size, tombstone), Version: word.MakeRecordVersion(1)})
						end += word.Address(size)
					}
					d.Log(begin, end, records)
					d.run()
				}
				merge := func() {
					for ok := true; ok; ok = d.merge() {
						d.credit = d.cfg.MergeBytes
					}
				}
				write(0, keys, size, false)
				last := keys - keys/part
				write(kept, last, tombstone, true)
				merge()
				if opened != "" {
					shares, replay := d.Name(1, end)
					d.Adopt(shares, replay, 1)
					for _, s := range d.open(t, d.Uncounted()...) {
						if opened != "opened" {
							s.tombstones = 0
						}
						d.Count(s)
					}
				}
				write(last, keys, tombstone, true)
				merge()
				var live int64
				for _, g := range d.Live(16) {
					live += g.Live
				}
				if off, all := live-int64(kept*size), int64(end-word.FirstAddress); off < 0 || off > all/20 {
					t.Errorf("records of %d bytes, a %dth deleted last, %s: %d of %d bytes are live, want %d", size, part, opened, live, all, kept*size)
				}
			}
		}
	}
}

// A share that cannot be read keeps only its own range from being merged, and nobody from the rest.
func TestDisk_DamageStopsOnlyItsRange(t *testing.T) {
	d := newTestDisk(t, 1)
	d.cfg.MergeBytes = 100 * tripleBytes
	end := word.Address(word.FirstAddress)
	bad := uint64(0)
	after := 0 // merges into the image since the damage
	for range 40 {
		var records []Logged
		for i := range 300 {
			records = append(records, logged(benchHash(uint64(i)), end+word.Address(32*i), 1))
		}
		d.Log(end, end+300*32, records)
		end += 300 * 32
		d.run()
		for {
			d.credit = d.cfg.MergeBytes
			m, ok := d.TakeMerge()
			if !ok {
				break
			}
			for _, r := range m.Inputs {
				if bad == 0 && r.From == 0 && r.Level > 2 {
					bad = r.ID
				}
			}
			if reads(m.Inputs, map[uint64]bool{bad: true}) {
				d.FinishMerge(m, nil, &CorruptError{Share: bad, InShare: true})
				continue
			}
			written, err := MergeShares(context.Background(), d.config(), m, d.open(t, m.Inputs...))
			if err != nil || !d.FinishMerge(m, written, nil) {
				t.Fatal(err)
			}
			if bad != 0 && m.From == 0 {
				after++
			}
		}
	}
	if bad == 0 || after == 0 || !slices.ContainsFunc(d.shares, func(r ShareRef) bool { return r.ID == bad }) {
		t.Fatalf("share %d is damaged, %d merges into the image came after that", bad, after)
	}
	if err := d.shares.Check(0, end); err != nil {
		t.Error(err)
	}
}
