package main

import (
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/bench/internal/report"
)

func answerText(sections []*report.Section) map[string]string {
	out := map[string]string{}
	for _, a := range answers(sections) {
		out[a.Name] = strings.Join(a.Text, " ")
	}
	return out
}

func bars(name, category string, values map[string]float64) *report.Figure {
	f := &report.Figure{Name: name}
	for _, e := range engineNames {
		if v, ok := values[e]; ok {
			f.Bar(category, e, []float64{v})
		}
	}
	return f
}

func TestAnswers_WithoutNumbersTheySayWhatToRun(t *testing.T) {
	for name, text := range answerText(nil) {
		if !strings.Contains(text, "-experiment") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestAnswers_WinsOpenAndLossesAreCountedAsSuch(t *testing.T) {
	h := &report.Section{Name: "headtohead", Figures: []*report.Figure{
		bars("headtohead-update", "zipf", map[string]float64{"hybridlog": 9e6, "lsm": 1e6, "memonly": 3e6}),
		bars("headtohead-read", "zipf", map[string]float64{"hybridlog": 5e6, "lsm": 1e6, "memonly": 6e6}),
	}}
	rec := &report.Figure{Name: "recovery"}
	for name, ms := range map[string]float64{"hybridlog": 20, "lsm": 2} {
		rec.Line(name).Point(100, 1)
		rec.Line(name).Point(900, ms)
	}
	got := answerText([]*report.Section{h, {Name: "recovery", Figures: []*report.Figure{rec}}})
	for _, want := range []string{"Of 3 comparisons", "in 1, within that of the best in 1, and loses by more in 1",
		"recovery after a close, most writes: lsm is 10.0 times better"} {
		if !strings.Contains(got["RQ5"], want) {
			t.Errorf("RQ5 lacks %q: %s", want, got["RQ5"])
		}
	}
	if want := "hybridlog 9.00 M/s, memonly 3.00 M/s, lsm 1.00 M/s"; !strings.Contains(got["RQ1"], want) {
		t.Errorf("RQ1 lacks %q: %s", want, got["RQ1"])
	}
	if want := "lsm 2.00 ms, hybridlog 20.0 ms"; !strings.Contains(got["RQ3"], want) {
		t.Errorf("RQ3 lacks %q: %s", want, got["RQ3"])
	}
}

func TestAnswers_ParametersThatMakeNoDifferenceAreCalledSo(t *testing.T) {
	section := func(a, b []float64) []*report.Section {
		f := &report.Figure{Name: "lsm-runs-write"}
		f.Line("lsm").Spread(2, a)
		f.Line("lsm").Spread(16, b)
		return []*report.Section{{Name: "lsm-runs", Figures: []*report.Figure{f}}}
	}
	if text := answerText(section([]float64{1, 2, 3}, []float64{2, 3, 4}))["RQ2"]; !strings.Contains(text, "No point differs") {
		t.Errorf("overlapping runs: %s", text)
	}
	text := answerText(section([]float64{1, 2, 3}, []float64{7, 8, 9}))["RQ2"]
	if strings.Contains(text, "No point differs") || !strings.Contains(text, "from 2.00 to 8.00 µs, least (2.00 µs) at 2") {
		t.Errorf("runs apart: %s", text)
	}
}

func TestAnswers_IncrementalAgainstFull(t *testing.T) {
	f := &report.Figure{Name: "snapshot-static"}
	for x := 1.0; x < 4; x++ {
		f.Line("hybridlog").Point(x, 2)
		f.Line("memonly").Point(x, 300)
	}
	text := answerText([]*report.Section{{Name: "snapshot-static", Figures: []*report.Figure{f}}})["RQ4"]
	if !strings.Contains(text, "full dump takes 300 ms") || !strings.Contains(text, "150 times less") {
		t.Error(text)
	}
}

func TestAnswers_CPUOfUpdatesIsTakenFromTheTable(t *testing.T) {
	tab := &report.Table{Name: "headtohead", Header: []string{"mix", "distribution", "engine", "CPU per operation"}, Rows: [][]string{
		{"update", "zipf", "hybridlog", "176 ns"}, {"update", "zipf", "lsm", "299 ns"}, {"read", "zipf", "lsm", "529 ns"}}}
	h := &report.Section{Name: "headtohead", Tables: []*report.Table{tab}, Figures: []*report.Figure{
		bars("headtohead-update", "zipf", map[string]float64{"hybridlog": 9e6, "lsm": 1e6})}}
	const want = "CPU of an update, headtohead, zipf: hybridlog 176 ns, lsm 299 ns."
	if got := answerText([]*report.Section{h})["RQ1"]; !strings.Contains(got, want) {
		t.Errorf("RQ1 lacks %q: %s", want, got)
	}
}
