package contest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Throughput is a contest of operations per second.
type Throughput struct {
	Name, Title string
	Contestants []Contestant
	Shape       Shape
	Memory      int64 // what each was given; for the text only
	Dists       []workload.Dist
	Mixes       []workload.Mix
	Rows        []Row // what is measured; empty: every mix with every distribution
	Picks       int   // operations in a plan, which begins again at its end; 0: a million
	Cuts        int   // snapshots that an engine takes while it loads
	Goroutines  int
	Rounds      int
	Each        time.Duration // of a round
	Warm        int           // rounds before the first at most, until the speed and the reads from disk stand still
	NoPageCache bool          // drop the files' pages all the while, so that memory is what each was given
	Dir         string
	Out         io.Writer
	Step        func(format string, args ...any)
	At          func(done, total float64, note string)
}

// Run loads every contestant and lets them take turns on each mix and distribution.
func (t Throughput) Run(ctx context.Context) (s *report.Section, err error) {
	s = &report.Section{Name: t.Name, Title: t.Title, Settings: fmt.Sprintf(
		"%s, memory %s each, %d goroutines, %d alternating rounds of %v; no sync between snapshots; every 8th operation timed. CPU per operation is of all threads of the process, background work and the load's own making (some 30 ns) included.",
		t.Shape, report.Bytes(t.Memory), t.Goroutines, t.Rounds, t.Each)}
	if t.NoPageCache {
		s.Text = append(s.Text, pageCacheText)
	}
	if t.Warm > 0 {
		s.Text = append(s.Text, fmt.Sprintf("Before the rounds of a row each engine does the same load until its speed and its reads from disk stand still, for %d rounds at most. "+
			"The hybrid log is told which keys each goroutine uses next (Session.Prefetch), as a program can tell that takes its input in batches; the other engines have no such call. A row \"without Prefetch\" is the same engine without it.", t.Warm))
	}
	var entries []*Entry
	defer func() {
		for _, e := range entries {
			err = errors.Join(err, e.Leave())
		}
	}()
	loads := &report.Table{Name: t.Name + "-load", Title: "Loading", Header: []string{"engine", "keys per second", "files", "memory, as it says"}}
	for i, c := range t.Contestants {
		t.Step("%s: loading %s", t.Name, c.Name)
		e, err := Enter(c, t.Dir, t.Shape, or(c.Goroutines, t.Goroutines))
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
		if err := t.load(ctx, e, i, loads); err != nil {
			return nil, fmt.Errorf("loading %s: %w", c.Name, err)
		}
	}
	t.Step("%s: measuring", t.Name)
	tab := &report.Table{Name: t.Name, Title: "Operations per second: median, lowest and highest round; latencies of single operations",
		Header: []string{"mix", "distribution", "engine", "median", "lowest", "highest", "p50", "p99", "p99.9", "CPU per operation", "reads per operation", "hybridlog is"}}
	rows := t.rows()
	done, total := 0.0, float64(len(rows)*t.Rounds)
	figs := map[string]*report.Figure{}
	for _, row := range rows {
		fig := figs[row.Mix.Name]
		if fig == nil {
			fig = &report.Figure{Name: t.Name + "-" + row.Mix.Name, Title: fmt.Sprintf("%s: %s, memory %s", row.Mix.Name, t.Shape, report.Bytes(t.Memory)),
				XLabel: "distribution of keys", YLabel: "operations per second"}
			figs[row.Mix.Name] = fig
			s.Figures = append(s.Figures, fig)
		}
		n := or(t.Picks, 1<<20)
		if len(row.Dist.Trace) > 0 {
			n = len(row.Dist.Trace)
		}
		scores, err := t.compete(ctx, row.able(entries), row, workload.NewPlan(row.Dist, row.Mix, t.Shape.Keys, n, 1), func() {
			done++
			t.At(done, total, row.Mix.Name+" "+row.keys())
		})
		if err != nil {
			return nil, err
		}
		t.add(tab, fig, row, scores)
	}
	for _, fig := range figs {
		fig.LogY = fig.Wide()
	}
	s.Tables = []*report.Table{tab}
	if t.Cuts > 0 {
		s.Tables = []*report.Table{loads, tab}
		_ = loads.Markdown(t.Out)
	}
	_ = tab.Markdown(t.Out)
	return s, nil
}

// load has an engine write every key once, and tells how that went.
func (t Throughput) load(ctx context.Context, e *Entry, i int, tab *report.Table) error {
	begin, cuts := time.Now(), 0
	var cutErr error
	err := e.Driver.Load(ctx, 0, t.Shape.Keys, func(done int) {
		t.At(float64(i*t.Shape.Keys+done), float64(len(t.Contestants)*t.Shape.Keys), "")
		if due := done * t.Cuts / t.Shape.Keys; due > cuts {
			cuts, cutErr = due, errors.Join(cutErr, e.snapshot())
		}
	})
	took := time.Since(begin)
	if err = errors.Join(err, cutErr, e.Check()); err != nil {
		return err
	}
	files, err := DiskBytes(e.home)
	tab.Add(e.Name, report.Rate(float64(t.Shape.Keys)/took.Seconds()), report.Bytes(files), report.Bytes(e.Engine.Size()))
	return err
}

// or returns own, unless it is 0, which stands for the default.
func or(own, def int) int {
	if own != 0 {
		return own
	}
	return def
}

