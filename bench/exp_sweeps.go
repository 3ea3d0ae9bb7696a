package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/compare"
)

// sweep is an experiment that changes one parameter of one or more engines and watches latencies.
type sweep struct {
	name, title, xlabel string
	logX                bool
	points              []float64
	series              []sweepSeries
	keys, keyBytes      int
	valueBytes          int
	writes              func(point float64) int // measured writes; nil = twice the keys
	dist                string
	reads               bool
	maxReads            int  // measured reads; 0 = twice the keys
	memory, disk        bool // show what the engine holds too
	settings            string
}

// sweepSeries is a line of a sweep: an engine and how a point of the sweep opens it.
type sweepSeries struct {
	name string
	open func(dir string, point float64) (contest.Engine, error)
}

// series makes a line of an engine of package compare.
func series(kind string, set func(o *compare.Options, point float64)) sweepSeries {
	return labelled(kind, kind, set)
}

func labelled(label, kind string, set func(o *compare.Options, point float64)) sweepSeries {
	return sweepSeries{label, func(dir string, point float64) (contest.Engine, error) {
		o := compare.ThesisOptions()
		o.MemoryBytes = 32 << 20
		set(&o, point)
		return compare.Open(kind, dir, o)
	}}
}

// run measures every point several times, the series taking turns, and draws mean latencies of single operations.
func (w sweep) run(ctx context.Context, e *env) (*report.Section, error) {
	rounds, _ := e.round(3, 0)
	shape := e.shape(w.keys, w.keyBytes, w.valueBytes)
	dist := e.distributions(or(w.dist, "uniform"))[0]
	s := &report.Section{Name: w.name, Title: w.title, Settings: fmt.Sprintf("%s, %s, one goroutine, median of %d runs. %s",
		shape, dist, rounds, w.settings)}
	figs := map[string]*report.Figure{}
	for _, f := range []struct{ key, title, label string }{
		{"write", "write latency", "mean of a write (µs)"}, {"read", "read latency", "mean of a read (µs)"},
		{"memory", "memory", "memory held (bytes)"}, {"disk", "disk", "files (bytes)"},
	} {
		figs[f.key] = &report.Figure{Name: w.name + "-" + f.key, Title: w.title + ", " + f.title, XLabel: w.xlabel, YLabel: f.label, LogX: w.logX}
	}
	tab := &report.Table{Name: w.name, Title: w.title, Header: []string{w.xlabel, "engine", "write, mean", "write, p99", "read, mean", "read, p99", "memory", "files"}}
	e.progress.Step("%s", w.name)
	for i, point := range w.points {
		for k, line := range w.series {
			m, err := w.measure(ctx, e, line, point, shape, dist, rounds)
			if err != nil {
				return nil, fmt.Errorf("%s at %v: %w", line.name, point, err)
			}
			figs["write"].Line(line.name).Spread(point, m.write)
			row := []any{report.Float(point), line.name, micro(m.write), micro(m.writeP99), "–", "–", report.Bytes(m.memory), report.Bytes(m.disk)}
			if w.reads {
				figs["read"].Line(line.name).Spread(point, m.read)
				row[4], row[5] = micro(m.read), micro(m.readP99)
			}
			figs["memory"].Line(line.name).Point(point, float64(m.memory))
			figs["disk"].Line(line.name).Point(point, float64(m.disk))
			tab.Add(row...)
			e.progress.At(float64(i*len(w.series)+k+1), float64(len(w.points)*len(w.series)), "")
		}
	}
	for _, f := range figs {
		f.LogY = f.Wide()
	}
	s.Tables = []*report.Table{tab}
	s.Figures = []*report.Figure{figs["write"]}
	for _, f := range []struct {
		on  bool
		key string
	}{{w.reads, "read"}, {w.memory, "memory"}, {w.disk, "disk"}} {
		if f.on {
			s.Figures = append(s.Figures, figs[f.key])
		}
	}
	_ = tab.Markdown(e.out)
	return s, nil
}

func micro(runs []float64) string {
	med, _, _ := report.Median(runs)
	return report.Duration(fromMillis(med / 1e3))
}

