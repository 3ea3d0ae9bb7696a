package main

import (
	"fmt"
	"os"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
)

// section puts the job into tables and figures and prints the summary.
func (j *mainJob) section(p proof) *report.Section {
	s := &report.Section{Name: "mainjob", Title: "Main job: counting source text",
		Settings: fmt.Sprintf("%s of text in %d files, %d workers, memory %s, checkpoint every %s updates, kills: %d.",
			report.Bytes(j.source.Bytes), len(j.source.Files), j.spec.Workers, report.Bytes(j.spec.Memory),
			report.Thousands(int64(j.spec.Every)), len(j.lives)-1)}
	s.Tables = []*report.Table{j.summary(p)}
	if f := j.deltaFigure(); f != nil {
		s.Figures = append(s.Figures, f)
	}
	if f := j.rateFigure(); f != nil {
		s.Figures = append(s.Figures, f)
	}
	fmt.Fprintln(j.env.out)
	_ = s.Tables[0].Markdown(j.env.out)
	fmt.Fprintln(j.env.out)
	return s
}

func (j *mainJob) summary(p proof) *report.Table {
	t := &report.Table{Name: "mainjob", Title: "Main job", Header: []string{"what", "measured"}}
	last := j.lives[len(j.lives)-1]
	var work time.Duration
	var updates, deltas, largest int64
	var deltaRuns, durableRuns, beginRuns []float64
	for _, l := range j.lives {
		work += l.lasted
		final := l.done.Updates
		if l.killed {
			final = l.progress[len(l.progress)-1].Updates
		}
		updates += final - l.open.Updates
		for _, c := range l.checkpoints {
			deltas += c.DeltaBytes
			largest = max(largest, c.DeltaBytes)
			deltaRuns = append(deltaRuns, float64(c.DeltaBytes))
			durableRuns = append(durableRuns, float64(c.Durable))
			beginRuns = append(beginRuns, float64(c.Begin))
		}
	}
	state := j.stateBytes()
	t.Add("tokens in the text", j.tokens)
	t.Add("distinct keys (tokens and pairs)", len(j.counted.counts))
	t.Add("updates", j.total)
	t.Add("updates per second, restarts and checkpoints included", report.Rate(float64(updates)/work.Seconds()))
	t.Add("state: records, each once", report.Bytes(state))
	t.Add("memory given to the store", report.Bytes(j.spec.Memory))
	if last.done.Resident > 0 {
		t.Add("most memory the process held", report.Bytes(last.done.Resident))
	}
	t.Add("records read back from disk", last.done.ColdReads)
	med, _, _ := report.Median(deltaRuns)
	t.Add("checkpoints", len(deltaRuns))
	t.Add("delta of a checkpoint, median", report.Bytes(int64(med)))
	t.Add("delta of a checkpoint, largest", report.Bytes(largest))
	t.Add("median delta against state", fmt.Sprintf("%.1f %%", 100*med/float64(state)))
	med, _, high := report.Median(beginRuns)
	t.Add("taking the cut, median and longest", report.Duration(time.Duration(med))+", "+report.Duration(time.Duration(high)))
	med, _, high = report.Median(durableRuns)
	t.Add("cut until durable, median and longest", report.Duration(time.Duration(med))+", "+report.Duration(time.Duration(high)))
	for i, l := range j.lives[1:] {
		t.Add("killed at update", j.lives[i].progress[len(j.lives[i].progress)-1].Updates)
		t.Add("updates done again after the kill", j.lives[i].lost)
		t.Add("recovery: open, first read served", report.Duration(time.Duration(l.open.Open))+", "+report.Duration(time.Duration(l.open.FirstRead)))
	}
	t.Add("counts proven equal", p.scanned)
	t.Add("keys proven absent singly", p.absent)
	lives := ""
	for _, l := range j.lives {
		lives += report.Duration(l.lasted) + ", "
	}
	t.Add("time: independent count (beside the first process), each process, single reads, scan", report.Duration(j.counting)+", "+lives+
		report.Duration(p.byGet)+", "+report.Duration(p.byScan))
	return t
}

// deltaFigure shows what each checkpoint wrote against the whole state at that time.
func (j *mainJob) deltaFigure() *report.Figure {
	f := &report.Figure{Name: "mainjob-delta", Title: "Bytes of a checkpoint against the log it restores",
		XLabel: "updates counted", YLabel: "bytes", LogY: true}
	for _, l := range j.lives {
		for _, c := range l.checkpoints {
			if c.DeltaBytes > 0 {
				f.Line("delta written").Point(float64(c.Cut), float64(c.DeltaBytes))
			}
			if c.LogBytes > 0 {
				f.Line("log restored").Point(float64(c.Cut), float64(c.LogBytes))
			}
		}
	}
	if len(f.Series) == 0 {
		return nil
	}
	return f
}

// rateFigure shows the throughput over time, the kill and the recovery included.
func (j *mainJob) rateFigure() *report.Figure {
	f := &report.Figure{Name: "mainjob-rate", Title: "Updates per second through kill and recovery",
		XLabel: "seconds since the start", YLabel: "updates per second"}
	for i, l := range j.lives {
		start := l.started.Sub(j.first).Seconds()
		line := f.Line(fmt.Sprintf("process %d", i+1))
		const window = 5 // progress events, about half a second
		for k := window; k < len(l.progress); k += window {
			a, b := l.progress[k-window], l.progress[k]
			line.Point(start+float64(b.Nanos)/1e9, float64(b.Updates-a.Updates)/(float64(b.Nanos-a.Nanos)/1e9))
		}
	}
	for _, s := range f.Series {
		if len(s.X) > 0 {
			return f
		}
	}
	return nil
}

// peakResident is the most memory this process has held, 0 where the system does not say.
func peakResident() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return statusField(string(b), "VmHWM:")
}
