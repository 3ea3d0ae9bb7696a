package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/hlog"
)

// peer is a store that takes part; those in memory are left out where the state is larger than it.
type peer struct {
	name     string
	open     func(dir string, memory int64) (contest.Engine, error)
	inMemory bool
}

var all = []peer{
	{"hybridlog", func(dir string, m int64) (contest.Engine, error) {
		return compare.Open("hybridlog", dir, compare.Options{MemoryBytes: m})
	}, false},
	{"pebble", func(dir string, m int64) (contest.Engine, error) { return openPebble(dir, m, false) }, false},
	{"pebble-nowal", func(dir string, m int64) (contest.Engine, error) { return openPebble(dir, m, true) }, false},
	{"badger", openBadger, false},
	{"bbolt", func(dir string, _ int64) (contest.Engine, error) { return openBolt(dir) }, false},
	{"xsync", func(dir string, _ int64) (contest.Engine, error) { return openMap(dir, newXsync) }, true},
	{"sharded", func(dir string, _ int64) (contest.Engine, error) { return openMap(dir, newSharded) }, true},
	{"otter", func(dir string, _ int64) (contest.Engine, error) { return openMap(dir, newOtter) }, true},
}

// settings are the flags.
type settings struct {
	keys, goroutines, rounds int
	each                     time.Duration
	values, dists, mixes     string
	engines, only            string
	dir, report              string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	fl := flag.NewFlagSet("peers", flag.ContinueOnError)
	fl.IntVar(&s.keys, "keys", 300_000, "number of keys of 8 bytes")
	fl.StringVar(&s.values, "values", "8,100", "bytes in a value, commas between")
	fl.IntVar(&s.goroutines, "g", 2, "goroutines that drive a store")
	fl.IntVar(&s.rounds, "rounds", 3, "alternating rounds")
	fl.DurationVar(&s.each, "duration", 300*time.Millisecond, "time of a round")
	fl.StringVar(&s.dists, "dist", "zipf,uniform", "distributions, of "+strings.Join(workload.Kinds(), ", "))
	fl.StringVar(&s.mixes, "mix", "update,mixed,read", "mixes, of "+strings.Join(workload.MixNames(), ", "))
	fl.StringVar(&s.engines, "engines", "", "of "+strings.Join(names, ", ")+" (empty: all)")
	fl.StringVar(&s.only, "experiment", "inmemory,larger,snapshot,recovery", "what to run, of these and beyond, which has ten times the keys")
	fl.StringVar(&s.dir, "dir", "", "directory for the stores (empty: the system's temporary one)")
	fl.StringVar(&s.report, "report", "../../bench-report/peers", "directory of the report")
	if err := fl.Parse(args); err != nil {
		return s, err
	}
	if s.keys < 1 || s.goroutines < 1 || s.rounds < 1 || s.each <= 0 || fl.NArg() > 0 {
		return s, errors.New("bench: a size is not positive, or an argument is left over")
	}
	return s, nil
}

// contest is what all experiments need.
type contests struct {
	settings
	dists []workload.Dist
	mixes []workload.Mix
	step  func(format string, args ...any)
	at    func(done, total float64, note string)
}

