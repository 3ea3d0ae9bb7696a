package contest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Stalls is a contest of latencies at a fixed rate of operations while snapshots are taken.
type Stalls struct {
	Name, Title string
	Contestants []Contestant
	Shape       Shape
	Memory      int64
	Dist        workload.Dist
	Mix         workload.Mix
	Goroutines  int
	Rate        float64
	Each        time.Duration
	Every       time.Duration // between two snapshots; 0 = none
	Dir         string
	Out         io.Writer
	Step        func(format string, args ...any)
	At          func(done, total float64, note string)
}

// Run measures every engine once without and once with snapshots.
func (c Stalls) Run(ctx context.Context) (*report.Section, error) {
	s := &report.Section{Name: c.Name, Title: c.Title, Settings: fmt.Sprintf(
		"%s, memory %s each, %s, %s, open loop at %s in %d goroutines for %v, a snapshot every %v; latency from the time an operation was due.",
		c.Shape, report.Bytes(c.Memory), c.Mix.Name, c.Dist, report.Rate(c.Rate), c.Goroutines, c.Each, c.Every)}
	tab := &report.Table{Name: c.Name, Title: "Latency of operations",
		Header: []string{"engine", "snapshots", "operations/s", "p50", "p99", "p99.9", "longest"}}
	fig := &report.Figure{Name: c.Name, Title: c.Title, XLabel: "quantile of operations", YLabel: "latency (µs)", LogY: true}
	for i, contestant := range c.Contestants {
		c.Step("%s: %s", c.Name, contestant.Name)
		e, err := Enter(contestant, c.Dir, c.Shape, c.Goroutines)
		if err != nil {
			return nil, err
		}
		err = e.Driver.Load(ctx, 0, c.Shape.Keys, func(done int) {
			c.At(float64(i)+0.3*float64(done)/float64(c.Shape.Keys), float64(len(c.Contestants)), "")
		})
		if err == nil {
			err = e.Engine.Snapshot(1)
		}
		for k, every := range []time.Duration{0, c.Every} {
			if err != nil || k > 0 && every == 0 {
				break
			}
			var res workload.Result
			var taken int
			if res, taken, err = c.measure(ctx, e, every, uint64(100*k)); err != nil {
				break
			}
			l := res.All
			tab.Add(contestant.Name, taken, report.Rate(res.Rate()), l.Quantile(.5), l.Quantile(.99), l.Quantile(.999), l.Max())
			if every > 0 || c.Every == 0 {
				for _, q := range []float64{.5, .9, .99, .999} {
					fig.Bar(fmt.Sprintf("p%v", q*100), contestant.Name, []float64{float64(l.Quantile(q)) / 1e3})
				}
			}
			c.At(float64(i)+0.3+0.35*float64(k+1), float64(len(c.Contestants)), "")
		}
		if err = errors.Join(err, e.Leave()); err != nil {
			return nil, fmt.Errorf("%s: %w", contestant.Name, err)
		}
	}
	s.Tables, s.Figures = []*report.Table{tab}, []*report.Figure{fig}
	_ = tab.Markdown(c.Out)
	return s, nil
}

// measure runs the load with a snapshot every so often beside it and returns how many were taken.
func (c Stalls) measure(ctx context.Context, e *Entry, every time.Duration, version uint64) (workload.Result, int, error) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	var snapErr error
	taken := 0
	if every > 0 {
		t := time.NewTicker(every)
		defer t.Stop()
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-done:
					return
				case <-t.C:
					taken++
					if snapErr = e.Engine.Snapshot(version + 1 + uint64(taken)); snapErr != nil {
						return
					}
				}
			}
		}()
	}
	plan := workload.NewPlan(c.Dist, c.Mix, c.Shape.Keys, 1<<20, 5)
	res := workload.Run(ctx, workload.Config{Goroutines: c.Goroutines, Duration: c.Each, Rate: c.Rate}, plan, e.Driver.Do)
	close(done)
	wg.Wait()
	return res, taken, errors.Join(res.Err, snapErr, ctx.Err())
}
