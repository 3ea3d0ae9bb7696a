package contest

import (
	"context"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Row is one line of a contest of throughput.
type Row struct {
	Mix    workload.Mix
	Dist   workload.Dist
	Beside Beside
}

// Beside is what an engine does besides the operations that are counted.
type Beside uint8

const (
	Nothing    Beside = iota
	ScanBefore        // goes over all keys before each round; engines that are no Scanner take no part
	EachSecond        // takes a snapshot every second
)

// Scanner is implemented by engines that can go over all their keys.
type Scanner interface {
	Scan(ctx context.Context) (keys int, err error)
}

// BeyondRows are what a state far larger than memory is measured with.
func BeyondRows(s Shape) []Row {
	mix := func(name string) workload.Mix {
		m, err := workload.MixByName(name)
		if err != nil {
			panic(err) // a name in this program's own text
		}
		return m
	}
	uniform, zipf := workload.Dist{Kind: "uniform"}, workload.Dist{Kind: "zipf"}
	drift := workload.Dist{Kind: "hotset", Share: 0.1, Rotate: max(1, s.Keys/10)}
	return []Row{
		{Mix: mix("read"), Dist: uniform},
		{Mix: mix("read"), Dist: zipf},
		{Mix: mix("getrmw"), Dist: zipf},
		{Mix: mix("getrmw"), Dist: uniform},
		{Mix: mix("getrmw"), Dist: drift},
		{Mix: mix("getrmw"), Dist: zipf, Beside: ScanBefore},
		{Mix: mix("getrmw"), Dist: zipf, Beside: EachSecond},
	}
}

// rows are those of a contest.
func (t Throughput) rows() []Row {
	if len(t.Rows) > 0 {
		return t.Rows
	}
	var out []Row
	for _, mix := range t.Mixes {
		for _, d := range t.Dists {
			out = append(out, Row{Mix: mix, Dist: d})
		}
	}
	return out
}

// keys says which keys are picked, and what goes on besides.
func (r Row) keys() string {
	switch r.Beside {
	case ScanBefore:
		return r.Dist.String() + ", after a scan"
	case EachSecond:
		return r.Dist.String() + ", a snapshot each second"
	}
	return r.Dist.String()
}

// able returns the entries that can take part.
func (r Row) able(entries []*Entry) (out []*Entry) {
	for _, e := range entries {
		if _, ok := e.Engine.(Scanner); ok || r.Beside != ScanBefore {
			out = append(out, e)
		}
	}
	return out
}

// scan goes over all keys once.
func (e *Entry) scan(ctx context.Context) error {
	_, err := e.Engine.(Scanner).Scan(ctx)
	return err
}

// snapshot takes the engine's next snapshot.
func (e *Entry) snapshot() error {
	e.version++
	return e.Engine.Snapshot(e.version)
}

// snapshots takes one every so often until stop is called, which returns when the last one is done.
func (e *Entry) snapshots(every time.Duration) (stop func() error) {
	end, done := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-end:
				done <- nil
				return
			case <-tick.C:
			}
			if err := e.snapshot(); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() error {
		close(end)
		return <-done
	}
}
