package contest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Recovery is a contest of opening a store again: after a clean close, and from what a crash right after a
// snapshot leaves.
type Recovery struct {
	Name, Title string
	Contestants []Contestant
	Sizes       []Recoverable
	Memory      int64
	XLabel      string // of the figures: what X of the sizes is
	LogX        bool
	Dist        workload.Dist
	Rounds      int
	Dir         string
	Out         io.Writer
	Step        func(format string, args ...any)
	At          func(done, total float64, note string)
}

// Recoverable is one size at which recovery is timed.
type Recoverable struct {
	X      float64
	Shape  Shape
	Writes int // after the load of every key once
}

// Run takes every engine through every size.
func (c Recovery) Run(ctx context.Context) (*report.Section, error) {
	s := &report.Section{Name: c.Name, Title: c.Title, Settings: fmt.Sprintf(
		"Memory %s each; time from the call that opens the store until a first read is served, the earlier instance closed; median of %d. The crash is a copy of the directory taken right after a snapshot while the store was open.",
		report.Bytes(c.Memory), c.Rounds)}
	clean := &report.Figure{Name: c.Name, Title: c.Title + ", after a clean close", XLabel: c.XLabel, YLabel: "open and first read (ms)", LogX: c.LogX, LogY: true}
	crash := &report.Figure{Name: c.Name + "-crash", Title: c.Title + ", after a crash", XLabel: c.XLabel, YLabel: "open and first read (ms)", LogX: c.LogX, LogY: true}
	tab := &report.Table{Name: c.Name, Title: "Open until the first read is served, median (lowest – highest)",
		Header: []string{c.XLabel, "engine", "after a close", "after a crash", "files"}}
	c.Step("%s", c.Name)
	for i, size := range c.Sizes {
		for k, contestant := range c.Contestants {
			closed, crashed, files, err := c.measure(ctx, contestant, size)
			if err != nil {
				return nil, fmt.Errorf("%s at %v: %w", contestant.Name, size.X, err)
			}
			clean.Line(contestant.Name).Spread(size.X, closed)
			crash.Line(contestant.Name).Spread(size.X, crashed)
			tab.Add(int64(size.X), contestant.Name, spreadText(closed), spreadText(crashed), report.Bytes(files))
			c.At(float64(i*len(c.Contestants)+k+1), float64(len(c.Sizes)*len(c.Contestants)), contestant.Name)
		}
	}
	s.Tables, s.Figures = []*report.Table{tab}, []*report.Figure{clean, crash}
	_ = tab.Markdown(c.Out)
	return s, nil
}

func spreadText(runs []float64) string {
	med, low, high := report.Median(runs)
	return fmt.Sprintf("%s (%s – %s)", report.Duration(ms(med)), report.Duration(ms(low)), report.Duration(ms(high)))
}

// measure returns the milliseconds of each round after a close and after a crash, and the size of the files.
func (c Recovery) measure(ctx context.Context, contestant Contestant, size Recoverable) (closed, crashed []float64, files int64, err error) {
	e, err := Enter(contestant, c.Dir, size.Shape, 2)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, e.Leave()) }()
	if err := e.Driver.Load(ctx, 0, size.Shape.Keys, nil); err != nil {
		return nil, nil, 0, err
	}
	if size.Writes > 0 {
		plan := workload.NewPlan(c.Dist, workload.Mix{Set: 100}, size.Shape.Keys, min(size.Writes, 1<<20), 3)
		res := workload.Run(ctx, workload.Config{Goroutines: 2, Ops: size.Writes, Sample: -1}, plan, e.Driver.Do)
		if err := errors.Join(res.Err, ctx.Err()); err != nil {
			return nil, nil, 0, err
		}
	}
	if err := e.Engine.Snapshot(1); err != nil {
		return nil, nil, 0, err
	}
	image := e.Dir + "-crash"
	defer os.RemoveAll(image)
	if err := CopyDir(image, e.Dir); err != nil {
		return nil, nil, 0, err
	}
	for r := range c.Rounds {
		t, err := e.Reopen(uint32((r*7919 + 1) % size.Shape.Keys))
		if err != nil {
			return nil, nil, 0, err
		}
		closed = append(closed, float64(t)/float64(time.Millisecond))
	}
	if err := e.Check(); err != nil {
		return nil, nil, 0, err
	}
	if files, err = DiskBytes(e.Dir); err != nil {
		return nil, nil, 0, err
	}
	for r := range c.Rounds {
		t, err := c.reopenCopy(e, image, uint32((r*7919+1)%size.Shape.Keys))
		if err != nil {
			return nil, nil, 0, err
		}
		crashed = append(crashed, float64(t)/float64(time.Millisecond))
	}
	return closed, crashed, files, nil
}

// reopenCopy opens a fresh copy of a crashed directory, since the first opening of one may repair it. The engine of the
// entry stays what it was.
func (c Recovery) reopenCopy(e *Entry, image string, key uint32) (took time.Duration, err error) {
	dir := image + "-opened"
	defer os.RemoveAll(dir)
	if err := CopyDir(dir, image); err != nil {
		return 0, err
	}
	twin := &Entry{Name: e.Name, Driver: NewDriver(nil, e.Driver.shape, 1), again: e.again}
	took, err = twin.reopen(dir, key)
	if twin.Engine != nil {
		if err == nil {
			err = twin.Check()
		}
		err = errors.Join(err, twin.Engine.Close())
	}
	return took, err
}
