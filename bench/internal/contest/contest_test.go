package contest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// toy is a map that dumps itself at every snapshot: an engine small enough to be right by inspection. Its faults are switched on
// by the tests.
type toy struct {
	mu      sync.Mutex
	m       map[string]string
	dir     string
	forgets bool // loses half of what it restores
	slow    time.Duration
}

func openToy(dir string) (Engine, error) {
	t := &toy{m: map[string]string{}, dir: dir}
	return t, t.Restore(0)
}

func (t *toy) Get(key []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.m[string(key)]; ok {
		return []byte(v), nil
	}
	return nil, nil
}

func (t *toy) Set(key, value []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(value) == 0 {
		delete(t.m, string(key))
		return nil
	}
	t.m[string(key)] = string(value)
	return nil
}

func (t *toy) Size() int64 { return int64(len(t.m)) }

func (t *toy) Snapshot(version uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	testkit.Pause(t.slow)
	pairs := make([][2][]byte, 0, len(t.m)) // keys are bytes, which JSON strings are not
	for k, v := range t.m {
		pairs = append(pairs, [2][]byte{[]byte(k), []byte(v)})
	}
	b, err := json.Marshal(pairs)
	if err != nil {
		return err
	}
	temp := filepath.Join(t.dir, "temp")
	if err := os.WriteFile(temp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(t.dir, fmt.Sprintf("v%09d", version)))
}