// sweepPoint is what was measured at one point: µs of each run.
type sweepPoint struct {
	write, writeP99, read, readP99 []float64
	memory, disk                   int64
}

func (w sweep) measure(ctx context.Context, e *env, line sweepSeries, point float64, shape contest.Shape, dist workload.Dist, rounds int) (m sweepPoint, err error) {
	for r := range rounds {
		if err := w.once(ctx, e, line, point, shape, dist, uint64(r), &m); err != nil {
			return m, err
		}
	}
	return m, nil
}

// once opens a new engine, loads it, and times writes and then reads.
func (w sweep) once(ctx context.Context, e *env, line sweepSeries, point float64, shape contest.Shape, dist workload.Dist, seed uint64, m *sweepPoint) (err error) {
	c := contest.Contestant{Name: line.name, Open: func(dir string) (contest.Engine, error) { return line.open(dir, point) }}
	entry, err := contest.Enter(c, e.dir, shape, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, entry.Leave()) }()
	if err := entry.Driver.Load(ctx, 0, shape.Keys, nil); err != nil {
		return err
	}
	writes := 2 * shape.Keys
	if w.writes != nil {
		writes = w.writes(point)
	}
	runtime.GC()
	plan := workload.NewPlan(dist, workload.Mix{Set: 100}, shape.Keys, min(writes, 1<<20), seed)
	res := workload.Run(ctx, workload.Config{Ops: writes}, plan, entry.Driver.Do)
	if res.Err != nil {
		return res.Err
	}
	m.write = append(m.write, float64(res.All.Mean())/1e3)
	m.writeP99 = append(m.writeP99, float64(res.All.Quantile(.99))/1e3)
	if w.reads {
		plan = workload.NewPlan(dist, workload.Mix{}, shape.Keys, min(2*shape.Keys, or(w.maxReads, 1<<20)), seed+100)
		if res = workload.Run(ctx, workload.Config{Ops: plan.Len()}, plan, entry.Driver.Do); res.Err != nil {
			return res.Err
		}
		m.read = append(m.read, float64(res.All.Mean())/1e3)
		m.readP99 = append(m.readP99, float64(res.All.Quantile(.99))/1e3)
	}
	m.memory = entry.Engine.Size()
	m.disk, err = contest.DiskBytes(entry.Dir)
	return errors.Join(err, ctx.Err(), entry.Check())
}

// through returns n numbers from low to high at even distances.
func through(low, high float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = low + (high-low)*float64(i)/float64(n-1)
	}
	return out
}

var powers = []float64{100, 300, 1000, 3000, 10_000, 30_000, 100_000}

// thesisSweeps are the parameter studies of the thesis.
func thesisSweeps() []sweep {
	small := sweep{keys: 10_000, keyBytes: 4, valueBytes: 4, reads: true}
	with := func(name, title, xlabel string, points []float64, line sweepSeries, settings string) sweep {
		w := small
		w.name, w.title, w.xlabel, w.points, w.series, w.settings = name, title, xlabel, points, []sweepSeries{line}, settings
		return w
	}
	runs := with("lsm-runs", "LSM: runs per level", "runs per level", through(2, 16, 8),
		series("lsm", func(o *compare.Options, p float64) { o.MaxRuns = int(p) }), "Density 10, memtable 10,000 bytes.")
	density := with("lsm-density", "LSM: density factor", "records for each fence pointer", through(10, 190, 7),
		series("lsm", func(o *compare.Options, p float64) { o.Density = int(p) }), "3 runs per level, memtable 10,000 bytes.")
	density.memory, density.disk = true, true
	memtable := with("lsm-memtable", "LSM: memtable", "bytes of memtable", powers,
		series("lsm", func(o *compare.Options, p float64) { o.MemtableBytes = int64(p) }), "3 runs per level, density 10.")
	memtable.logX, memtable.memory = true, true
	threshold := with("appendlog-threshold", "AppendLog: threshold", "bytes of a file", powers,
		series("appendlog", func(o *compare.Options, p float64) { o.ThresholdBytes = int64(p) }), "3 files per level.")
	threshold.logX = true
	compaction := with("appendlog-compaction", "AppendLog: compaction on and off", "measured writes", through(1000, 9000, 5),
		sweepSeries{}, "Threshold 1000 bytes, 3 files per level.")
	compaction.keys, compaction.disk = 1000, true
	compaction.writes = func(p float64) int { return int(p) }
	compaction.series = []sweepSeries{
		labelled("compaction on", "appendlog", func(*compare.Options, float64) {}),
		labelled("compaction off", "appendlog", func(o *compare.Options, _ float64) { o.NoCompaction = true }),
	}
	return []sweep{runs, density, memtable, threshold, compaction}
}