// pageCacheText says what stands between the page cache and the engines that read through it.
var pageCacheText = func() string {
	if dropsPages {
		return "The system's page cache is no engine's memory: the clean pages of every file are dropped every 5 ms during the rounds, and at the " +
			"end of each, outside of its time, what is left there is written, so that no engine's round has another's writes in it. " +
			"The hybrid log reads and writes past it anyway. The engines of package compare read past it, too, and write through it, as other engines " +
			"do both: nothing is synced between snapshots, so that a write of theirs waits for the disk only when the system does."
	}
	return "Engines that read through the system's page cache have that memory besides; this system offers no way to take it from them."
}()

// score is what one engine reached in the rounds of one mix and distribution.
type score struct {
	name  string
	rates []float64
	reads []float64 // from disk for each operation, of engines that say
	cpu   []float64 // ns of all threads for each operation: what neighbours on the machine change least
	lat   *workload.Latencies
}

func (t Throughput) compete(ctx context.Context, entries []*Entry, row Row, plan workload.Plan, after func()) ([]*score, error) {
	scores := make([]*score, len(entries))
	for i, e := range entries {
		scores[i] = &score{name: e.Name, lat: workload.NewLatencies()}
	}
	offset := make([]int, len(entries))
	for i, e := range entries {
		if err := t.warm(ctx, e, plan, &offset[i]); err != nil {
			return nil, err
		}
	}
	for r := range t.Rounds {
		for k := range entries {
			i := (k + r) % len(entries)
			if row.Beside == ScanBefore {
				if err := entries[i].scan(ctx); err != nil {
					return nil, fmt.Errorf("%s: %w", entries[i].Name, err)
				}
			}
			runtime.GC()
			stop := func() error { return nil }
			if row.Beside == EachSecond {
				stop = entries[i].snapshots(min(time.Second, t.Each/2))
			}
			res, cpu, reads, err := t.round(ctx, entries[i], plan, &offset[i])
			if err = errors.Join(err, stop()); err != nil {
				return nil, err
			}
			ops := float64(max(res.Ops, 1))
			scores[i].rates = append(scores[i].rates, res.Rate())
			scores[i].cpu = append(scores[i].cpu, float64(cpu)/ops)
			if _, says := entries[i].Driver.reads(); says {
				scores[i].reads = append(scores[i].reads, float64(reads)/ops)
			}
			scores[i].lat.Merge(res.All)
		}
		after()
	}
	return scores, nil
}

// round is one round of one engine, from *offset of the plan on.
func (t Throughput) round(ctx context.Context, e *Entry, plan workload.Plan, offset *int) (res workload.Result, cpu time.Duration, reads uint64, err error) {
	stop := func() {}
	if t.NoPageCache {
		stop = dropPages(e.Dir)
	}
	before, _ := e.Driver.reads()
	cpu = CPUTime()
	res = workload.Run(ctx, workload.Config{Goroutines: len(e.Driver.bufs), Duration: t.Each, Sample: 8, Offset: *offset, Ahead: e.Driver.Ahead()},
		plan, e.Driver.Do)
	cpu = CPUTime() - cpu
	after, _ := e.Driver.reads()
	stop()
	if err = errors.Join(res.Err, ctx.Err()); err != nil {
		return res, 0, 0, fmt.Errorf("%s: %w", e.Name, err)
	}
	*offset += res.Ops &^ 1
	return res, cpu, after - before, nil
}

// warm has an engine do rounds until two in a row differ by less than a 20th in reads from disk, or by less than a tenth in
// speed if it does not say how much it reads.
func (t Throughput) warm(ctx context.Context, e *Entry, plan workload.Plan, offset *int) error {
	last, still := 0.0, 0
	for r := 0; r < t.Warm && still < 2; r++ {
		res, _, reads, err := t.round(ctx, e, plan, offset)
		if err != nil {
			return err
		}
		now, within := res.Rate(), 0.1
		if _, says := e.Driver.reads(); says {
			now, within = float64(reads)/float64(max(res.Ops, 1)), 0.05
		}
		if now > last*(1+within) || now < last*(1-within) {
			still = -1
		}
		last = now
		still++
	}
	return nil
}

func (t Throughput) add(tab *report.Table, fig *report.Figure, row Row, scores []*score) {
	var ours float64
	for _, sc := range scores {
		if sc.name == "hybridlog" {
			ours, _, _ = report.Median(sc.rates)
		}
	}
	for _, sc := range scores {
		med, low, high := report.Median(sc.rates)
		cpu, _, _ := report.Median(sc.cpu)
		cpuText := "–"
		if cpu > 0 {
			cpuText = report.Duration(time.Duration(cpu))
		}
		factor := "–"
		if ours > 0 && sc.name != "hybridlog" {
			factor = report.Float(ours/med) + " ×"
		}
		readText := "–"
		if len(sc.reads) > 0 {
			reads, _, _ := report.Median(sc.reads)
			readText = report.Float(reads)
		}
		tab.Add(row.Mix.Name, row.keys(), sc.name, report.Rate(med), report.Rate(low), report.Rate(high),
			sc.lat.Quantile(.5), sc.lat.Quantile(.99), sc.lat.Quantile(.999), cpuText, readText, factor)
		fig.Bar(row.keys(), sc.name, sc.rates)
	}
}