func (t *toy) Restore(version uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	names, err := filepath.Glob(filepath.Join(t.dir, "v*"))
	if err != nil || len(names) == 0 {
		return err
	}
	name := names[len(names)-1]
	if version > 0 {
		name = filepath.Join(t.dir, fmt.Sprintf("v%09d", version))
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var pairs [][2][]byte
	if err := json.Unmarshal(b, &pairs); err != nil {
		return err
	}
	t.m = map[string]string{}
	for i, p := range pairs {
		if t.forgets && i%2 == 0 {
			continue
		}
		t.m[string(p[0])] = string(p[1])
	}
	return nil
}

func (t *toy) Close() error {
	return t.Snapshot(999_999_999)
}

// walked is a toy that can be scanned, and counts who uses it.
type walked struct {
	*toy
	scans, snapshots atomic.Int32
}

func (w *walked) Scan(context.Context) (int, error) {
	w.scans.Add(1)
	return int(w.Size()), nil
}

func (w *walked) Snapshot(v uint64) error {
	w.snapshots.Add(1)
	return w.toy.Snapshot(v)
}

// What an engine does beside its operations is done, who cannot takes no part, and each is driven by as many goroutines as it asks
// for.
func TestThroughput_RowsBesidesAndLoads(t *testing.T) {
	var w *walked
	c := []Contestant{{Name: "toy", Open: openToy}, {Name: "walked", Goroutines: 5, Open: func(dir string) (Engine, error) {
		w = &walked{toy: &toy{m: map[string]string{}, dir: dir}}
		return w, nil
	}}}
	zipf := workload.Dist{Kind: "zipf"}
	read, update := workload.Mix{Name: "read"}, workload.Mix{Name: "update", Set: 100}
	rows := []Row{{Mix: read, Dist: zipf}, {Mix: read, Dist: zipf, Beside: ScanBefore}, {Mix: update, Dist: zipf, Beside: EachSecond}}
	var inTheLoad int32
	step := func(format string, _ ...any) {
		if strings.HasSuffix(format, ": measuring") { // all are loaded
			inTheLoad = w.snapshots.Load()
		}
	}
	s, err := Throughput{Name: "t", Title: "T", Contestants: c, Shape: Shape{1000, 8, 1}, Dir: t.TempDir(), Goroutines: 1, Rounds: 3,
		Each: 20 * time.Millisecond, Rows: rows, Picks: 1000, Cuts: 1, Out: io.Discard, Step: step, At: nowhere}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Tables) != 2 || len(s.Tables[0].Rows) != 2 || len(s.Tables[1].Rows) != 5 {
		t.Fatalf("tables %+v", s.Tables)
	}
	if r := s.Tables[1].Rows[2]; r[2] != "walked" || r[1] != "zipf, after a scan" {
		t.Errorf("the row after a scan is %v", r)
	}
	// The snapshots of the rounds come by time, perhaps too late.
	if w.scans.Load() != 3 || inTheLoad != 1 {
		t.Errorf("%d scans, and %d snapshots in the load", w.scans.Load(), inTheLoad)
	}
	e, err := Enter(c[1], t.TempDir(), Shape{10, 8, 1}, or(c[1].Goroutines, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Leave()
	if len(e.Driver.bufs) != 5 {
		t.Errorf("%d goroutines", len(e.Driver.bufs))
	}
	before := w.snapshots.Load()
	stop := e.snapshots(time.Millisecond)
	testkit.Eventually(t, "snapshots are taken", func() bool { return w.snapshots.Load() > before+1 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func silent(string, ...any)          {}
func nowhere(_, _ float64, _ string) {}

var toys = []Contestant{{Name: "hybridlog", Open: openToy}, {Name: "toy", Open: openToy}}

func checkSection(t *testing.T, s *report.Section, err error, rows int) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Tables) == 0 || len(s.Tables[0].Rows) != rows {
		t.Fatalf("rows: %v", s.Tables)
	}
	if _, err := (&report.Report{Sections: []*report.Section{s}}).Write(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestThroughput_EveryEngineInEveryCell(t *testing.T) {
	rmw, _ := workload.MixByName("rmw")
	churn, _ := workload.MixByName("churn")
	s, err := Throughput{Name: "t", Title: "T", Contestants: toys, Shape: Shape{1000, 8, 10}, Dir: t.TempDir(),
		Dists: []workload.Dist{{Kind: "zipf"}, {Kind: "uniform"}}, Mixes: []workload.Mix{rmw, churn}, Goroutines: 2, Rounds: 2,
		Each: 20 * time.Millisecond, NoPageCache: true, Out: io.Discard, Step: silent, At: nowhere}.Run(context.Background())
	checkSection(t, s, err, 8)
}

func TestThroughput_EngineThatLosesKeysIsRefused(t *testing.T) {
	lossy := Contestant{Name: "lossy", Open: func(dir string) (Engine, error) { return lossyToy{&toy{m: map[string]string{}, dir: dir}}, nil }}
	_, err := Throughput{Name: "t", Contestants: []Contestant{lossy}, Shape: Shape{1000, 8, 10}, Dir: t.TempDir(),
		Goroutines: 1, Rounds: 1, Out: io.Discard, Step: silent, At: nowhere}.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "lossy") {
		t.Errorf("error %v", err)
	}
}

// lossyToy drops one write in ten.
type lossyToy struct{ *toy }

func (l lossyToy) Set(key, value []byte) error {
	if key[len(key)-1]%10 == 0 {
		return nil
	}
	return l.toy.Set(key, value)
}

func TestSnapshots_GrowingAndStatic(t *testing.T) {
	for _, growing := range []bool{false, true} {
		s, err := Snapshots{Name: "s", Title: "S", Contestants: toys, Shape: Shape{500, 4, 8}, Steps: 4, Writes: 50, Growing: growing,
			Dist: workload.Dist{Kind: "uniform"}, Dir: t.TempDir(), Out: io.Discard, Step: silent, At: nowhere}.Run(context.Background())
		checkSection(t, s, err, 2)
		if n := len(s.Figures[0].Series[0].X); n != 4 {
			t.Errorf("growing %v: %d points", growing, n)
		}
	}
}

func TestRecovery_CloseAndCrash(t *testing.T) {
	s, err := Recovery{Name: "r", Title: "R", Contestants: toys, Sizes: []Recoverable{{100, Shape{100, 8, 8}, 50}, {200, Shape{200, 8, 8}, 0}},
		Dist: workload.Dist{Kind: "uniform"}, Rounds: 2, Dir: t.TempDir(), Out: io.Discard, Step: silent, At: nowhere}.Run(context.Background())
	checkSection(t, s, err, 4)
}

func TestRecovery_EngineThatForgetsIsRefused(t *testing.T) {
	forgetful := Contestant{Name: "forgetful", Open: func(dir string) (Engine, error) {
		e := &toy{m: map[string]string{}, dir: dir, forgets: true}
		return e, e.Restore(0)
	}}
	_, err := Recovery{Name: "r", Contestants: []Contestant{forgetful}, Sizes: []Recoverable{{100, Shape{100, 8, 8}, 0}}, Rounds: 1,
		Dir: t.TempDir(), Out: io.Discard, Step: silent, At: nowhere}.Run(context.Background())
	if err == nil {
		t.Error("an engine that forgot half of its keys passed")
	}
}

func TestStalls_WithAndWithoutSnapshots(t *testing.T) {
	mixed, _ := workload.MixByName("mixed")
	s, err := Stalls{Name: "l", Title: "L", Contestants: toys, Shape: Shape{500, 8, 8}, Dist: workload.Dist{Kind: "zipf"}, Mix: mixed,
		Goroutines: 2, Rate: 5000, Each: 60 * time.Millisecond, Every: 20 * time.Millisecond, Dir: t.TempDir(), Out: io.Discard,
		Step: silent, At: nowhere}.Run(context.Background())
	checkSection(t, s, err, 4)
}

func TestDataflow_EndsAsTheSerialRunThroughADeath(t *testing.T) {
	for _, kind := range []string{"uniform", "zipf"} {
		res, err := Dataflow{Contestant: toys[0], Keys: 300, Workers: 4, Txns: 20_000, Every: 2 * time.Millisecond, Kill: 8000,
			Dist: workload.Dist{Kind: kind}, Dir: t.TempDir(), At: nowhere}.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if res.Recovery == 0 || res.Versions == 0 || res.Replayed <= 0 || res.Txns != 20_000+res.Replayed {
			t.Errorf("%s: nobody died or nothing was done again: %+v", kind, res)
		}
	}
}

// begun is a toy whose snapshots are waited for in the background.
type begun struct{ *toy }

func (b begun) BeginSnapshot(v uint64) (func() error, error) {
	if err := b.toy.Snapshot(v); err != nil {
		return nil, err
	}
	return func() error { testkit.Pause(time.Millisecond); return nil }, nil
}

func TestDataflow_SnapshotsThatNeedNotBeWaitedFor(t *testing.T) {
	c := Contestant{Name: "begun", Open: func(dir string) (Engine, error) {
		e, err := openToy(dir)
		return begun{e.(*toy)}, err
	}}
	res, err := Dataflow{Contestant: c, Keys: 300, Workers: 3, Txns: 20_000, Every: 3 * time.Millisecond, Kill: 8000,
		Dist: workload.Dist{Kind: "zipf"}, Dir: t.TempDir(), At: nowhere}.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if res.Recovery == 0 || len(res.Blocked) < len(res.Snapshots) {
		t.Errorf("%d snapshots, %d cuts, recovery %v", len(res.Snapshots), len(res.Blocked), res.Recovery)
	}
}

func TestTransfers_KeepTheMoneyThroughDeaths(t *testing.T) {
	res, err := transfersOf(t).Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Recovery) != 2 || res.Versions < 4 || len(res.Cuts) == 0 || res.Txns != transfers+res.Replayed {
		t.Errorf("nobody died, or no version was cut: %+v", res)
	}
}

// Money that comes from nowhere must show in the next version.
func TestTransfers_WrongSumIsNoticed(t *testing.T) {
	f := transfersOf(t)
	f.Deaths = 0
	run := &transferring{Transfers: f, picks: f.Dist.Picks(f.Accounts, 3*f.Txns, 17), done: make([]int, f.Workers)}
	var err error
	if run.store, err = hlog.Open(t.TempDir(), &f.Options); err != nil {
		t.Fatal(err)
	}
	defer run.store.Close()
	if err := errors.Join(run.load(context.Background()), run.checkVersions(context.Background())); err != nil {
		t.Fatal(err)
	}
	b, err := run.bank()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.do(b, 1, 0, true); err != errDies {
		t.Fatal(err)
	}
	if _, err := run.store.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := run.checkVersions(context.Background()); err == nil {
		t.Error("half a transfer went unnoticed")
	}
}

var transfers = testkit.UnderRace(10_000, 40_000)

func transfersOf(t *testing.T) Transfers {
	return Transfers{Accounts: 1000, Workers: 4, Txns: transfers, Every: 3 * time.Millisecond, Deaths: 2,
		Dist: workload.Dist{Kind: "zipf"}, Dir: t.TempDir(), Options: hlog.Options{MemoryBytes: 16 << 20}, At: nowhere}
}

// A worker that comes back with the wrong state must show in the comparison with the serial run.
func TestDataflow_WrongRestoreIsNoticed(t *testing.T) {
	c := Contestant{Name: "wrong", Open: func(dir string) (Engine, error) {
		e := &toy{m: map[string]string{}, dir: dir}
		if err := e.Restore(0); err != nil {
			return nil, err
		}
		return altering{e}, nil
	}}
	_, err := Dataflow{Contestant: c, Keys: 300, Workers: 2, Txns: 20_000, Every: 2 * time.Millisecond, Kill: 8000,
		Dist: workload.Dist{Kind: "uniform"}, Dir: t.TempDir(), At: nowhere}.Run(context.Background())
	if err == nil {
		t.Error("rolling back to another state went unnoticed")
	}
	if errors.Is(err, errDied) {
		t.Error(err)
	}
}

// altering has another value for one of the keys that it restores. Whatever is done to that key then depends on it.
type altering struct{ *toy }

func (a altering) Restore(version uint64) error {
	if err := a.toy.Restore(version); err != nil {
		return err
	}
	for k, v := range a.m {
		if len(k) < len(offsetKey) {
			other := []byte(v)
			other[0] ^= 1
			a.m[k] = string(other)
			break
		}
	}
	return nil
}

// A copy made while files change would be a mixture of two moments; it must not be taken for one.
func TestCopyDir_IsOfOneMoment(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	if err := os.Mkdir(filepath.Join(src, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	names := []string{filepath.Join(src, "a"), filepath.Join(src, "sub", "b"), filepath.Join(src, "z")}
	put := func(generation int) {
		for _, n := range names {
			err := os.WriteFile(n+".new", []byte(strings.Repeat("x", generation)), 0o644)
			if err = errors.Join(err, os.Rename(n+".new", n)); err != nil { // never half written
				t.Error(err)
			}
			testkit.Pause(3 * time.Millisecond)
		}
	}
	put(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for g := 2; g < 60; g++ {
			put(g)
		}
	}()
	for range 3 {
		if err := CopyDir(dst, src); err != nil {
			t.Fatal(err)
		}
		var sizes []int64
		for _, n := range names {
			rel, _ := filepath.Rel(src, n)
			info, err := os.Stat(filepath.Join(dst, rel))
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, info.Size())
		}
		if sizes[0]-sizes[2] > 1 || sizes[0] < sizes[1] || sizes[1] < sizes[2] {
			t.Errorf("sizes %v are of no one moment", sizes)
		}
	}
	<-done
}

// tellable is a toy that says what it reads, which is less and less, and can be told what will be read.
type tellable struct {
	*toy
	told, got, reads atomic.Uint64
}

func (e *tellable) Get(key []byte) ([]byte, error) {
	if n := e.got.Add(1); n < 1000 || n%100 == 0 {
		e.reads.Add(1)
	}
	return e.toy.Get(key)
}
func (e *tellable) Reads() uint64          { return e.reads.Load() }
func (e *tellable) Prefetch(keys [][]byte) { e.told.Add(uint64(len(keys))) }

func TestThroughput_WarmAndTold(t *testing.T) {
	var made []*tellable
	c := Contestant{Name: "hybridlog", Open: func(dir string) (Engine, error) {
		made = append(made, &tellable{toy: &toy{m: map[string]string{}, dir: dir}})
		return made[len(made)-1], nil
	}}
	mix, _ := workload.MixByName("getrmw")
	s, err := Throughput{Name: "t", Title: "T", Contestants: []Contestant{c, WithoutPrefetch(c, "untold")}, Shape: Shape{1000, 8, 10}, Dir: t.TempDir(), Warm: 20,
		Dists: []workload.Dist{{Kind: "zipf"}}, Mixes: []workload.Mix{mix}, Goroutines: 2, Rounds: 2,
		Each: 20 * time.Millisecond, Out: io.Discard, Step: silent, At: nowhere}.Run(context.Background())
	checkSection(t, s, err, 2)
	if made[0].told.Load() == 0 || made[1].told.Load() != 0 {
		t.Errorf("told %d and %d keys", made[0].told.Load(), made[1].told.Load())
	}
	for i, row := range s.Tables[0].Rows {
		reads, err := strconv.ParseFloat(row[len(row)-2], 64)
		if err != nil || reads > 0.05 {
			t.Errorf("engine %d was measured while its reads were falling: %s per operation, %v", i, row[len(row)-2], err)
		}
	}
}
