package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Table is a grid of text with a header.
type Table struct {
	Name   string // file name without its ending, unique in a report
	Title  string
	Header []string
	Rows   [][]string
}

// Add appends a row; each cell is formatted by its type: durations, rates and plain numbers with three digits.
func (t *Table) Add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = Cell(c)
	}
	t.Rows = append(t.Rows, row)
}

// Cell is the text of one value: a duration in the unit that suits it, a float with three significant digits, an integer with
// thousands apart, anything else as fmt prints it.
func Cell(c any) string {
	switch v := c.(type) {
	case time.Duration:
		return Duration(v)
	case float64:
		return Float(v)
	case int:
		return Thousands(int64(v))
	case int64:
		return Thousands(v)
	case uint64:
		return Thousands(int64(v))
	default:
		return fmt.Sprint(v)
	}
}

// Float prints three significant digits without an exponent, a dash for what was not measured.
func Float(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case math.IsInf(v, 0):
		return "∞"
	case a >= 1000:
		return Thousands(int64(math.Round(v)))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	case a == 0:
		return "0"
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// Thousands prints n with its digits in groups of three.
func Thousands(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Duration prints d with three digits in ns, µs, ms or s.
func Duration(d time.Duration) string {
	a := d.Abs()
	switch {
	case a == 0:
		return "0"
	case a < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case a < time.Millisecond:
		return Float(float64(d)/float64(time.Microsecond)) + " µs"
	case a < time.Second:
		return Float(float64(d)/float64(time.Millisecond)) + " ms"
	default:
		return Float(d.Seconds()) + " s"
	}
}

// Bytes prints n in B, KiB, MiB or GiB.
func Bytes(n int64) string {
	switch f := float64(n); {
	case n < 0:
		return "-" + Bytes(-n)
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return Float(f/(1<<10)) + " KiB"
	case n < 1<<30:
		return Float(f/(1<<20)) + " MiB"
	default:
		return Float(f/(1<<30)) + " GiB"
	}
}

// Rate prints operations per second with k or M.
func Rate(perSecond float64) string {
	switch {
	case perSecond >= 1e6:
		return Float(perSecond/1e6) + " M/s"
	case perSecond >= 1e3:
		return Float(perSecond/1e3) + " k/s"
	default:
		return Float(perSecond) + " /s"
	}
}

// Markdown writes the table as GitHub does, columns aligned for people who read the source.
func (t *Table) Markdown(w io.Writer) error {
	widths := t.widths()
	var b strings.Builder
	if t.Title != "" {
		fmt.Fprintf(&b, "%s\n\n", t.Title)
	}
	line := func(cells []string) {
		b.WriteByte('|')
		for i, width := range widths {
			cell := ""
			if i < len(cells) {
				cell = cells[i]
			}
			fill := strings.Repeat(" ", width-utf8.RuneCountInString(cell))
			if i > 0 && numeric(cell) {
				b.WriteString(" " + fill + cell + " |")
			} else {
				b.WriteString(" " + cell + fill + " |")
			}
		}
		b.WriteByte('\n')
	}
	line(t.Header)
	b.WriteByte('|')
	for _, width := range widths {
		b.WriteString(strings.Repeat("-", width+2) + "|")
	}
	b.WriteByte('\n')
	for _, r := range t.Rows {
		line(r)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) widths() []int {
	widths := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			if i < len(widths) {
				widths[i] = max(widths[i], utf8.RuneCountInString(cell))
			}
		}
	}
	return widths
}

// numeric reports whether a cell begins like a number, and so is set flush right.
func numeric(s string) bool {
	s = strings.TrimLeft(s, "-+×<>≤≥ ")
	return s != "" && s[0] >= '0' && s[0] <= '9'
}

// CSV writes header and rows in RFC 4180 form, numbers without their group commas.
func (t *Table) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	if err := c.Write(t.Header); err != nil {
		return err
	}
	for _, row := range t.Rows {
		out := make([]string, len(row))
		for i, cell := range row {
			if numeric(cell) {
				cell = strings.ReplaceAll(cell, ",", "")
			}
			out[i] = cell
		}
		if err := c.Write(out); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
