package main

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hybridlog/hybridlog/bench/internal/report"
)

// findings gives access to what the sections of a run measured.
type findings map[string]*report.Section

func newFindings(sections []*report.Section) findings {
	f := findings{}
	for _, s := range sections {
		f[s.Name] = s
	}
	return f
}

// figure returns a figure of a section, nil when the run does not have it.
func (f findings) figure(section, name string) *report.Figure {
	s := f[section]
	if s == nil {
		return nil
	}
	for _, fig := range s.Figures {
		if fig.Name == name {
			return fig
		}
	}
	return nil
}

// lines are the values of a figure's series by name: those of one category, or all.
func lines(fig *report.Figure, category string) map[string][]float64 {
	out := map[string][]float64{}
	if fig == nil {
		return out
	}
	for _, s := range fig.Series {
		for i, y := range s.Y {
			if category == "" || fig.Categories[int(s.X[i])] == category {
				out[s.Name] = append(out[s.Name], y)
			}
		}
	}
	return out
}

// last is the last value of each series: that of the largest size of a sweep.
func last(fig *report.Figure) map[string]float64 {
	out := map[string]float64{}
	for name, ys := range lines(fig, "") {
		out[name] = ys[len(ys)-1]
	}
	return out
}

// medians is the median of each series.
func medians(fig *report.Figure) map[string]float64 {
	out := map[string]float64{}
	for name, ys := range lines(fig, "") {
		out[name], _, _ = report.Median(ys)
	}
	return out
}

// match is one measured comparison between engines.
type match struct {
	what   string
	values map[string]float64
	higher bool // more is better
	unit   string
}

// openGap is the factor below which the project takes a difference for noise until it was seen again.
const openGap = 1.5

// matches collects every comparison of the run that has the hybrid log and somebody else in it.
func (f findings) matches() []match {
	var out []match
	for _, name := range []string{"headtohead", "mixes", "larger", "tokens"} {
		s := f[name]
		if s == nil {
			continue
		}
		for _, fig := range s.Figures {
			for _, c := range fig.Categories {
				m := match{what: fmt.Sprintf("%s, %s, %s", name, strings.TrimPrefix(fig.Name, name+"-"), c), higher: true, unit: "operations per second", values: map[string]float64{}}
				for e, ys := range lines(fig, c) {
					m.values[e] = ys[0]
				}
				out = append(out, m)
			}
		}
	}
	for _, x := range []struct {
		section, figure, what, unit string
		pick                        func(*report.Figure) map[string]float64
	}{
		{"recovery", "recovery", "recovery after a close, most writes", "ms", last},
		{"recovery", "recovery-crash", "recovery after a crash, most writes", "ms", last},
		{"recovery-keys", "recovery-keys", "recovery after a close, most keys", "ms", last},
		{"recovery-keys", "recovery-keys-crash", "recovery after a crash, most keys", "ms", last},
		{"snapshot-growing", "snapshot-growing", "snapshot of a growing state with a slow remote", "ms", medians},
		{"snapshot-static", "snapshot-static", "snapshot of a large state, little changed", "ms", medians},
		{"memory", "memory", "resident memory, most keys", "MiB", last},
	} {
		if fig := f.figure(x.section, x.figure); fig != nil {
			out = append(out, match{what: x.what, values: x.pick(fig), unit: x.unit})
		}
	}
	for _, x := range []struct{ section, figure, what, unit string }{
		{"stalls", "stalls", "latency during snapshots", "µs"}, {"dataflow", "dataflow-p99", "dataflow p99", "ms"},
		{"dataflow", "dataflow-snapshot", "dataflow snapshot", "ms"}, {"dataflow", "dataflow-recovery", "dataflow recovery", "ms"},
	} {
		fig := f.figure(x.section, x.figure)
		if fig == nil {
			continue
		}
		for _, c := range fig.Categories {
			m := match{what: x.what + ", " + c, unit: x.unit, values: map[string]float64{}}
			for e, ys := range lines(fig, c) {
				m.values[e] = ys[0]
			}
			out = append(out, m)
		}
	}
	kept := out[:0]
	for _, m := range out {
		for other := range m.values {
			if !contains(engineNames, other) {
				delete(m.values, other)
			}
		}
		if _, ok := m.values["hybridlog"]; ok && len(m.values) > 1 {
			kept = append(kept, m)
		}
	}
	return kept
}

