package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// benchKeys is the number of keys in the microbenchmarks: HLOG_BENCH_KEYS (such as 10M), 1M when it is not set.
func benchKeys(b *testing.B) int {
	n := 1_000_000
	if text := os.Getenv("HLOG_BENCH_KEYS"); text != "" {
		if err := (count{&n}).Set(text); err != nil || n < 1 {
			b.Fatalf("HLOG_BENCH_KEYS: %v", err)
		}
	}
	return n
}

// engineFleet is made once for all benchmarks that need the same; only one is kept, since each may be large.
var engineFleet struct {
	sync.Mutex
	*fleet
	dir string
}

// fleetFor returns loaded targets. The last one is left for the end of the process, as benchmarks have no common end but
// TestMain's.
func fleetFor(b *testing.B, keys, value int, names ...string) *fleet {
	b.Helper()
	engineFleet.Lock()
	defer engineFleet.Unlock()
	if f := engineFleet.fleet; f != nil && f.keys == keys && f.value == value && strings.Join(f.names, " ") == strings.Join(names, " ") {
		return f
	}
	closeFleet()
	dir, err := os.MkdirTemp("", "bench-fleet-")
	if err != nil {
		b.Fatal(err)
	}
	engineFleet.dir = dir
	f, err := newFleet(dir, keys, value, names)
	if err != nil {
		b.Fatal(err)
	}
	engineFleet.fleet = f
	return f
}

func closeFleet() {
	if engineFleet.fleet != nil {
		if err := engineFleet.fleet.close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		engineFleet.fleet = nil
	}
	if engineFleet.dir != "" {
		os.RemoveAll(engineFleet.dir)
		engineFleet.dir = ""
	}
	runtime.GC()
}

func TestMain(m *testing.M) {
	if asChild() { // the main job's test starts this program again
		return
	}
	code := m.Run()
	closeFleet()
	os.Exit(code)
}

// keyText is a number of keys as benchmark names have it: 10M, 500k, 4096.
func keyText(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	default:
		return fmt.Sprint(n)
	}
}

// benchmark measures op through one door of the store and on the maps, engine by engine within each setting, so that
// what is compared was measured within seconds:
//
//	BenchmarkTableUpdate/keys=10M/dist=zipf/g=2/value=8/engine=hybridlog
func benchmark(b *testing.B, door string, op workload.Op, values ...int) {
	keys := benchKeys(b)
	for _, value := range values {
		for _, kind := range workload.Kinds() {
			for _, g := range []int{1, 2} {
				if kind == "hotset" && g == 1 || value == 1000 && kind != "zipf" {
					continue // keeps the whole of it within go test's ten minutes
				}
				p := picks(workload.Dist{Kind: kind}, keys, g)
				for _, name := range []string{door, "xsync", "sharded"} {
					engine := name
					if name == door {
						engine = "hybridlog"
					}
					b.Run(fmt.Sprintf("keys=%s/dist=%s/g=%d/value=%d/engine=%s", keyText(keys), kind, g, value, engine), func(b *testing.B) {
						names := microTargets
						if value != 8 {
							names = names[2:]
						}
						measure(b, fleetFor(b, keys, value, names...).targets[name], op, p)
					})
				}
			}
		}
	}
}

// measure counts one iteration per chunk of operations in every goroutine and reports figures per operation.
func measure(b *testing.B, t target, op workload.Op, picks [][]uint64) {
	g := len(picks)
	in := make([]chan []uint64, g)
	out := make(chan error, g)
	runners := make([]runner, g)
	for i := range g {
		r, err := t.runner()
		if err != nil {
			b.Fatal(err)
		}
		runners[i] = r
		in[i] = make(chan []uint64)
		go func() {
			for keys := range in[i] {
				out <- r.run(op, keys)
			}
		}()
	}
	const per = 8 * chunk // long enough that handing it over does not count
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	at, ops := 0, 0
	begin := time.Now()
	for b.Loop() {
		for i := range g {
			in[i] <- picks[i][at : at+per]
		}
		for range g {
			if err := <-out; err != nil {
				b.Fatal(err)
			}
		}
		ops += g * per
		if at += per; at+per > len(picks[0]) {
			at = 0
		}
	}
	elapsed := time.Since(begin)
	runtime.ReadMemStats(&after)
	for i := range g {
		close(in[i])
		if err := runners[i].close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(elapsed.Nanoseconds())/float64(ops), "ns/op")
	b.ReportMetric(float64(ops)/elapsed.Seconds()/1e6, "Mops/s")
	b.ReportAllocs() // shows the next two, which are per operation and not per iteration
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(ops), "allocs/op")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(ops), "B/op")
}

func BenchmarkTableGet(b *testing.B)    { benchmark(b, "table", workload.Get, 8) }
func BenchmarkTableSet(b *testing.B)    { benchmark(b, "table", workload.Set, 8) }
func BenchmarkTableUpdate(b *testing.B) { benchmark(b, "table", workload.RMW, 8) }

func BenchmarkTableMultiGet(b *testing.B)    { benchmark(b, "tablemulti", workload.Get, 8) }
func BenchmarkTableMultiSet(b *testing.B)    { benchmark(b, "tablemulti", workload.Set, 8) }
func BenchmarkTableMultiUpdate(b *testing.B) { benchmark(b, "tablemulti", workload.RMW, 8) }

func BenchmarkSessionGet(b *testing.B) { benchmark(b, "session", workload.Get, valueSizes...) }
func BenchmarkSessionSet(b *testing.B) { benchmark(b, "session", workload.Set, valueSizes...) }
func BenchmarkSessionRMW(b *testing.B) { benchmark(b, "session", workload.RMW, valueSizes...) }

func BenchmarkSessionMultiGet(b *testing.B) { benchmark(b, "sessionmulti", workload.Get, 100) }
func BenchmarkSessionMultiSet(b *testing.B) { benchmark(b, "sessionmulti", workload.Set, 100) }
func BenchmarkSessionMultiRMW(b *testing.B) { benchmark(b, "sessionmulti", workload.RMW, 100) }

func BenchmarkStoreGet(b *testing.B) { benchmark(b, "store", workload.Get, 100) }
func BenchmarkStoreSet(b *testing.B) { benchmark(b, "store", workload.Set, 100) }
func BenchmarkStoreRMW(b *testing.B) { benchmark(b, "store", workload.RMW, 100) }
