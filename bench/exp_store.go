package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/mem"
)

// direct is a store that an experiment drives through its own API.
type direct struct {
	*hlog.Store
	dir   string
	value int
	keys  int
}

// openDirect opens a store in a new directory and loads keys.
func (e *env) openDirect(ctx context.Context, keys, valueBytes int, opts hlog.Options) (*direct, error) {
	dir, err := e.temp("store")
	if err != nil {
		return nil, err
	}
	s, err := hlog.Open(dir, &opts)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	d := &direct{Store: s, dir: dir, value: valueBytes, keys: keys}
	x := s.NewSession()
	key, value := make([]byte, 8), make([]byte, valueBytes)
	for i := range keys {
		d.key(key, uint32(i))
		workload.Value(value, uint64(i), 0)
		if err := x.Set(key, value); err != nil {
			return nil, errors.Join(err, x.Close(), d.leave())
		}
		if i%100_000 == 0 {
			e.progress.At(float64(i), float64(keys), "loading")
			if ctx.Err() != nil {
				return nil, errors.Join(ctx.Err(), x.Close(), d.leave())
			}
		}
	}
	return d, x.Close()
}

func (d *direct) key(dst []byte, i uint32) {
	binary.LittleEndian.PutUint64(dst, workload.Mix64(uint64(i)))
}

func (d *direct) leave() error { return errors.Join(d.Store.Close(), os.RemoveAll(d.dir)) }

// record is what one key takes in the log.
func (d *direct) record() int64 { return int64(16+8+d.value+7) &^ 7 }

// roomFor is memory in which keys of a size have room several times over.
func roomFor(keys, valueBytes int) int64 {
	return 256<<20 + int64(keys)*(2*(int64(16+8+valueBytes+7)&^7)+64)
}

// change sets n different keys, spread over all.
func (d *direct) change(n int, seed uint64) error {
	x := d.NewSession()
	defer x.Close()
	key, value := make([]byte, 8), make([]byte, d.value)
	step := max(1, d.keys/n)
	for i := range n {
		k := uint32((i*step + int(seed)%step) % d.keys)
		d.key(key, k)
		workload.Value(value, uint64(k), seed)
		if err := x.Set(key, value); err != nil {
			return err
		}
	}
	return nil
}

// runCheckpoint measures what a checkpoint writes, how long it takes, and what it does to those who go on working.
func runCheckpoint(ctx context.Context, e *env) (*report.Section, error) {
	keys := or(e.keys, e.n(1_000_000))
	rounds, _ := e.round(7, 0)
	s := &report.Section{Name: "checkpoint", Title: "Checkpoints of the store", Settings: fmt.Sprintf("%s keys of 8 bytes.", report.Thousands(int64(keys)))}
	tab := &report.Table{Name: "checkpoint", Title: "Delta and duration",
		Header: []string{"value", "changed", "records changed", "delta written", "delta / records", "until durable, median", "longest", "rate"}}
	through := &report.Table{Name: "checkpoint-throughput", Title: "Updates with a checkpoint every second",
		Header: []string{"value", "goroutines", "without", "with", "share kept", "p99.9 with", "longest with"}}
	raw, err := sequentialRate(e.dir)
	if err != nil {
		return nil, err
	}
	for _, value := range []int{8, 100} {
		e.progress.Step("checkpoint: values of %d bytes", value)
		d, err := e.openDirect(ctx, keys, value, hlog.Options{MemoryBytes: roomFor(keys, value)})
		if err != nil {
			return nil, err
		}
		err = d.deltas(ctx, tab, rounds)
		for _, g := range slices.Compact([]int{1, e.goroutines}) {
			err = errors.Join(err, d.whileWorking(ctx, e, g, through))
		}
		err = errors.Join(err, d.leave())
		if err != nil {
			return nil, err
		}
	}
	s.Text = []string{fmt.Sprintf("The device takes %s/s of sequential direct writes of 1 MiB.", report.Bytes(int64(raw)))}
	s.Tables = []*report.Table{tab, through}
	_ = tab.Markdown(e.out)
	_ = through.Markdown(e.out)
	fmt.Fprintln(e.out, s.Text[0])
	return s, nil
}

