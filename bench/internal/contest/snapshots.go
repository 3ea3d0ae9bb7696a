package contest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Snapshots is a contest of snapshots: after each step of writes every engine takes one.
type Snapshots struct {
	Name, Title string
	Contestants []Contestant
	Shape       Shape // Keys is what is loaded beforehand; 0 = none
	Memory      int64
	Steps       int
	Writes      int  // in a step
	Growing     bool // each step writes new keys, else keys that are there already
	Dist        workload.Dist
	Note        string // about the setting, such as a slow remote
	Dir         string
	Out         io.Writer
	Step        func(format string, args ...any)
	At          func(done, total float64, note string)
}

// Run takes the engines one after the other: within one, the steps depend on each other.
func (c Snapshots) Run(ctx context.Context) (*report.Section, error) {
	kind := "of keys that are there"
	if c.Growing {
		kind = "of new keys"
	}
	s := &report.Section{Name: c.Name, Title: c.Title, Settings: fmt.Sprintf(
		"%s loaded, memory %s each, %d steps of %s writes %s, a snapshot after each. %s", c.Shape, report.Bytes(c.Memory),
		c.Steps, report.Thousands(int64(c.Writes)), kind, c.Note)}
	single := &report.Figure{Name: c.Name, Title: c.Title + ", each", XLabel: "writes after the load", YLabel: "snapshot (ms)", LogY: true}
	sum := &report.Figure{Name: c.Name + "-cumulative", Title: c.Title + ", added up", XLabel: "writes after the load", YLabel: "snapshots so far (ms)", LogY: true}
	bytes := &report.Figure{Name: c.Name + "-bytes", Title: c.Title + ", bytes", XLabel: "writes after the load", YLabel: "bytes written in a step", LogY: true}
	tab := &report.Table{Name: c.Name, Title: "Snapshots", Header: []string{"engine", "median", "shortest", "longest", "bytes per step, median", "hybridlog is"}}
	medians := map[string]float64{}
	type row struct {
		name            string
		med, low, high  float64
		bytesMed        float64
		bytesWereCounts bool
	}
	var rows []row
	for i, contestant := range c.Contestants {
		c.Step("%s: %s", c.Name, contestant.Name)
		times, written, err := c.steps(ctx, contestant, func(share float64) {
			c.At(float64(i)+share, float64(len(c.Contestants)), "")
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", contestant.Name, err)
		}
		total := 0.0
		for k, t := range times {
			x := float64((k + 1) * c.Writes)
			total += t
			single.Line(contestant.Name).Point(x, t)
			sum.Line(contestant.Name).Point(x, total)
			if len(written) > k {
				bytes.Line(contestant.Name).Point(x, written[k])
			}
		}
		med, low, high := report.Median(times)
		b, _, _ := report.Median(written)
		medians[contestant.Name] = med
		rows = append(rows, row{contestant.Name, med, low, high, b, len(written) > 0})
	}
	for _, r := range rows {
		factor := "–"
		if ours, ok := medians["hybridlog"]; ok && r.name != "hybridlog" {
			factor = report.Float(r.med/ours) + " × as fast"
		}
		b := "–"
		if r.bytesWereCounts {
			b = report.Bytes(int64(r.bytesMed))
		}
		tab.Add(r.name, ms(r.med), ms(r.low), ms(r.high), b, factor)
	}
	s.Tables = []*report.Table{tab}
	s.Figures = []*report.Figure{single, sum}
	if len(bytes.Series) > 0 {
		s.Figures = append(s.Figures, bytes)
	}
	_ = tab.Markdown(c.Out)
	return s, nil
}

// ms makes a duration of milliseconds.
func ms(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }

// steps loads one engine and returns the milliseconds of each snapshot and the bytes that each step wrote, as far as the system counts them.
func (c Snapshots) steps(ctx context.Context, contestant Contestant, after func(share float64)) (times, written []float64, err error) {
	e, err := Enter(contestant, c.Dir, c.Shape, 1)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, e.Leave()) }()
	if err := e.Driver.Load(ctx, 0, c.Shape.Keys, func(done int) { after(0.7 * float64(done) / float64(c.Shape.Keys)) }); err != nil {
		return nil, nil, err
	}
	version := uint64(1)
	if c.Shape.Keys > 0 {
		if err := e.Engine.Snapshot(version); err != nil {
			return nil, nil, fmt.Errorf("first snapshot: %w", err)
		}
	}
	next := c.Shape.Keys
	for k := range c.Steps {
		before, counted := bytesWritten()
		plan := workload.Sequence(workload.Set, next, c.Writes)
		if c.Growing {
			next += c.Writes
		} else {
			plan = workload.NewPlan(c.Dist, workload.Mix{Set: 100}, c.Shape.Keys, c.Writes, uint64(k)+7)
		}
		res := workload.Run(ctx, workload.Config{Ops: c.Writes, Sample: -1}, plan, e.Driver.Do)
		if err := errors.Join(res.Err, ctx.Err()); err != nil {
			return nil, nil, err
		}
		version++
		t := time.Now()
		if err := e.Engine.Snapshot(version); err != nil {
			return nil, nil, fmt.Errorf("snapshot %d: %w", version, err)
		}
		times = append(times, float64(time.Since(t))/float64(time.Millisecond))
		if now, ok := bytesWritten(); ok && counted {
			written = append(written, float64(now-before))
		}
		after(0.7 + 0.3*float64(k+1)/float64(c.Steps))
	}
	return times, written, nil
}

// bytesWritten is what this process has caused to be written to devices so far, where the system counts it.
func bytesWritten() (int64, bool) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
