package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
)

// Series is one line or one set of bars. Low and High, when they are as long as Y, are the spread of the runs that Y
// is the median of.
type Series struct {
	Name      string
	X, Y      []float64
	Low, High []float64
}

// Point appends one measurement without a spread.
func (s *Series) Point(x, y float64) {
	s.X, s.Y = append(s.X, x), append(s.Y, y)
}

// Spread appends the median of several runs together with their lowest and highest.
func (s *Series) Spread(x float64, runs []float64) {
	med, low, high := Median(runs)
	s.X, s.Y = append(s.X, x), append(s.Y, med)
	s.Low, s.High = append(s.Low, low), append(s.High, high)
}

// Median returns the median of runs, the lowest and the highest; NaN when there are none.
func Median(runs []float64) (med, low, high float64) {
	if len(runs) == 0 {
		return math.NaN(), math.NaN(), math.NaN()
	}
	s := append([]float64(nil), runs...)
	for i := 1; i < len(s); i++ { // a handful of values
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]
}

// Figure is a plot before it is drawn. With Categories it is a bar chart: X of each point is the number of its
// category; otherwise every series is a line.
type Figure struct {
	Name       string // file name without its ending, unique in a report
	Title      string
	XLabel     string // with its unit
	YLabel     string // with its unit
	LogX, LogY bool
	Categories []string
	Series     []*Series
}

// Line returns the series of that name, appending a new one when there is none yet.
func (f *Figure) Line(name string) *Series {
	for _, s := range f.Series {
		if s.Name == name {
			return s
		}
	}
	s := &Series{Name: name}
	f.Series = append(f.Series, s)
	return s
}

// Bar adds a bar of a series to a category, which is added when it is new.
func (f *Figure) Bar(category, series string, runs []float64) {
	at := -1
	for i, c := range f.Categories {
		if c == category {
			at = i
		}
	}
	if at < 0 {
		at = len(f.Categories)
		f.Categories = append(f.Categories, category)
	}
	f.Line(series).Spread(float64(at), runs)
}

// Wide reports whether the values differ so much that the small ones would vanish on a linear axis.
func (f *Figure) Wide() bool {
	low, high := math.Inf(1), 0.0
	for _, s := range f.Series {
		for _, y := range s.Y {
			if y > 0 {
				low, high = min(low, y), max(high, y)
			}
		}
	}
	return high > 25*low
}

// CSV writes one row per point: series, x (or the category), y, low, high.
func (f *Figure) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write([]string{"series", f.XLabel, f.YLabel, "low", "high"}); err != nil {
		return err
	}
	num := func(v float64) string {
		if math.IsNaN(v) {
			return ""
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	for _, s := range f.Series {
		for i := range s.X {
			x := num(s.X[i])
			if f.Categories != nil {
				x = f.Categories[int(s.X[i])]
			}
			low, high := "", ""
			if len(s.Low) == len(s.Y) {
				low, high = num(s.Low[i]), num(s.High[i])
			}
			if err := c.Write([]string{s.Name, x, num(s.Y[i]), low, high}); err != nil {
				return err
			}
		}
	}
	c.Flush()
	return c.Error()
}

// Short prints an axis number: 500, 10k, 2.5M.
func Short(v float64) string {
	a := math.Abs(v)
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if a >= u.size {
			return strconv.FormatFloat(v/u.size, 'g', 4, 64) + u.name
		}
	}
	if a > 0 && a < 1e-4 {
		return fmt.Sprintf("%.0e", v)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
