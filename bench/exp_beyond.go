package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/hlog"
)

// beyondScale as -scale has -experiment beyond measure a hundred million keys.
const beyondScale = "beyond"

// leastMemory is as little as a store works with.
const leastMemory = 4 << 20

// runBeyond measures states far larger than memory: small records, of which the index alone would take more memory than there
// is, and larger ones of which a quarter fits. Engines are loaded with snapshots in between, and warmed until reads from disk
// stand still before anything is counted.
func runBeyond(ctx context.Context, e *env) (*report.Section, error) {
	const own = 20_000_000
	keys := own
	if e.short {
		keys /= 8 // of a tenth
	}
	small, large := e.shape(keys, 8, 8), e.shape(keys, 8, 100)
	memory := max(leastMemory, int64(128<<20)*int64(small.Keys)/own)
	if e.far {
		small.Keys, memory = or(e.keys, 100_000_000), 256<<20
	}
	whole, err := e.beyond("small", "Small records, memory for less than their index", small, e.engineMemory(memory), true).Run(ctx)
	if err != nil || e.far {
		return whole, err
	}
	more, err := e.beyond("quarter", "Memory for a quarter of the data", large, e.engineMemory(max(leastMemory, large.Bytes()/4)), false).Run(ctx)
	if err != nil {
		return whole, err
	}
	whole.Name, whole.Title = "beyond", "State far larger than memory"
	whole.Settings = "Small records: " + whole.Settings + " A quarter: " + more.Settings
	whole.Tables, whole.Figures = append(whole.Tables, more.Tables...), append(whole.Figures, more.Figures...)
	return whole, nil
}

// beyond is the contest with one shape. With demote the hybrid log moves what is old into its cold tier.
func (e *env) beyond(name, title string, s contest.Shape, memory int64, demote bool) contest.Throughput {
	rounds, each := e.round(3, 5*time.Second)
	if e.short {
		each = 100 * time.Millisecond
	}
	t := contest.Throughput{Name: "beyond-" + name, Title: title, Contestants: e.beyondContestants(memory, demote), Shape: s, Memory: memory,
		Rows: contest.BeyondRows(s), Picks: min(max(1<<20, s.Keys), 32<<20), Cuts: 16, Goroutines: e.goroutines, Rounds: rounds, Each: each, Warm: 20, NoPageCache: true,
		Dir: e.dir, Out: e.out, Step: e.progress.Step, At: e.progress.At}
	if e.short {
		t.Warm = 1
	}
	return t
}

// beyondContestants are the hybrid log, told the next keys or not, and the baselines, with as many goroutines as keep the device
// busy where an engine is not told.
func (e *env) beyondContestants(memory int64, demote bool) []contest.Contestant {
	const waiting = 64
	var out []contest.Contestant
	for _, c := range e.contestants(compare.Options{MemoryBytes: memory}, "hybridlog", "lsm", "appendlog") {
		if c.Name != "hybridlog" {
			c.Goroutines = waiting
			out = append(out, c)
			continue
		}
		opts := hlog.Options{MemoryBytes: memory}
		if demote {
			opts.ColdAfter = memory / 4
		}
		c.Open = func(dir string) (contest.Engine, error) { return contest.OpenHybrid(dir, opts) }
		without := contest.WithoutPrefetch(c, fmt.Sprintf("hybridlog without Prefetch, %d goroutines", waiting))
		without.Goroutines = waiting
		out = append(out, c, without)
	}
	return out
}

// setScale is the flag -scale: a factor, or beyondScale.
func (e *env) setScale(text string) error {
	if text == beyondScale {
		e.far = true
		return nil
	}
	if _, err := fmt.Sscanf(text, "%g", &e.scale); err != nil {
		return errors.New("it is neither a number nor " + beyondScale)
	}
	return nil
}