// mostChanged is how many bytes of records are changed at most to measure the deltas of one size.
const mostChanged = 2 << 30

// deltas takes checkpoints after changing 0.1 %, 1 %, 10 % and all of the keys.
func (d *direct) deltas(ctx context.Context, tab *report.Table, rounds int) error {
	if _, err := d.Checkpoint(ctx); err != nil {
		return err
	}
	for _, share := range []float64{0.001, 0.01, 0.1, 1} {
		n := max(1, int(share*float64(d.keys)))
		var times, bytes []float64
		for r := range max(1, min(rounds, int(mostChanged/(int64(n)*d.record())))) {
			if err := d.change(n, uint64(r)+1); err != nil {
				return err
			}
			t := time.Now()
			info, err := d.Checkpoint(ctx)
			if err != nil {
				return err
			}
			times = append(times, millis(time.Since(t)))
			bytes = append(bytes, float64(info.DeltaBytes))
		}
		med, _, high := report.Median(times)
		b, _, _ := report.Median(bytes)
		records := int64(n) * d.record()
		tab.Add(d.value, fmt.Sprintf("%v %%", share*100), report.Bytes(records), report.Bytes(int64(b)), b/float64(records), fromMillis(med), fromMillis(high),
			report.Bytes(int64(b/(med/1000)))+"/s")
	}
	return nil
}

// whileWorking compares throughput with and without a checkpoint every second, in pairs of which every other one is turned
// round. What is kept is the median over the pairs, because the machine's speed drifts. One operation in 32 is timed: the
// clock takes as long as the operation does. One goroutine shows what operations lose; as many as there are cores, what
// the work in the background takes from them besides.
func (d *direct) whileWorking(ctx context.Context, e *env, goroutines int, tab *report.Table) error {
	rounds, each := e.round(3, 2*time.Second)
	plan := workload.NewPlan(e.distributions("zipf")[0], workload.Mix{RMW: 100}, d.keys, 1<<20, 3)
	sessions := make([]*hlog.Session, goroutines)
	keys := make([][]byte, goroutines)
	for i := range sessions {
		sessions[i], keys[i] = d.NewSession(), make([]byte, 8, 128)
		defer sessions[i].Close()
	}
	// The first of the checkpoints is at the very start, so that the work behind each falls into the time that counts.
	run := func(checkpoints bool) (workload.Result, error) {
		stop, done := make(chan struct{}), make(chan error, 1)
		if checkpoints {
			go func() { done <- d.every(ctx, min(time.Second, each/2), stop) }()
		} else {
			done <- nil
		}
		res := workload.Run(ctx, workload.Config{Goroutines: goroutines, Duration: each, Sample: 32}, plan, func(w int, _ workload.Op, k uint32, _ uint64) error {
			d.key(keys[w], k)
			return sessions[w].RMW(keys[w], bump)
		})
		close(stop)
		return res, errors.Join(res.Err, <-done)
	}
	var without, with, kept []float64
	lat := workload.NewLatencies()
	for i := range rounds {
		for _, checkpoints := range []bool{i%2 == 1, i%2 == 0} {
			res, err := run(checkpoints)
			if err != nil {
				return err
			}
			if checkpoints {
				with = append(with, res.Rate())
				lat.Merge(res.All)
			} else {
				without = append(without, res.Rate())
			}
		}
		kept = append(kept, with[i]/without[i])
	}
	a, _, _ := report.Median(without)
	b, _, _ := report.Median(with)
	k, low, high := report.Median(kept)
	tab.Add(d.value, goroutines, report.Rate(a), report.Rate(b), fmt.Sprintf("%.0f %% (%.0f to %.0f)", 100*k, 100*low, 100*high), lat.Quantile(.999), lat.Max())
	return nil
}