// edge is by what factor the hybrid log is better than an engine; below one it is worse.
func (m match) edge(other string) float64 {
	if m.higher {
		return m.values["hybridlog"] / m.values[other]
	}
	return m.values[other] / m.values["hybridlog"]
}

// best is the strongest of the others and the edge over it.
func (m match) best() (name string, edge float64) {
	for other := range m.values {
		if other == "hybridlog" {
			continue
		}
		if x := m.edge(other); name == "" || x < edge || x == edge && other < name {
			name, edge = other, x
		}
	}
	return name, edge
}

// answers draws from the run's own numbers what they say about the research questions.
func answers(sections []*report.Section) []report.Answer {
	f := newFindings(sections)
	return []report.Answer{
		{Name: "RQ1", Question: "Which types of state store fit a transactional dataflow system?", Text: f.fit()},
		{Name: "RQ2", Question: "What do the parameters do?", Text: f.parameters()},
		{Name: "RQ3", Question: "What are the trade-offs?", Text: f.tradeoffs()},
		{Name: "RQ4", Question: "Incremental or full snapshots?", Text: f.incremental()},
		{Name: "RQ5", Question: "Is one of them superior?", Text: f.superior()},
	}
}

// missing says which experiments an answer would need.
func missing(names string) []string {
	return []string{"Not measured in this run; -experiment " + names + " does."}
}

func (f findings) fit() []string {
	text := []string{"Required are incremental snapshots with fast recovery, rollback, a state larger than memory, frequent updates, a drifting hot set, and point operations. The hybrid log, the LSM tree and the append log have all six by design; memonly has neither incremental snapshots nor a state larger than memory. The append log must keep a place in memory for every key, and memonly every value."}
	found := false
	for _, m := range f.matches() {
		if m.unit == "operations per second" && (strings.HasSuffix(m.what, "update, zipf") || strings.HasSuffix(m.what, "update, hotset")) {
			found = true
			text = append(text, fmt.Sprintf("%s: %s.", m.what, m.ranking()))
		}
	}
	if !found {
		return append(text, missing("headtohead")...)
	}
	return append(text, f.cpuOfUpdates()...)
}

// cpuOfUpdates says what an update costs each engine in CPU, which neighbours on the machine change less than the rates.
func (f findings) cpuOfUpdates() []string {
	var text []string
	for _, name := range []string{"headtohead", "mixes", "larger"} {
		if f[name] == nil {
			continue
		}
		for _, t := range f[name].Tables {
			column := slices.Index(t.Header, "CPU per operation")
			if column < 0 {
				continue
			}
			costs := map[string][]string{} // by distribution
			var order []string
			for _, row := range t.Rows {
				if row[0] != "update" || row[column] == "–" {
					continue
				}
				if costs[row[1]] == nil {
					order = append(order, row[1])
				}
				costs[row[1]] = append(costs[row[1]], row[2]+" "+row[column])
			}
			for _, dist := range order {
				text = append(text, fmt.Sprintf("CPU of an update, %s, %s: %s.", t.Name, dist, strings.Join(costs[dist], ", ")))
			}
		}
	}
	return text
}

// ranking lists the engines from best to worst.
func (m match) ranking() string {
	var names []string
	for n := range m.values {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := m.values[names[i]], m.values[names[j]]
		if a == b {
			return names[i] < names[j]
		}
		return a > b == m.higher
	})
	for i, n := range names {
		v := report.Float(m.values[n]) + " " + m.unit
		if m.unit == "operations per second" {
			v = report.Rate(m.values[n])
		}
		names[i] = n + " " + v
	}
	return strings.Join(names, ", ")
}

