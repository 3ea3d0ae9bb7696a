package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/compare"
)

// shape is the data of an experiment, the flags before its own.
func (e *env) shape(keys, keyBytes, valueBytes int) contest.Shape {
	return contest.Shape{Keys: or(e.keys, e.n(keys)), KeyBytes: or(e.keyBytes, keyBytes), ValueBytes: or(e.valueBytes, valueBytes)}
}

// distributions and operations are those of the flags, or else an experiment's own.
func (e *env) distributions(own ...string) []workload.Dist {
	if len(e.dists) > 0 {
		return e.dists
	}
	var out []workload.Dist
	for _, k := range own {
		out = append(out, workload.Dist{Kind: k})
	}
	return out
}

func (e *env) operations(own ...string) []workload.Mix {
	if len(e.mixes) > 0 {
		return e.mixes
	}
	var out []workload.Mix
	for _, name := range own {
		m, err := workload.MixByName(name)
		if err != nil {
			panic(err) // a name in this program's own text
		}
		out = append(out, m)
	}
	return out
}

// round is the length of a measured round and how many there are.
func (e *env) round(rounds int, each time.Duration) (int, time.Duration) {
	if e.short {
		return 1, 20 * time.Millisecond
	}
	return or(e.rounds, rounds), or(e.duration, each)
}

// fits is memory in which n times the data has room.
func fits(s contest.Shape, n float64) int64 {
	return 32<<20 + int64(n*float64(s.Bytes()+64*int64(s.Keys)))
}

// runHeadToHead is the short comparison of the default run: once with room for everything, once with memory for a quarter
// of the data.
func runHeadToHead(ctx context.Context, e *env) (*report.Section, error) {
	rounds, each := e.round(3, 150*time.Millisecond)
	s := contest.Shape{Keys: or(e.keys, scaledBy(e, 200_000)), KeyBytes: or(e.keyBytes, 8), ValueBytes: or(e.valueBytes, 100)}
	memory := e.engineMemory(fits(s, 2))
	fit := contest.Throughput{Name: "headtohead", Title: "Head to head",
		Contestants: e.contestants(compare.Options{MemoryBytes: memory}), Shape: s, Memory: memory,
		Dists: e.distributions("uniform", "zipf", "hotset"), Mixes: e.operations("update", "mixed", "read"), Goroutines: e.goroutines,
		Rounds: rounds, Each: each, Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}
	out, err := fit.Run(ctx)
	if err != nil {
		return nil, err
	}
	larger := fit
	larger.Name, larger.Shape.Keys, larger.Each, larger.NoPageCache = "headtohead-larger", 2*s.Keys, 2*each, true
	larger.Memory = e.engineMemory(max(8<<20, larger.Shape.Bytes()/4))
	larger.Contestants = alsoWithoutPrefetch(e.contestants(compare.Options{MemoryBytes: larger.Memory}, "hybridlog", "lsm", "appendlog"))
	larger.Warm = 4
	larger.Dists, larger.Mixes = e.distributions("zipf", "hotset"), e.operations("update", "getrmw")
	more, err := larger.Run(ctx)
	if err != nil {
		return out, err
	}
	out.Settings = "In memory: " + out.Settings + " Larger than memory: " + more.Settings
	out.Text = append(out.Text, more.Text...)
	out.Tables[0].Title, more.Tables[0].Title = "In memory. "+out.Tables[0].Title, "Memory for a quarter of the data. "+more.Tables[0].Title
	out.Tables, out.Figures = append(out.Tables, more.Tables...), append(out.Figures, more.Figures...)
	return out, nil
}

// alsoWithoutPrefetch adds the hybrid log once more, which is then not told what will be read next.
func alsoWithoutPrefetch(of []contest.Contestant) []contest.Contestant {
	for _, c := range of {
		if c.Name == "hybridlog" {
			return append(of, contest.WithoutPrefetch(c, "hybridlog without Prefetch"))
		}
	}
	return of
}

