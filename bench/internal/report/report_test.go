package report

import (
	"bytes"
	"encoding/csv"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCell_TextOfNumbers(t *testing.T) {
	for _, c := range []struct {
		in   any
		want string
	}{
		{1234567, "1,234,567"}, {int64(-1234), "-1,234"}, {999, "999"}, {0.0, "0"}, {3.14159, "3.14"},
		{123456.7, "123,457"}, {math.NaN(), "–"}, {math.Inf(1), "∞"}, {0.00123456, "0.00123"},
		{500 * time.Nanosecond, "500 ns"}, {1500 * time.Nanosecond, "1.50 µs"}, {2346 * time.Millisecond, "2.35 s"},
		{time.Duration(0), "0"}, {"lsm", "lsm"},
	} {
		if got := Cell(c.in); got != c.want {
			t.Errorf("Cell(%v) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := Bytes(3 << 19); got != "1.50 MiB" {
		t.Errorf("Bytes: %q", got)
	}
	if got := Rate(2_500_000); got != "2.50 M/s" {
		t.Errorf("Rate: %q", got)
	}
}

func TestMedian_OddEvenNone(t *testing.T) {
	for _, c := range []struct {
		in             []float64
		med, low, high float64
	}{
		{[]float64{3, 1, 2}, 2, 1, 3}, {[]float64{4, 1, 3, 2}, 2.5, 1, 4}, {[]float64{7}, 7, 7, 7},
	} {
		med, low, high := Median(c.in)
		if med != c.med || low != c.low || high != c.high {
			t.Errorf("Median(%v) = %v %v %v", c.in, med, low, high)
		}
	}
	if med, _, _ := Median(nil); !math.IsNaN(med) {
		t.Errorf("Median of nothing: %v", med)
	}
}

func sample() *Report {
	line := &Figure{Name: "line", Title: "Write latency and maximum runs", XLabel: "runs per level", YLabel: "latency (µs)", LogY: true}
	bar := &Figure{Name: "bar", Title: "Throughput, update-only", XLabel: "distribution", YLabel: "operations per second", LogY: true}
	lin := &Figure{Name: "linear", Title: "Snapshots of a growing state", XLabel: "records written", YLabel: "snapshot (ms)"}
	for e, name := range []string{"hybridlog", "lsm", "appendlog", "memonly"} {
		for x := 2.0; x <= 16; x += 2 {
			y := math.Pow(4, float64(e)) * (1 + x/10)
			line.Line(name).Spread(x, []float64{y, y * 1.2, y * .8})
			lin.Line(name).Point(x*10_000, y)
		}
		for _, d := range []string{"uniform", "zipf", "hotset"} {
			bar.Bar(d, name, []float64{math.Pow(7, float64(7-e)), math.Pow(7, float64(7-e)) * 1.3})
		}
	}
	line.Line("lsm").Point(17, 0) // cannot be drawn on this axis, must not break it
	tab := &Table{Name: "tab", Title: "Medians", Header: []string{"engine", "ops/s", "p99"}}
	tab.Add("hybridlog", 1234567, 15*time.Microsecond)
	tab.Add("lsm, <with> comma", 1234, 3*time.Millisecond)
	return &Report{Title: "A run", Created: time.Unix(0, 0).UTC(), Facts: [][2]string{{"commit", "abc"}},
		Answers: []Answer{{Name: "RQ1", Question: "which?", Text: []string{"this one"}}},
		Sections: []*Section{{Name: "one", Title: "One", Settings: "N=1", Text: []string{"It's so."},
			Tables: []*Table{tab}, Figures: []*Figure{line, bar, lin}}}}
}

func TestReport_PageNeedsNoOtherFile(t *testing.T) {
	dir := t.TempDir()
	if keep := os.Getenv("HLOG_REPORT_SAMPLE"); keep != "" {
		dir = keep
	}
	name, err := sample().Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if n := strings.Count(page, `src="data:image/png;base64,`); n != 3 {
		t.Errorf("%d pictures inside the page, want 3", n)
	}
	for _, bad := range []string{`src="http`, `href="http`, "<with>", ">NaN<", "<no value>"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, want := range []string{"RQ1 which?", "1,234,567", "15.0 µs", "It&#39;s so.", "Medians"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, f := range []string{"line.png", "line.svg", "line.csv", "bar.png", "bar.svg", "bar.csv", "tab.csv"} {
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestFigure_PNGHasTheSizeThatWasAsked(t *testing.T) {
	for _, f := range sample().Sections[0].Figures {
		var b bytes.Buffer
		if err := f.PNG(&b); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		if w := img.Bounds().Dx(); w < 1090 || w > 1100 {
			t.Errorf("%s: %d pixels wide", f.Name, w)
		}
	}
}

// A bar is ten times as long as another one where its value is ten times as large; on a logarithmic axis there are no bars.
func TestFigure_BarsAreAsLongAsTheirValues(t *testing.T) {
	painted := func(value float64, logY bool) (pixels float64) {
		f := &Figure{Name: "bars", YLabel: "operations", LogY: logY}
		for _, name := range []string{"hybridlog", "lsm"} {
			f.Bar("uniform", name, []float64{map[string]float64{"hybridlog": value, "lsm": 1000}[name]})
		}
		var b bytes.Buffer
		if err := f.PNG(&b); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		size := img.Bounds()
		for x := size.Min.X; x < size.Max.X*3/4; x++ { // the legend is to the right of that
			for y := size.Min.Y; y < size.Max.Y; y++ {
				if color.RGBAModel.Convert(img.At(x, y)) == color.Color(palette[0]) {
					pixels++
				}
			}
		}
		return pixels
	}
	if ratio := painted(1000, false) / painted(100, false); ratio < 9 || ratio > 11 {
		t.Errorf("a bar of ten times the value is %.1f times as long", ratio)
	}
	if ratio := painted(1000, true) / painted(100, true); ratio < 0.8 || ratio > 1.2 {
		t.Errorf("on a logarithmic axis a value of ten times as much has %.1f times the area", ratio)
	}
}

func TestFigure_NothingToDrawIsAnError(t *testing.T) {
	f := &Figure{Name: "empty", LogY: true}
	f.Line("a").Point(1, 0)
	if err := f.PNG(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("error %v", err)
	}
}

func TestTable_CSVReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Sections[0].Tables[0].CSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || rows[1][1] != "1234567" || rows[2][0] != "lsm, <with> comma" {
		t.Errorf("rows %q", rows)
	}
}

func TestTable_MarkdownLinesUp(t *testing.T) {
	var b bytes.Buffer
	if err := sample().Sections[0].Tables[0].Markdown(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")[2:]
	for _, l := range lines {
		if len([]rune(l)) != len([]rune(lines[0])) {
			t.Errorf("ragged:\n%s", b.String())
			break
		}
	}
}