func (f findings) parameters() []string {
	var text []string
	for _, x := range []struct{ section, what string }{
		{"lsm-runs", "runs per level of the LSM tree"}, {"lsm-density", "records for each fence pointer of the LSM tree"},
		{"lsm-memtable", "bytes of the LSM tree's memtable"}, {"hybridlog-mutable", "records in the hybrid log's mutable region"},
		{"hybridlog-readonly", "records in its read-only region"}, {"appendlog-threshold", "bytes of the append log's files"},
	} {
		for _, op := range []string{"write", "read"} {
			fig := f.figure(x.section, x.section+"-"+op)
			if fig == nil || len(fig.Series) == 0 {
				continue
			}
			s := fig.Series[0]
			n := len(s.Y) - 1
			best := 0
			for i, y := range s.Y {
				if y < s.Y[best] {
					best = i
				}
			}
			sentence := fmt.Sprintf("%s from %s to %s: mean %s from %s to %s µs, least (%s µs) at %s.", upper(x.what), report.Short(s.X[0]), report.Short(s.X[n]),
				op, report.Float(s.Y[0]), report.Float(s.Y[n]), report.Float(s.Y[best]), report.Short(s.X[best]))
			if !differs(s) {
				sentence += " No point differs from the others by more than the runs of one point do among themselves."
			}
			text = append(text, sentence)
		}
	}
	if fig := f.figure("appendlog-compaction", "appendlog-compaction-disk"); fig != nil {
		l := last(fig)
		if on := l["compaction on"]; on > 0 {
			text = append(text, fmt.Sprintf("Compaction of the append log leaves %s of files where %s would stay without.",
				report.Bytes(int64(on)), report.Bytes(int64(l["compaction off"]))))
		}
	}
	if len(text) == 0 {
		return missing("lsm-runs,lsm-density,lsm-memtable,hybridlog-mutable,hybridlog-readonly,appendlog-threshold,appendlog-compaction")
	}
	return text
}

// differs reports whether any two points of a series lie further apart than the spread of their runs.
func differs(s *report.Series) bool {
	if len(s.Low) != len(s.Y) {
		return true
	}
	lowest, highest := s.High[0], s.Low[0]
	for i := range s.Y {
		lowest, highest = min(lowest, s.High[i]), max(highest, s.Low[i])
	}
	return highest > lowest
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (f findings) tradeoffs() []string {
	var text []string
	for _, m := range f.matches() {
		switch {
		case strings.HasPrefix(m.what, "recovery"), strings.HasPrefix(m.what, "snapshot"), strings.HasPrefix(m.what, "resident"),
			m.what == "latency during snapshots, p99", m.what == "latency during snapshots, p99.9", strings.Contains(m.what, "larger") && strings.Contains(m.what, "getrmw"):
			text = append(text, fmt.Sprintf("%s: %s.", upper(m.what), m.ranking()))
		}
	}
	if len(text) == 0 {
		return missing("larger,stalls,recovery-keys,snapshot-static,memory")
	}
	return text
}

func (f findings) incremental() []string {
	var text []string
	for _, m := range f.matches() {
		full, ok := m.values["memonly"]
		if ok && strings.HasPrefix(m.what, "snapshot") {
			text = append(text, fmt.Sprintf("%s: a full dump takes %s ms, the hybrid log's delta %s ms, %s times less.", upper(m.what), report.Float(full),
				report.Float(m.values["hybridlog"]), report.Float(m.edge("memonly"))))
		}
	}
	if fig := f.figure("mainjob", "mainjob-delta"); fig != nil {
		l := last(fig)
		m := medians(fig)
		if l["log restored"] > 0 {
			text = append(text, fmt.Sprintf("In the main job a checkpoint writes %s (median) where %s of log would have to be written in full at the end.",
				report.Bytes(int64(m["delta written"])), report.Bytes(int64(l["log restored"]))))
		}
	}
	if len(text) == 0 {
		return missing("snapshot-growing,snapshot-static")
	}
	return append(text, "A full dump pays where the state is so small that a delta is most of it, or where nearly everything changes between two snapshots.")
}

func (f findings) superior() []string {
	ms := f.matches()
	if len(ms) == 0 {
		return missing("all")
	}
	var wins, open int
	var losses []string
	for _, m := range ms {
		other, edge := m.best()
		switch {
		case edge >= openGap:
			wins++
		case edge > 1/openGap:
			open++
		default:
			losses = append(losses, fmt.Sprintf("%s: %s is %s times better", m.what, other, report.Float(1/edge)))
		}
	}
	text := []string{fmt.Sprintf("Of %d comparisons of this run, the hybrid log is better than every other engine by at least %v times in %d, within that of the best in %d, and loses by more in %d.",
		len(ms), openGap, wins, open, len(losses))}
	if len(losses) > 0 {
		text = append(text, "It loses here. "+strings.Join(losses, "; ")+".")
	}
	if s := f["mainjob"]; s == nil && len(ms) < 20 {
		text = append(text, "This run measured only a part; -experiment all answers for the rest.")
	}
	return text
}