// scaledBy is n of the default run's own experiment, which is short as it is.
func scaledBy(e *env, size int) int {
	if e.quick {
		size *= 5
	}
	return e.n(size)
}

// runMixes is the long comparison: every mix.
func runMixes(ctx context.Context, e *env) (*report.Section, error) {
	s := e.shape(1_000_000, 8, 100)
	memory := e.engineMemory(fits(s, 2))
	rounds, each := e.round(5, 500*time.Millisecond)
	return contest.Throughput{Name: "mixes", Title: "Every mix of operations, state in memory",
		Contestants: e.contestants(compare.Options{MemoryBytes: memory}), Shape: s, Memory: memory,
		Dists: e.distributions(workload.Kinds()...), Mixes: e.operations(workload.MixNames()...), Goroutines: e.goroutines,
		Rounds: rounds, Each: each, Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// runLarger is the comparison in which the memory is a quarter of the data.
func runLarger(ctx context.Context, e *env) (*report.Section, error) {
	s := e.shape(1_000_000, 8, 100)
	memory := e.engineMemory(max(8<<20, s.Bytes()/4))
	rounds, each := e.round(3, 2*time.Second)
	return contest.Throughput{Name: "larger", Title: "Larger than memory: memory for a quarter of the data",
		Contestants: alsoWithoutPrefetch(e.contestants(compare.Options{MemoryBytes: memory}, "hybridlog", "lsm", "appendlog")), Shape: s, Memory: memory, NoPageCache: true,
		Warm:  5,
		Dists: e.distributions("zipf", "hotset", "uniform"), Mixes: e.operations("getrmw", "update", "read"), Goroutines: e.goroutines,
		Rounds: rounds, Each: each, Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// runStalls is latency at a fixed rate with snapshots and merges going on.
func runStalls(ctx context.Context, e *env) (*report.Section, error) {
	s := e.shape(1_000_000, 8, 100)
	memory := e.engineMemory(fits(s, 2))
	each := 8 * time.Second
	if e.short {
		each = 300 * time.Millisecond
	}
	return contest.Stalls{Name: "stalls", Title: "Latency while a snapshot is taken every second",
		Contestants: e.contestants(compare.Options{MemoryBytes: memory}), Shape: s, Memory: memory,
		Dist: e.distributions("zipf")[0], Mix: e.operations("mixed")[0], Goroutines: e.goroutines, Rate: or(e.rate, 20_000),
		Each: or(e.duration, each), Every: min(time.Second, or(e.duration, each)/3), Dir: e.dir, Out: e.out,
		Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// runRecovery is the thesis' recovery experiment: a fixed number of keys, ever more writes.
func runRecovery(ctx context.Context, e *env) (*report.Section, error) {
	s := e.shape(100_000, 5, 5)
	memory := e.engineMemory(fits(s, 1))
	var sizes []contest.Recoverable
	for w := 1; w <= 9; w += 2 {
		n := w * e.n(100_000)
		sizes = append(sizes, contest.Recoverable{X: float64(n), Shape: s, Writes: max(0, n-s.Keys)})
	}
	rounds, _ := e.round(5, 0)
	return contest.Recovery{Name: "recovery", Title: "Recovery and bytes written", Contestants: e.contestants(compare.Options{MemoryBytes: memory}),
		Sizes: sizes, Memory: memory, XLabel: fmt.Sprintf("writes to %s keys", report.Thousands(int64(s.Keys))), Dist: e.distributions("uniform")[0],
		Rounds: rounds, Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// runRecoveryKeys is recovery over the number of keys, to where the difference shows.
func runRecoveryKeys(ctx context.Context, e *env) (*report.Section, error) {
	var sizes []contest.Recoverable
	for _, n := range []int{10_000, 100_000, 1_000_000, 3_000_000} {
		s := e.shape(n, 8, 8)
		s.Keys = e.n(n) // a size each, whatever -keys says
		sizes = append(sizes, contest.Recoverable{X: float64(s.Keys), Shape: s, Writes: s.Keys / 10})
	}
	memory := e.engineMemory(fits(sizes[len(sizes)-1].Shape, 1))
	rounds, _ := e.round(3, 0)
	return contest.Recovery{Name: "recovery-keys", Title: "Recovery and number of keys", Contestants: e.contestants(compare.Options{MemoryBytes: memory}),
		Sizes: sizes, Memory: memory, XLabel: "keys", LogX: true, Dist: e.distributions("uniform")[0], Rounds: rounds, Dir: e.dir, Out: e.out,
		Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// withSlowRemote gives each contestant a remote of its own that takes a microsecond per byte.
func (e *env) withSlowRemote(opts compare.Options) []contest.Contestant {
	var out []contest.Contestant
	for _, c := range e.contestants(opts) {
		kind := c.Name
		out = append(out, contest.Contestant{Name: kind, Open: func(dir string) (contest.Engine, error) {
			remote, err := compare.NewDirRemote(filepath.Join(filepath.Dir(dir), "remote"))
			if err != nil {
				return nil, err
			}
			o := opts
			o.Remote = slowRemote{remote}
			return compare.Open(kind, dir, o)
		}})
	}
	return out
}

// runSnapshotGrowing is a snapshot after every thousand new keys.
func runSnapshotGrowing(ctx context.Context, e *env) (*report.Section, error) {
	s := e.shape(0, 2, 8)
	s.Keys = 0
	memory := e.engineMemory(32 << 20)
	steps, writes := 60, e.n(1000)
	if steps*writes > 1<<16 && s.KeyBytes < 4 {
		s.KeyBytes = 4 // two bytes do not tell so many keys apart
	}
	return contest.Snapshots{Name: "snapshot-growing", Title: "Snapshots of a growing state",
		Contestants: e.withSlowRemote(compare.Options{MemoryBytes: memory}), Shape: s, Memory: memory, Steps: steps, Writes: writes, Growing: true,
		Dist: workload.Dist{Kind: "uniform"}, Note: "Every version is copied to a remote that takes 1 µs per byte.", Dir: e.dir, Out: e.out,
		Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// runSnapshotStatic is small updates to a large state with a snapshot after each thousand.
func runSnapshotStatic(ctx context.Context, e *env) (*report.Section, error) {
	s := e.shape(1_000_000, 8, 100)
	memory := e.engineMemory(fits(s, 1.5))
	return contest.Snapshots{Name: "snapshot-static", Title: "Snapshots of a large state, little changed",
		Contestants: e.contestants(compare.Options{MemoryBytes: memory}), Shape: s, Memory: memory, Steps: 20, Writes: 1000,
		Dist: e.distributions("uniform")[0], Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}

// runTokens is the token stream of the main job as a load for every engine: one read-modify-write for each token and pair.
func runTokens(ctx context.Context, e *env) (*report.Section, error) {
	paths, suffixes, err := e.input()
	if err != nil {
		return nil, err
	}
	src, err := workload.OpenSource(paths, suffixes)
	if err != nil {
		return nil, err
	}
	e.progress.Step("tokens: reading")
	picks, keys, err := src.Trace(e.pairs, e.n(4_000_000))
	if err != nil {
		return nil, err
	}
	s := contest.Shape{Keys: keys, KeyBytes: or(e.keyBytes, 16), ValueBytes: or(e.valueBytes, 8)}
	memory := e.engineMemory(max(8<<20, int64(keys)*40))
	rounds, each := e.round(3, time.Second)
	return contest.Throughput{Name: "tokens", Title: "The token stream of source text",
		Contestants: e.contestants(compare.Options{MemoryBytes: memory}), Shape: s, Memory: memory, NoPageCache: true,
		Dists: []workload.Dist{{Kind: "trace", Trace: picks}}, Mixes: e.operations("rmw"), Goroutines: e.goroutines,
		Rounds: rounds, Each: each, Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}.Run(ctx)
}