// every takes a checkpoint, and another after each pause, until stop is closed.
func (d *direct) every(ctx context.Context, pause time.Duration, stop chan struct{}) error {
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		if _, err := d.Checkpoint(ctx); err != nil {
			return err
		}
		select {
		case <-stop:
			return nil
		case <-t.C:
		}
	}
}

// runOpen measures opening over the size of the state: after a clean close, and from what a kill leaves after many small
// checkpoints.
func runOpen(ctx context.Context, e *env) (*report.Section, error) {
	rounds, _ := e.round(5, 0)
	s := &report.Section{Name: "open", Title: "Opening the store", Settings: fmt.Sprintf(
		"8 + 8 bytes; time until the first read is served; median of %d. The crash leaves 50 checkpoints of 1000 changes each since the load's.", rounds)}
	tab := &report.Table{Name: "open", Title: "Open until the first read is served", Header: []string{"keys", "after a close", "after a crash", "files"}}
	fig := &report.Figure{Name: "open", Title: s.Title, XLabel: "keys", YLabel: "open and first read (ms)", LogX: true, LogY: true}
	sizes := []int{e.n(100_000), e.n(1_000_000), e.n(3_000_000)}
	if e.keys > 0 {
		sizes = []int{e.keys}
	}
	for _, keys := range sizes {
		e.progress.Step("open: %s keys", report.Thousands(int64(keys)))
		opts := hlog.Options{MemoryBytes: e.engineMemory(roomFor(keys, 8))}
		d, err := e.openDirect(ctx, keys, 8, opts)
		if err != nil {
			return nil, err
		}
		closed, crashed, files, err := d.reopenings(ctx, opts, rounds)
		if err = errors.Join(err, os.RemoveAll(d.dir)); err != nil {
			return nil, err
		}
		tab.Add(keys, spread(closed), spread(crashed), report.Bytes(files))
		fig.Line("after a close").Spread(float64(keys), closed)
		fig.Line("after a crash").Spread(float64(keys), crashed)
	}
	s.Tables, s.Figures = []*report.Table{tab}, []*report.Figure{fig}
	_ = tab.Markdown(e.out)
	return s, nil
}

func spread(runs []float64) string {
	med, low, high := report.Median(runs)
	return fmt.Sprintf("%s (%s – %s)", report.Duration(fromMillis(med)), report.Duration(fromMillis(low)), report.Duration(fromMillis(high)))
}

// reopenings closes the store and times openings of it and of copies of its crashed self.
func (d *direct) reopenings(ctx context.Context, opts hlog.Options, rounds int) (closed, crashed []float64, files int64, err error) {
	image := d.dir + "-crash"
	defer os.RemoveAll(image)
	for i := range uint64(51) {
		if i > 0 {
			err = d.change(min(1000, d.keys), i)
		}
		if err == nil {
			_, err = d.Checkpoint(ctx)
		}
		if err != nil {
			return nil, nil, 0, errors.Join(err, d.Close())
		}
	}
	if err := errors.Join(contest.CopyDir(image, d.dir), d.Close()); err != nil {
		return nil, nil, 0, err
	}
	if files, err = contest.DiskBytes(d.dir); err != nil {
		return nil, nil, 0, err
	}
	for r := range rounds {
		t, err := d.timeOpen(d.dir, opts, uint32(r*7919%d.keys))
		if err != nil {
			return nil, nil, 0, err
		}
		closed = append(closed, t)
		again := image + "-opened"
		err = contest.CopyDir(again, image)
		if err == nil {
			t, err = d.timeOpen(again, opts, uint32(r*7919%d.keys))
		}
		if err = errors.Join(err, os.RemoveAll(again)); err != nil {
			return nil, nil, 0, err
		}
		crashed = append(crashed, t)
	}
	return closed, crashed, files, nil
}

// timeOpen returns the milliseconds until a first read is served.
func (d *direct) timeOpen(dir string, opts hlog.Options, k uint32) (float64, error) {
	runtime.GC()
	key := make([]byte, 8)
	d.key(key, k)
	t := time.Now()
	s, err := hlog.Open(dir, &opts)
	if err != nil {
		return 0, err
	}
	_, err = s.Get(nil, key)
	took := millis(time.Since(t))
	return took, errors.Join(err, s.Close())
}

