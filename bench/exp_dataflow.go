package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/hlog"
)

// runDataflow is the streaming job on every engine: at a fixed rate and flat out, on a small and a large state, one worker
// killed in the middle.
func runDataflow(ctx context.Context, e *env) (*report.Section, error) {
	const workers = 4
	type setting struct {
		keys int
		rate float64
		txns int
	}
	var settings []setting
	small, large := e.n(100_000), e.n(1_000_000)
	fixed := or(e.rate, 1000)
	seconds := 8.0
	if e.short {
		seconds = 1
	}
	for _, keys := range []int{small, large} {
		settings = append(settings, setting{keys, fixed, int(fixed * seconds)}, setting{keys, 0, or(e.ops, e.n(2_000_000))})
	}
	memory := e.engineMemory(64 << 20)
	every := 500 * time.Millisecond
	if e.short {
		every = 50 * time.Millisecond
	}
	dist := e.distributions("zipf")[0]
	s := &report.Section{Name: "dataflow", Title: "A dataflow job", Settings: fmt.Sprintf(
		"%d partition workers, an engine of %s each, 8 + 8 bytes, %s; aligned snapshots every %v with the source offset in the state; worker 0 killed half way, all restored to the newest complete version, the stream resumed at its offset; the end compared with a serial run.",
		workers, report.Bytes(memory), dist, every)}
	tab := &report.Table{Name: "dataflow", Title: "Transactions, snapshots and recovery",
		Header: []string{"keys", "rate", "engine", "txn/s", "p50", "p99", "p99.9", "versions", "snapshot, median", "worker blocked, median", "recovery", "done again"}}
	p99 := &report.Figure{Name: "dataflow-p99", Title: "Transactions: 99th percentile of latency", XLabel: "keys and rate", YLabel: "p99 (ms)"}
	snap := &report.Figure{Name: "dataflow-snapshot", Title: "Snapshots in a dataflow job", XLabel: "keys and rate", YLabel: "snapshot of a worker (ms)"}
	rec := &report.Figure{Name: "dataflow-recovery", Title: "Recovery of a dataflow job", XLabel: "keys and rate", YLabel: "recovery (ms)"}
	engines := e.contestants(compare.Options{MemoryBytes: memory})
	if contains(e.pick(), "hybridlog") {
		s.Text = append(s.Text, `"not waiting" is the hybrid log by its own API: the cut is taken at the marker, and the worker goes on while the version becomes durable.`)
		engines = append(engines, contest.Contestant{Name: "not waiting", Open: func(dir string) (contest.Engine, error) {
			return contest.OpenHybrid(dir, hlog.Options{MemoryBytes: memory})
		}})
	}
	e.progress.Step("dataflow")
	for i, set := range settings {
		for k, c := range engines {
			rateText := "flat out"
			if set.rate > 0 {
				rateText = report.Rate(set.rate)
			}
			at := float64(i*len(engines) + k)
			res, err := contest.Dataflow{Contestant: c, Keys: set.keys, Workers: workers, Txns: set.txns, Rate: set.rate, Every: every,
				Kill: set.txns / 2, Dist: dist, Dir: e.dir, At: func(done, total float64, _ string) {
					e.progress.At(at+done/total, float64(len(settings)*len(engines)), fmt.Sprintf("%s, %d keys, %s", c.Name, set.keys, rateText))
				}}.Run(ctx)
			if err != nil {
				return nil, failed(c.Name, err)
			}
			snapMed, _, _ := report.Median(res.Snapshots)
			blocked, _, _ := report.Median(res.Blocked)
			recovery, again := any("–"), any("–")
			label := fmt.Sprintf("%s, %s", report.Short(float64(set.keys)), rateText)
			if res.Recovery > 0 {
				recovery, again = res.Recovery, res.Replayed
				rec.Bar(label, c.Name, []float64{millis(res.Recovery)})
			}
			tab.Add(set.keys, rateText, c.Name, report.Rate(float64(res.Txns)/res.Elapsed.Seconds()), res.Latency.Quantile(.5),
				res.Latency.Quantile(.99), res.Latency.Quantile(.999), res.Versions, millisText(snapMed), millisText(blocked), recovery, again)
			p99.Bar(label, c.Name, []float64{millis(res.Latency.Quantile(.99))})
			if len(res.Snapshots) > 0 {
				snap.Bar(label, c.Name, res.Snapshots)
			}
		}
	}
	for _, fig := range []*report.Figure{p99, snap, rec} {
		fig.LogY = fig.Wide()
	}
	s.Tables = []*report.Table{tab}
	if contains(e.pick(), "hybridlog") {
		units, err := runTransfers(ctx, e, small, large)
		if err != nil {
			return nil, failed("transfers", err)
		}
		s.Tables = append(s.Tables, units)
		s.Text = append(s.Text, "Transfers are transactions that touch several keys of one store and its offset record, each a unit (Session.Unit), with versions cut at any time. Workers died within their units, twice; in every version, before each death, after each recovery and in the end, there was as much money as in the beginning, and at the end every account was as in a serial run.")
	}
	for _, f := range []*report.Figure{p99, snap, rec} {
		if len(f.Series) > 0 {
			s.Figures = append(s.Figures, f)
		}
	}
	for _, t := range s.Tables {
		_ = t.Markdown(e.out)
	}
	return s, nil
}

// runTransfers is the job whose transactions touch several keys, in units.
func runTransfers(ctx context.Context, e *env, sizes ...int) (*report.Table, error) {
	tab := &report.Table{Name: "transfers", Title: "Transactions over several keys, as units",
		Header: []string{"accounts", "workers", "txn/s", "p50", "p99", "p99.9", "cut, median", "versions checked", "recovery", "done again"}}
	every := 200 * time.Millisecond
	if e.short {
		every = 50 * time.Millisecond
	}
	for i, accounts := range sizes {
		f := contest.Transfers{Accounts: accounts, Workers: 8, Txns: or(e.ops, e.n(2_000_000)), Every: every, Deaths: 2,
			Dist: e.distributions("zipf")[0], Dir: e.dir, Options: hlog.Options{MemoryBytes: e.engineMemory(64 << 20)},
			At: func(done, total float64, _ string) {
				e.progress.At(float64(i)+done/total, float64(len(sizes)), fmt.Sprintf("transfers, %d accounts", accounts))
			}}
		res, err := f.Run(ctx)
		if err != nil {
			return nil, err
		}
		cut, _, _ := report.Median(res.Cuts)
		recovery, _, _ := report.Median(res.Recovery)
		tab.Add(accounts, f.Workers, report.Rate(float64(res.Txns)/res.Elapsed.Seconds()), res.Latency.Quantile(.5), res.Latency.Quantile(.99),
			res.Latency.Quantile(.999), millisText(cut), res.Versions, millisText(recovery), res.Replayed)
	}
	return tab, nil
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// millisText is a duration of v milliseconds, a dash when there was none to measure.
func millisText(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return report.Duration(fromMillis(v))
}

func fromMillis(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
