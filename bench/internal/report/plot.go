package report

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Size of a figure. The legend has a strip of its own to the right of the axes, so that it can never cover a line.
const (
	figureWidth  = 7.6 * vg.Inch
	figureHeight = 3.9 * vg.Inch
	pngDPI       = 144
)

// palette is Okabe and Ito's, which people with any kind of colour vision can tell apart; its yellow is left out because
// it vanishes on white.
var palette = []color.RGBA{
	{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, // blue
	{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, // vermilion
	{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, // green
	{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, // purple
	{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, // sky
	{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}, // orange
	{R: 0x44, G: 0x44, B: 0x44, A: 0xff}, // grey
	{R: 0x88, G: 0x22, B: 0x55, A: 0xff}, // wine
	{R: 0x33, G: 0x22, B: 0x88, A: 0xff}, // indigo
}

var shapes = []draw.GlyphDrawer{
	draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{},
	draw.TriangleGlyph{}, draw.CrossGlyph{}, draw.PlusGlyph{}, draw.CircleGlyph{},
}

// colorOf keeps an engine's colour the same in every figure; other names take colours in order of appearance.
func colorOf(name string, at int) int {
	for i, known := range []string{"hybridlog", "lsm", "appendlog", "memonly"} {
		if name == known {
			return i
		}
	}
	return at % len(palette)
}

// PNG draws the figure.
func (f *Figure) PNG(w io.Writer) error {
	c := vgimg.NewWith(vgimg.UseWH(figureWidth, figureHeight), vgimg.UseDPI(pngDPI))
	if err := f.draw(draw.New(c)); err != nil {
		return err
	}
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}

// SVG draws the figure with its fonts inside, so that it looks the same everywhere.
func (f *Figure) SVG(w io.Writer) error {
	c := vgsvg.NewWith(vgsvg.UseWH(figureWidth, figureHeight), vgsvg.EmbedFonts(true))
	if err := f.draw(draw.New(c)); err != nil {
		return err
	}
	_, err := c.WriteTo(w)
	return err
}

// draw lays out the axes on the left and the legend on the right.
func (f *Figure) draw(c draw.Canvas) error {
	c.FillPolygon(color.White, []vg.Point{{}, {X: figureWidth}, {X: figureWidth, Y: figureHeight}, {Y: figureHeight}})
	p := plot.New()
	p.Title.Text = f.Title
	p.Title.TextStyle.Font.Size = 12
	p.Title.Padding = 6
	p.X.Label.Text = f.XLabel
	p.X.Padding, p.Y.Padding = 3, 3
	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.Padding = 3
	legend.ThumbnailWidth = 16

	for _, style := range []*text.Style{&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle,
		&p.X.Tick.Label, &p.Y.Tick.Label, &legend.TextStyle} {
		style.Font.Variant = "Sans"
	}
	p.X.Label.TextStyle.Font.Size, p.Y.Label.TextStyle.Font.Size, legend.TextStyle.Font.Size = 10, 10, 10

	xs, ys := f.extent()
	if xs.empty() || ys.empty() {
		return fmt.Errorf("bench: figure %s has no point to draw", f.Name)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 0xe4}, color.Gray{Y: 0xe4}
	if f.Categories != nil {
		grid.Vertical.Color = nil
	}
	p.Add(grid)
	if f.Categories != nil {
		f.addBars(p, &legend)
	} else if err := f.addLines(p, &legend); err != nil {
		return err
	}
	f.scale(p, xs, ys)

	width := vg.Length(0)
	if len(f.Series) > 1 {
		width = legend.Rectangle(c).Size().X + 14
		right := draw.Crop(c, c.Size().X-width+8, -4, 0, -34)
		legend.Draw(right)
	}
	// The label of the y axis is drawn here: on a logarithmic axis, gonum leaves room for it where it is not.
	side := p.Y.Label.TextStyle
	side.Rotation, side.XAlign, side.YAlign = math.Pi/2, draw.XCenter, draw.YTop
	c.FillText(side, vg.Point{X: c.Min.X + 4, Y: (c.Min.Y + c.Max.Y) / 2}, f.yLabel())
	p.Draw(draw.Crop(c, 4+1.5*side.Font.Size, -width-8, 4, -4))
	return nil
}

// yLabel says of a logarithmic axis that it is one.
func (f *Figure) yLabel() string {
	if f.LogY {
		return f.YLabel + ", logarithmic scale"
	}
	return f.YLabel
}

// span is the smallest interval that holds what was shown to it.
type span struct{ low, high float64 }

func (s span) empty() bool { return s.low > s.high }

func (s *span) show(v float64, log bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) || log && v <= 0 {
		return
	}
	s.low, s.high = min(s.low, v), max(s.high, v)
}

func (f *Figure) extent() (xs, ys span) {
	xs = span{math.Inf(1), math.Inf(-1)}
	ys = xs
	for _, s := range f.Series {
		for i := range s.X {
			if !f.shown(s, i) {
				continue
			}
			xs.show(s.X[i], f.LogX)
			ys.show(s.Y[i], f.LogY)
			if len(s.Low) == len(s.Y) {
				ys.show(s.Low[i], f.LogY)
				ys.show(s.High[i], f.LogY)
			}
		}
	}
	return xs, ys
}

// shown reports whether a point can be drawn on the axes as they are.
func (f *Figure) shown(s *Series, i int) bool {
	x, y := s.X[i], s.Y[i]
	return !math.IsNaN(y) && !math.IsInf(y, 0) && (!f.LogX || x > 0) && (!f.LogY || y > 0)
}

// scale sets ranges, scales and ticks.
func (f *Figure) scale(p *plot.Plot, xs, ys span) {
	if f.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, logTicks{}
		p.Y.Min, p.Y.Max = ys.low/1.4, ys.high*1.4
		if ys.high/ys.low < 8 { // keep at least one power of ten in sight
			mid := math.Sqrt(ys.low * ys.high)
			p.Y.Min, p.Y.Max = mid/4, mid*4
		}
	} else {
		p.Y.Tick.Marker = shortTicks{}
		p.Y.Min, p.Y.Max = min(0, ys.low), ys.high*1.08
		if p.Y.Max <= p.Y.Min {
			p.Y.Max = p.Y.Min + 1
		}
	}
	if f.Categories != nil {
		p.X.Min, p.X.Max = -0.55, float64(len(f.Categories))-0.45
		p.NominalX(f.Categories...)
		p.X.Min, p.X.Max = -0.55, float64(len(f.Categories))-0.45
		return
	}
	if f.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, logTicks{}
		p.X.Min, p.X.Max = xs.low/1.1, xs.high*1.1
		return
	}
	pad := (xs.high - xs.low) * 0.03
	if pad == 0 {
		pad = 1
	}
	p.X.Tick.Marker = shortTicks{}
	p.X.Min, p.X.Max = xs.low-pad, xs.high+pad
}

// points is a series as the plotters want it, without what cannot be drawn.
type points struct {
	plotter.XYs
	plotter.YErrors
}

func (f *Figure) points(s *Series) points {
	var out points
	for i := range s.X {
		if !f.shown(s, i) {
			continue
		}
		out.XYs = append(out.XYs, plotter.XY{X: s.X[i], Y: s.Y[i]})
		if len(s.Low) == len(s.Y) {
			low := s.Low[i]
			if f.LogY && low <= 0 {
				low = s.Y[i]
			}
			out.YErrors = append(out.YErrors, struct{ Low, High float64 }{s.Y[i] - low, s.High[i] - s.Y[i]})
		}
	}
	return out
}

func (f *Figure) addLines(p *plot.Plot, legend *plot.Legend) error {
	for at, s := range f.Series {
		pts := f.points(s)
		if len(pts.XYs) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(pts.XYs)
		if err != nil {
			return fmt.Errorf("bench: figure %s, series %s: %w", f.Name, s.Name, err)
		}
		n := colorOf(s.Name, at)
		line.Color, line.Width = palette[n], vg.Points(1.6)
		dots.Color, dots.Shape, dots.Radius = palette[n], shapes[n], vg.Points(2.6)
		if len(pts.XYs) > 60 {
			dots.Radius = vg.Points(1)
		}
		p.Add(line, dots)
		if len(pts.YErrors) == len(pts.XYs) {
			bars, err := plotter.NewYErrorBars(pts)
			if err != nil {
				return fmt.Errorf("bench: figure %s, series %s: %w", f.Name, s.Name, err)
			}
			bars.Color = palette[n]
			p.Add(bars)
		}
		legend.Add(s.Name, line, dots)
	}
	return nil
}

func (f *Figure) addBars(p *plot.Plot, legend *plot.Legend) {
	for at, s := range f.Series {
		b := &bars{figure: f, series: s, at: at, of: len(f.Series), fill: palette[colorOf(s.Name, at)]}
		p.Add(b)
		legend.Add(s.Name, b)
	}
}

// bars draws the bars of one series from zero up, so that they are as long as what they show is large. No bar is that on a
// logarithmic scale, which has no zero: there each value is a stroke.
type bars struct {
	figure *Figure
	series *Series
	at, of int
	fill   color.RGBA
}

// Plot implements plot.Plotter.
func (b *bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	const group = 0.82 // share of a category's width that its bars take together
	const stroke = 5
	w := group / float64(b.of)
	for i, cat := range b.series.X {
		if !b.figure.shown(b.series, i) {
			continue
		}
		left := cat - group/2 + float64(b.at)*w
		x0, x1 := x(left+0.04*w), x(left+0.96*w)
		y0, y1 := y(max(0, p.Y.Min)), y(b.series.Y[i])
		if b.figure.LogY {
			y0, y1 = y1-stroke/2, y1+stroke/2
		}
		c.FillPolygon(b.fill, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
		if len(b.series.Low) == len(b.series.Y) && b.series.High[i] > b.series.Low[i] {
			mid := (x0 + x1) / 2
			low := max(b.series.Low[i], p.Y.Min)
			c.StrokeLine2(draw.LineStyle{Color: color.Gray{Y: 0x30}, Width: vg.Points(0.8)}, mid, y(low), mid, y(b.series.High[i]))
		}
	}
}

// Thumbnail implements plot.Thumbnailer.
func (b *bars) Thumbnail(c *draw.Canvas) {
	c.FillPolygon(b.fill, []vg.Point{
		{X: c.Min.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Min.Y}, {X: c.Max.X, Y: c.Max.Y}, {X: c.Min.X, Y: c.Max.Y}})
}

// shortTicks are round numbers at even distances, written like 10k and 2.5M.
type shortTicks struct{}

// Ticks implements plot.Ticker.
func (shortTicks) Ticks(low, high float64) []plot.Tick {
	const about = 6 // labels on an axis
	raw := (high - low) / about
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{2, 2.5, 2} { // 2, 5, 10 times the power of ten
		if step >= raw {
			break
		}
		step *= m
	}
	var out []plot.Tick
	for i := math.Ceil(low/step) + 0; i*step <= high; i++ { // + 0 makes a plain zero of a negative one
		out = append(out, plot.Tick{Value: i * step, Label: Short(i * step)})
	}
	return out
}

// logTicks label the powers of ten, and 2 and 5 between them when few powers are in sight.
type logTicks struct{}

// Ticks implements plot.Ticker.
func (logTicks) Ticks(low, high float64) []plot.Tick {
	var out []plot.Tick
	decades := math.Log10(high / low)
	for e := math.Floor(math.Log10(low)); e <= math.Ceil(math.Log10(high)); e++ {
		for m := 1.0; m < 10; m++ {
			v := m * math.Pow(10, e)
			if v < low || v > high {
				continue
			}
			label := ""
			if m == 1 || decades < 2.5 && (m == 2 || m == 5) {
				label = Short(v)
			}
			out = append(out, plot.Tick{Value: v, Label: label})
		}
	}
	return out
}