// runRestore measures the rollback of the live store over the number of keys that changed, for two sizes of state.
func runRestore(ctx context.Context, e *env) (*report.Section, error) {
	rounds, _ := e.round(3, 0)
	s := &report.Section{Name: "restore", Title: "Rollback of the live store", Settings: fmt.Sprintf("8 + 8 bytes, median of %d.", rounds)}
	tab := &report.Table{Name: "restore", Title: s.Title, Header: []string{"keys", "changed since", "Restore"}}
	fig := &report.Figure{Name: "restore", Title: s.Title, XLabel: "keys changed since the version", YLabel: "Restore (ms)", LogX: true, LogY: true}
	for _, keys := range []int{e.n(100_000), e.n(1_000_000)} {
		e.progress.Step("restore: %s keys", report.Thousands(int64(keys)))
		d, err := e.openDirect(ctx, keys, 8, hlog.Options{MemoryBytes: roomFor(keys, 8), KeepVersions: 100})
		if err != nil {
			return nil, err
		}
		err = d.rollbacks(ctx, rounds, func(n int, runs []float64) {
			tab.Add(keys, n, spread(runs))
			fig.Line(report.Thousands(int64(keys))+" keys").Spread(float64(n), runs)
		})
		if err = errors.Join(err, d.leave()); err != nil {
			return nil, err
		}
	}
	s.Tables, s.Figures = []*report.Table{tab}, []*report.Figure{fig}
	_ = tab.Markdown(e.out)
	return s, nil
}

func (d *direct) rollbacks(ctx context.Context, rounds int, measured func(n int, runs []float64)) error {
	base, err := d.Checkpoint(ctx)
	if err != nil {
		return err
	}
	key, want := make([]byte, 8), make([]byte, 8)
	for _, n := range []int{100, 1000, 10_000, 100_000} {
		if n > d.keys {
			break
		}
		var runs []float64
		for r := range rounds {
			if err := d.change(n, uint64(r)+1); err != nil {
				return err
			}
			t := time.Now()
			if _, err := d.Restore(ctx, base.Version); err != nil {
				return err
			}
			runs = append(runs, millis(time.Since(t)))
			for k := 0; k < d.keys; k += max(1, d.keys/500) {
				d.key(key, uint32(k))
				workload.Value(want, uint64(k), 0)
				if got, err := d.Get(nil, key); err != nil || string(got) != string(want) {
					return errors.Join(fmt.Errorf("key %d is %x after the rollback, was %x", k, got, want), err)
				}
			}
		}
		measured(n, runs)
	}
	return nil
}

// runColdRead measures point reads of keys that are not in memory against random reads of the device itself.
func runColdRead(ctx context.Context, e *env) (*report.Section, error) {
	keys, value := or(e.keys, e.n(3_000_000)), or(e.valueBytes, 100)
	memory := e.engineMemory(max(8<<20, int64(keys)*int64(value+32)/4)) // room for the index, and little for records
	_, each := e.round(1, 2*time.Second)
	s := &report.Section{Name: "coldread", Title: "Cold point reads", Settings: fmt.Sprintf(
		"%s keys of 8 + %d bytes, memory %s, uniform Session.Get from as many goroutines as the depth; the device alone: direct reads of 4 KiB at random offsets of a file of the same size.",
		report.Thousands(int64(keys)), value, report.Bytes(memory))}
	e.progress.Step("coldread")
	d, err := e.openDirect(ctx, keys, value, hlog.Options{MemoryBytes: memory, NoReadCache: true})
	if err != nil {
		return nil, err
	}
	defer d.leave()
	if _, err := d.Checkpoint(ctx); err != nil {
		return nil, err
	}
	raw, err := newRawFile(e.dir, int64(keys)*d.record())
	if err != nil {
		return nil, err
	}
	defer raw.leave()
	tab := &report.Table{Name: "coldread", Title: s.Title, Header: []string{"depth", "device, reads/s", "store, gets/s", "of them cold, reads/s", "cold reads / device"}}
	fig := &report.Figure{Name: "coldread", Title: s.Title, XLabel: "depth: reads under way at once", YLabel: "reads per second", LogX: true}
	for _, depth := range []int{1, 4, 16, 32} {
		device, err := raw.rate(depth, each)
		if err != nil {
			return nil, err
		}
		before := d.Metrics()
		gets, err := d.coldGets(ctx, depth, each)
		if err != nil {
			return nil, err
		}
		cold := float64(d.Metrics().Sub(before).ColdReadCount) / gets.Elapsed.Seconds()
		tab.Add(depth, report.Rate(device), report.Rate(gets.Rate()), report.Rate(cold), fmt.Sprintf("%.0f %%", 100*cold/device))
		fig.Line("device").Point(float64(depth), device)
		fig.Line("cold gets").Point(float64(depth), cold)
	}
	s.Tables, s.Figures = []*report.Table{tab}, []*report.Figure{fig}
	_ = tab.Markdown(e.out)
	return s, nil
}

