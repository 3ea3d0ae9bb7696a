package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// fleet is several targets that hold the same keys, to be measured in turns.
type fleet struct {
	names   []string
	targets map[string]target
	owned   []target
	keys    int
	value   int
}

// newFleet makes and loads targets; those that are doors of the store share one.
func newFleet(dir string, keys, valueBytes int, names []string) (*fleet, error) {
	f := &fleet{names: names, targets: map[string]target{}, keys: keys, value: valueBytes}
	var store *storeTarget
	for _, name := range names {
		if store != nil && name != "xsync" && name != "sharded" {
			f.targets[name] = store.as(name)
			continue
		}
		t, err := newTarget(name, dir, keys, valueBytes)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.owned = append(f.owned, t)
		f.targets[name] = t
		store, _ = pickStore(store, t)
		if err := t.load(keys); err != nil {
			return nil, errors.Join(fmt.Errorf("loading %s: %w", name, err), f.close())
		}
	}
	return f, nil
}

func pickStore(have *storeTarget, t target) (*storeTarget, bool) {
	if s, ok := t.(*storeTarget); ok && have == nil {
		return s, true
	}
	return have, false
}

func (f *fleet) close() error {
	var err error
	for _, t := range f.owned {
		err = errors.Join(err, t.close())
	}
	f.owned = nil
	return err
}

// picks are the keys that each of several goroutines will use, in its order.
func picks(d workload.Dist, keys, goroutines int) [][]uint64 {
	out := make([][]uint64, goroutines)
	for g := range out {
		out[g] = workload.Keys64(d.Picks(keys, min(1<<21, max(1<<16, 4*keys)), uint64(g)+1))
	}
	return out
}

// chunk is how many operations are done between two looks at the clock.
const chunk = 4096

// drive runs op over picks on one target for about the time given and returns operations per second.
func drive(t target, op workload.Op, picks [][]uint64, at *int, d time.Duration) (float64, error) {
	var wg sync.WaitGroup
	errs := make([]error, len(picks))
	var ops atomic.Int64
	runners := make([]runner, len(picks))
	for g := range runners {
		var err error
		if runners[g], err = t.runner(); err != nil {
			return 0, err
		}
	}
	from := *at
	begin := time.Now()
	for g, r := range runners {
		wg.Add(1)
		go func() {
			defer wg.Done()
			p := picks[g]
			i := from % len(p) / chunk * chunk
			n := 0
			for time.Since(begin) < d {
				c := p[i:min(i+chunk, len(p))]
				if errs[g] = r.run(op, c); errs[g] != nil {
					return
				}
				n += len(c)
				if i += chunk; i >= len(p) {
					i = 0
				}
			}
			ops.Add(int64(n))
		}()
	}
	wg.Wait()
	rate := float64(ops.Load()) / time.Since(begin).Seconds()
	*at = from + int(ops.Load())/len(picks)
	for _, r := range runners {
		errs = append(errs, r.close())
	}
	return rate, errors.Join(errs...)
}

var microTargets = []string{"table", "tablemulti", "session", "sessionmulti", "store", "xsync", "sharded"}