func run(ctx context.Context, args []string) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	c := contests{settings: s, step: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+" …\n", args...) }, at: throttled()}
	for _, k := range strings.Split(s.dists, ",") {
		d := workload.Dist{Kind: k}
		if err := d.Validate(); err != nil {
			return err
		}
		c.dists = append(c.dists, d)
	}
	for _, k := range strings.Split(s.mixes, ",") {
		m, err := workload.MixByName(k)
		if err != nil {
			return err
		}
		c.mixes = append(c.mixes, m)
	}
	r := &report.Report{Title: "HybridLog and its peers, measured", Created: time.Now(), Facts: facts(args)}
	var failed []error
	for _, name := range strings.Split(s.only, ",") {
		sections, err := c.experiment(ctx, name)
		r.Sections = append(r.Sections, sections...)
		if err != nil {
			failed = append(failed, fmt.Errorf("bench: %s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if len(r.Sections) > 0 {
		page, err := r.Write(s.report)
		if err != nil {
			failed = append(failed, err)
		} else {
			fmt.Fprintln(os.Stderr, "report:", page)
		}
	}
	return errors.Join(failed...)
}

// experiment runs one by name.
func (c contests) experiment(ctx context.Context, name string) ([]*report.Section, error) {
	var sections []*report.Section
	add := func(s *report.Section, err error) error {
		if s != nil {
			sections = append(sections, s)
		}
		return err
	}
	shape := contest.Shape{Keys: c.keys, KeyBytes: 8, ValueBytes: 100}
	room := 32<<20 + 2*(shape.Bytes()+64*int64(c.keys))
	switch name {
	case "inmemory":
		for _, v := range strings.Split(c.values, ",") {
			s := shape
			if _, err := fmt.Sscan(v, &s.ValueBytes); err != nil || s.ValueBytes < 1 {
				return sections, fmt.Errorf("bench: value of %q bytes", v)
			}
			memory := 32<<20 + 2*(s.Bytes()+64*int64(s.Keys))
			if err := add(c.throughput("peers-"+v, "State in memory, values of "+v+" bytes", s, memory, false).Run(ctx)); err != nil {
				return sections, err
			}
		}
		return sections, nil
	case "larger":
		shape.Keys *= 3
		memory := max(16<<20, shape.Bytes()/4)
		t := c.throughput("peers-larger", "Larger than memory: memory for a quarter of the data", shape, memory, true)
		mix, err := workload.MixByName("getrmw")
		if err != nil {
			return nil, err
		}
		t.Mixes = []workload.Mix{mix}
		t.Each *= 4
		t.NoPageCache = true
		return sections, errors.Join(add(t.Run(ctx)), nil)
	case "beyond":
		shape.Keys *= 10
		small := shape
		small.ValueBytes = 8
		memory := max(leastMemory, int64(128<<20)*int64(small.Keys)/20_000_000)
		if err := add(c.beyond("peers-beyond-small", "Small records, memory for less than their index", small, memory, true).Run(ctx)); err != nil {
			return sections, err
		}
		return sections, add(c.beyond("peers-beyond-quarter", "Memory for a quarter of the data", shape, max(leastMemory, shape.Bytes()/4), false).Run(ctx))
	case "snapshot":
		return sections, add(contest.Snapshots{Name: "peers-snapshot", Title: "Snapshots of a large state, little changed", Contestants: c.contestants(room, false),
			Shape: shape, Memory: room, Steps: 10, Writes: 1000, Dist: workload.Dist{Kind: "zipf"}, Dir: c.dir, Out: os.Stdout, Step: c.step, At: c.at}.Run(ctx))
	case "recovery":
		return sections, add(contest.Recovery{Name: "peers-recovery", Title: "Opening again", Contestants: c.contestants(room, false),
			Sizes:  []contest.Recoverable{{X: float64(c.keys / 10), Shape: contest.Shape{Keys: max(1, c.keys/10), KeyBytes: 8, ValueBytes: 100}}, {X: float64(c.keys), Shape: shape}},
			Memory: room, XLabel: "keys", Dist: workload.Dist{Kind: "uniform"}, Rounds: c.rounds, Dir: c.dir, Out: os.Stdout, Step: c.step, At: c.at}.Run(ctx))
	}
	return nil, fmt.Errorf("bench: no experiment %q", name)
}

func (c contests) throughput(name, title string, s contest.Shape, memory int64, larger bool) contest.Throughput {
	return contest.Throughput{Name: name, Title: title, Contestants: c.contestants(memory, larger), Shape: s, Memory: memory, Dists: c.dists, Mixes: c.mixes,
		Goroutines: c.goroutines, Rounds: c.rounds, Each: c.each, Dir: c.dir, Out: os.Stdout, Step: c.step, At: c.at}
}

// leastMemory is as little as all of them work with.
const leastMemory = 8 << 20

// beyond is a contest with a state far larger than memory, as -experiment beyond of ../ has it. With demote the hybrid log moves
// what is old into its cold tier. The others, which cannot be told what will be read next, are driven by so many goroutines
// that the device is busy all the same; what their blocking reads leave to do is up to GOMAXPROCS.
func (c contests) beyond(name, title string, s contest.Shape, memory int64, demote bool) contest.Throughput {
	t := c.throughput(name, title, s, memory, true)
	for i := range t.Contestants {
		if t.Contestants[i].Name != "hybridlog" {
			t.Contestants[i].Goroutines = 64
			continue
		}
		opts := hlog.Options{MemoryBytes: memory}
		if demote {
			opts.ColdAfter = memory / 4
		}
		t.Contestants[i].Open = func(dir string) (contest.Engine, error) { return contest.OpenHybrid(dir, opts) }
	}
	t.Rows, t.Picks, t.Cuts = contest.BeyondRows(s), min(max(1<<20, s.Keys), 32<<20), 16
	t.Each, t.Warm, t.NoPageCache = 10*c.each, 20, true
	return t
}

// contestants are the peers asked for; with larger, only those whose state may exceed memory.
func (c contests) contestants(memory int64, larger bool) []contest.Contestant {
	var out []contest.Contestant
	for _, p := range all {
		wanted := c.engines == ""
		for _, name := range strings.Split(c.engines, ",") {
			wanted = wanted || name == p.name
		}
		if !wanted || larger && p.inMemory {
			continue
		}
		out = append(out, contest.Contestant{Name: p.name, Open: func(dir string) (contest.Engine, error) { return p.open(dir, memory) }})
	}
	return out
}

// throttled prints how far a step is, every few seconds.
func throttled() func(done, total float64, note string) {
	last := time.Now()
	return func(done, total float64, note string) {
		if total > 0 && time.Since(last) > 5*time.Second {
			last = time.Now()
			fmt.Fprintf(os.Stderr, "  %3.0f %% %s\n", 100*done/total, note)
		}
	}
}

// facts tell where the numbers come from.
func facts(args []string) [][2]string {
	out := [][2]string{{"command", strings.TrimSpace("go run -C bench/peers . " + strings.Join(args, " "))},
		{"machine", fmt.Sprintf("%s/%s, %d CPUs", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())}, {"Go", runtime.Version()}}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if strings.Contains(d.Path, "pebble") || strings.Contains(d.Path, "badger") || strings.Contains(d.Path, "bbolt") ||
				strings.Contains(d.Path, "xsync") || strings.Contains(d.Path, "otter") {
				out = append(out, [2]string{d.Path, d.Version})
			}
		}
	}
	return out
}