func (d *direct) coldGets(ctx context.Context, depth int, each time.Duration) (workload.Result, error) {
	type state struct {
		x        *hlog.Session
		key, dst []byte
		_        [64]byte
	}
	states := make([]state, depth)
	for i := range states {
		states[i].x, states[i].key = d.NewSession(), make([]byte, 8)
		defer states[i].x.Close()
	}
	plan := workload.NewPlan(workload.Dist{Kind: "uniform"}, workload.Mix{}, d.keys, 1<<20, uint64(depth))
	res := workload.Run(ctx, workload.Config{Goroutines: depth, Duration: each, Sample: -1}, plan, func(w int, _ workload.Op, k uint32, _ uint64) error {
		s := &states[w]
		d.key(s.key, k)
		var err error
		s.dst, err = s.x.Get(s.dst[:0], s.key)
		return err
	})
	return res, res.Err
}

// rawFile is a file of random bytes that is read past the page cache.
type rawFile struct {
	fsx.File
	name   string
	blocks int64
}

const block = 4096

func newRawFile(dir string, size int64) (*rawFile, error) {
	f, err := os.CreateTemp(dir, "bench-raw-")
	if err != nil {
		return nil, err
	}
	name := f.Name()
	if err := f.Close(); err != nil {
		return nil, err
	}
	file, err := fsx.OS().Open(name, fsx.Write|fsx.Direct)
	if err != nil {
		return nil, err
	}
	buf := mem.AlignedBytes(1<<20, block)
	workload.Value(buf, 1, 1)
	size = (size + 1<<20 - 1) &^ (1<<20 - 1)
	err = file.Allocate(0, size)
	for off := int64(0); err == nil && off < size; off += 1 << 20 {
		_, err = file.WriteAt(buf, off)
	}
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(name))
	}
	return &rawFile{file, name, size / block}, nil
}

func (r *rawFile) leave() error { return errors.Join(r.Close(), os.Remove(r.name)) }

// rate is random block reads per second with as many under way.
func (r *rawFile) rate(depth int, each time.Duration) (float64, error) {
	var wg sync.WaitGroup
	counts, errs := make([]int, depth), make([]error, depth)
	begin := time.Now()
	for g := range depth {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			buf := mem.AlignedBytes(block, block)
			for n := 0; time.Since(begin) < each; n++ {
				if _, err := r.ReadAt(buf, rnd.Int64N(r.blocks)*block); err != nil {
					errs[g] = err
					return
				}
				counts[g] = n
			}
		}()
	}
	wg.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(begin).Seconds(), errors.Join(errs...)
}

// sequentialRate is the bytes per second that the device takes in direct writes of 1 MiB, synced at the end.
func sequentialRate(dir string) (float64, error) {
	const size = 256 << 20
	t := time.Now()
	f, err := newRawFile(dir, size)
	if err != nil {
		return 0, err
	}
	return size / time.Since(t).Seconds(), f.leave()
}