// logRecord is what a record of 4 + 4 bytes takes in the hybrid log.
const logRecord = 16 + 8

// regionSweeps are the studies of the hybrid log's regions. The thesis counts them in records, and so do the axes; the
// smallest memory that a store takes is 4 MiB, so that the state is made larger than that.
func regionSweeps() []sweep {
	const memory = 4 << 20
	mutable := sweep{name: "hybridlog-mutable", title: "HybridLog: mutable region", xlabel: "mutable region (records)", keys: 200_000,
		keyBytes: 4, valueBytes: 4, reads: true, maxReads: 20_000, settings: "Memory 4 MiB; what is not mutable of the log in memory is read-only."}
	for _, share := range through(0.1, 0.9, 5) {
		mutable.points = append(mutable.points, share*memory/2/logRecord)
	}
	mutable.series = []sweepSeries{series("hybridlog", func(o *compare.Options, p float64) {
		o.MemoryBytes, o.MutableFraction = memory, p*logRecord*2/memory
	})}
	readonly := mutable
	readonly.name, readonly.title, readonly.xlabel = "hybridlog-readonly", "HybridLog: read-only region", "read-only region (records)"
	readonly.settings = "The mutable region stays at about 2 MiB; memory grows with the read-only region."
	readonly.points = nil
	for _, extra := range []float64{1 << 20, 2 << 20, 4 << 20, 8 << 20} {
		readonly.points = append(readonly.points, extra/logRecord)
	}
	readonly.series = []sweepSeries{series("hybridlog", func(o *compare.Options, p float64) {
		const mut = 2 << 20
		ro := p * logRecord
		o.MemoryBytes, o.MutableFraction = int64(2*(mut+ro)), mut/(mut+ro)
	})}
	return []sweep{mutable, readonly}
}

// latencySweeps are the comparisons of all engines over the number of operations.
func latencySweeps() []sweep {
	var out []sweep
	for _, dist := range []string{"uniform", "zipf"} {
		w := sweep{title: "All engines, " + dist, xlabel: "measured writes", points: through(10_000, 90_000, 5),
			keys: 100_000, keyBytes: 5, valueBytes: 5, dist: dist, writes: func(p float64) int { return int(p) }}
		for _, fit := range []bool{false, true} {
			v := w
			memory := int64(4 << 20)
			v.name, v.settings = "throughput-"+dist, "10 runs per level, memory 4 MiB for each, less than memonly needs."
			if fit {
				memory = 64 << 20
				v.name, v.title, v.reads = "inmemory-"+dist, v.title+", state in memory", true
				v.settings = "10 runs per level, memory 64 MiB for each."
			}
			for _, kind := range engineNames {
				v.series = append(v.series, sweepSeries{kind, func(dir string, _ float64) (contest.Engine, error) {
					return compare.Open(kind, dir, compare.Options{MemoryBytes: memory, MaxRuns: 10})
				}})
			}
			out = append(out, v)
		}
	}
	return out
}

// chosen leaves the lines of a sweep that -engines asks for.
func (w sweep) chosen(e *env) sweep {
	if len(e.engines) == 0 {
		return w
	}
	var lines []sweepSeries
	for _, l := range w.series {
		if contains(e.engines, l.name) || !contains(engineNames, l.name) {
			lines = append(lines, l)
		}
	}
	if len(lines) > 0 {
		w.series = lines
	}
	return w
}
