package main

import (
	"strings"

	"github.com/hybridlog/hybridlog/bench/internal/report"
)

// properties is the table that sums up what each kind of store is and what this run measured of it; nil when the run
// compared no engines.
func properties(sections []*report.Section) *report.Section {
	f := newFindings(sections)
	ms := f.matches()
	if len(ms) == 0 {
		return nil
	}
	t := &report.Table{Name: "properties", Title: "What each kind is, and what this run measured of it",
		Header: append([]string{"property"}, engineNames...)}
	t.Rows = append(t.Rows, [][]string{
		{"incremental snapshots", "yes", "yes", "yes", "no: the whole state each time"},
		{"rollback to any kept version", "yes", "yes", "yes", "yes"},
		{"state larger than memory", "yes", "yes", "values; keys stay in memory", "no"},
		{"update in place", "in the mutable region", "in the memtable", "no: appends", "yes"},
		{"snapshot stops writers", "no", "while the memtable is written", "while the file is synced", "while the state is encoded"},
		{"merges", "in the background", "in the write that fills a level", "in the write that fills a level", "none"},
		{"order of keys", "none", "sorted inside, not offered", "none", "none"},
	}...)
	for _, want := range []string{"headtohead, update, uniform", "headtohead, update, zipf", "headtohead, mixed, zipf", "headtohead, read, zipf",
		"headtohead, larger-update, zipf", "headtohead, larger-getrmw, zipf", "larger, getrmw, zipf", "latency during snapshots, p99.9", "recovery after a close, most keys", "recovery after a crash, most keys",
		"snapshot of a large state, little changed", "resident memory, most keys"} {
		for _, m := range ms {
			if m.what != want {
				continue
			}
			row := []string{want}
			for _, e := range engineNames {
				v, ok := m.values[e]
				cell := "–"
				if ok && m.unit == "operations per second" {
					cell = report.Rate(v)
				} else if ok {
					cell = report.Float(v) + " " + m.unit
				}
				row = append(row, cell)
			}
			t.Rows = append(t.Rows, row)
		}
	}
	var names []string
	for _, s := range sections {
		names = append(names, s.Name)
	}
	return &report.Section{Name: "properties", Title: "Summary of properties", Settings: "Measured rows are from: " + strings.Join(names, ", ") + ".",
		Tables: []*report.Table{t}}
}