// runMicro measures every door of the store and the maps in alternating rounds and prints medians and ratios.
func runMicro(ctx context.Context, e *env) (*report.Section, error) {
	keys := or(e.keys, e.n(1_000_000))
	valueBytes := or(e.valueBytes, 8)
	rounds, each := or(e.rounds, 5), or(e.duration, 250*time.Millisecond)
	if e.short {
		rounds, each = 1, 20*time.Millisecond
	}
	names := microTargets
	if valueBytes != 8 {
		names = names[2:]
	}
	e.progress.Step("loading %s keys into %v", report.Thousands(int64(keys)), names)
	f, err := newFleet(e.dir, keys, valueBytes, names)
	if err != nil {
		return nil, err
	}
	defer f.close()
	e.progress.Done("%s keys loaded", report.Thousands(int64(keys)))
	s := &report.Section{Name: "micro", Title: "Operations in memory, against maps",
		Settings: fmt.Sprintf("%s keys of 8 bytes, values of %d, %d alternating rounds of %v, groups of %d; million operations per second.",
			report.Thousands(int64(keys)), valueBytes, rounds, each, group)}
	tab := &report.Table{Name: "micro", Title: "Medians in M operations/s; in parentheses the median of the rounds' ratios to xsync.MapOf"}
	tab.Header = append([]string{"operation"}, names...)
	spread := &report.Table{Name: "micro-rounds", Title: "Lowest and highest round", Header: tab.Header}
	goroutines := []int{1}
	if e.goroutines > 1 {
		goroutines = append(goroutines, e.goroutines)
	}
	dists := e.dists
	if len(dists) == 0 {
		dists = []workload.Dist{{Kind: "uniform"}, {Kind: "zipf"}, {Kind: "hotset"}}
	}
	total := len(dists) * len(goroutines) * 3 * rounds
	done := 0
	e.progress.Step("measuring")
	for _, d := range dists {
		for _, g := range goroutines {
			p := picks(d, keys, g)
			fig := &report.Figure{Name: fmt.Sprintf("micro-%s-g%d", d, g), XLabel: "operation", YLabel: "million operations per second",
				Title: fmt.Sprintf("%s keys, %s, goroutines: %d", report.Thousands(int64(keys)), d, g)}
			for _, op := range []workload.Op{workload.Get, workload.Set, workload.RMW} {
				rates, err := f.rounds(ctx, op, p, rounds, each, func() {
					done++
					e.progress.At(float64(done), float64(total), fmt.Sprintf("%s %v g=%d", d, op, g))
				})
				if err != nil {
					return nil, err
				}
				addMicroRow(tab, spread, fmt.Sprintf("%v, %s, g=%d", op, d, g), names, rates)
				for _, name := range names {
					fig.Bar(op.String(), name, scaled(rates[name], 1e-6))
				}
			}
			s.Figures = append(s.Figures, fig)
		}
	}
	e.progress.Done("measured")
	s.Tables = []*report.Table{tab, spread}
	_ = tab.Markdown(e.out)
	return s, nil
}

// rounds drives each target once per round, in an order that turns with the round, a collection before each round: with large maps
// it takes longer than what is measured.
func (f *fleet) rounds(ctx context.Context, op workload.Op, p [][]uint64, rounds int, each time.Duration, after func()) (map[string][]float64, error) {
	rates := map[string][]float64{}
	at := map[string]*int{}
	for _, name := range f.names {
		at[name] = new(int)
	}
	for r := range rounds {
		runtime.GC()
		for i := range f.names {
			name := f.names[(i+r)%len(f.names)]
			rate, err := drive(f.targets[name], op, p, at[name], each)
			if err != nil {
				return nil, fmt.Errorf("%s %v: %w", name, op, err)
			}
			rates[name] = append(rates[name], rate)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		after()
	}
	return rates, nil
}

func addMicroRow(tab, spread *report.Table, label string, names []string, rates map[string][]float64) {
	row, lowHigh := []any{label}, []any{label}
	for _, name := range names {
		med, low, high := report.Median(rates[name])
		cell := report.Float(med / 1e6)
		if base := rates["xsync"]; name != "xsync" && len(base) == len(rates[name]) {
			ratio := make([]float64, len(base))
			for i := range base {
				ratio[i] = rates[name][i] / base[i]
			}
			r, _, _ := report.Median(ratio)
			cell += fmt.Sprintf(" (%s×)", report.Float(r))
		}
		row = append(row, cell)
		lowHigh = append(lowHigh, report.Float(low/1e6)+" – "+report.Float(high/1e6))
	}
	tab.Add(row...)
	spread.Add(lowHigh...)
}

func scaled(in []float64, by float64) []float64 {
	out := make([]float64, len(in))
	for i, v := range in {
		out[i] = v * by
	}
	return out
}
