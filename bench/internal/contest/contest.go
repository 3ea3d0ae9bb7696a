// Package contest measures engines against each other on equal terms: the same keys, values and operations in the same
// order, the same memory, in alternating rounds. It knows engines only by the common interface, so that the engines of
// package compare and those of other projects go through the same code.
package contest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// Engine is the common interface; it is compare.Engine in other words. Implementations are safe for concurrent use.
type Engine interface {
	Get(key []byte) ([]byte, error) // nil when absent
	Set(key, value []byte) error    // an empty value deletes
	Size() int64                    // bytes of memory held
	Snapshot(version uint64) error  // ascending, gaps allowed
	Restore(version uint64) error   // 0 = newest
	Close() error
}

// Reader is implemented by engines that say how many records they have read from disk.
type Reader interface{ Reads() uint64 }

// Prefetcher is implemented by engines that can be told which keys will be read next.
type Prefetcher interface{ Prefetch(keys [][]byte) }

// WithoutPrefetch hides from the harness that an engine can be told.
func WithoutPrefetch(c Contestant, name string) Contestant {
	return Contestant{Name: name, Goroutines: c.Goroutines, Open: func(dir string) (Engine, error) {
		e, err := c.Open(dir)
		if err != nil {
			return nil, err
		}
		r, reads := e.(Reader)
		s, scans := e.(Scanner)
		switch {
		case reads && scans:
			return struct {
				Engine
				Reader
				Scanner
			}{e, r, s}, nil
		case reads:
			return struct {
				Engine
				Reader
			}{e, r}, nil
		}
		return e, nil
	}}
}

// Contestant is an engine that takes part.
type Contestant struct {
	Name       string
	Open       func(dir string) (Engine, error)
	Goroutines int // that drive it in contests of throughput; 0: as many as others
}

// Shape is the data: how many keys, how large.
type Shape struct {
	Keys, KeyBytes, ValueBytes int
}

func (s Shape) String() string {
	return fmt.Sprintf("%s keys of %d + %d bytes", report.Thousands(int64(s.Keys)), s.KeyBytes, s.ValueBytes)
}

// Bytes is the size of all keys and values without anything around them.
func (s Shape) Bytes() int64 { return int64(s.Keys) * int64(s.KeyBytes+s.ValueBytes) }

// Driver performs operations of a plan on one engine. Each worker has its own buffers.
type Driver struct {
	engine Engine
	shape  Shape
	bufs   []buffers
}

type buffers struct {
	key, value []byte
	ahead      [][]byte
	_          [64]byte // neighbours in the slice must not share a cache line
}

// NewDriver returns a driver for that many goroutines.
func NewDriver(e Engine, s Shape, goroutines int) *Driver {
	d := &Driver{engine: e, shape: s, bufs: make([]buffers, max(1, goroutines))}
	for i := range d.bufs {
		d.bufs[i].key = make([]byte, s.KeyBytes)
		d.bufs[i].value = make([]byte, s.ValueBytes)
	}
	return d
}

// Ahead is a workload.Config's Ahead, nil where the engine has no use for it.
func (d *Driver) Ahead() func(worker int, keys []uint32) {
	p, ok := d.engine.(Prefetcher)
	if !ok {
		return nil
	}
	return func(worker int, keys []uint32) {
		b := &d.bufs[worker]
		for len(b.ahead) < len(keys) {
			b.ahead = append(b.ahead, make([]byte, d.shape.KeyBytes))
		}
		for i, k := range keys {
			workload.Key(b.ahead[i], uint64(k))
		}
		p.Prefetch(b.ahead[:len(keys)])
	}
}

// reads returns how many records the engine has read from disk; ok is false if it does not say.
func (d *Driver) reads() (n uint64, ok bool) {
	if r, says := d.engine.(Reader); says {
		return r.Reads(), true
	}
	return 0, false
}

// Do is a workload.Do. An RMW is a Get and a Set, as the common interface has it; two of them on one key may lose one.
func (d *Driver) Do(worker int, op workload.Op, key uint32, seq uint64) error {
	b := &d.bufs[worker]
	workload.Key(b.key, uint64(key))
	switch op {
	case workload.Get:
		_, err := d.engine.Get(b.key)
		return err
	case workload.Delete:
		return d.engine.Set(b.key, nil)
	case workload.RMW:
		old, err := d.engine.Get(b.key)
		if err != nil {
			return err
		}
		if n := copy(b.value, old); n == 0 {
			workload.Value(b.value, uint64(key), seq)
		} else {
			b.value[0]++
		}
		return d.engine.Set(b.key, b.value)
	default:
		workload.Value(b.value, uint64(key), seq)
		return d.engine.Set(b.key, b.value)
	}
}

// BulkLoader is implemented by engines that take hours for a load in single writes.
type BulkLoader interface {
	// BulkSet sets n pairs; the slices that pair returns are valid until it is called again.
	BulkSet(n int, pair func(i int) (key, value []byte)) error
}

// Load writes every key once, in order of their numbers, by all of the driver's goroutines or as the engine would have it.
func (d *Driver) Load(ctx context.Context, from, count int, after func(done int)) error {
	const step = 100_000
	bulk, inBulk := d.engine.(BulkLoader)
	for at := 0; at < count; at += step {
		n := min(step, count-at)
		if inBulk {
			b := &d.bufs[0]
			err := bulk.BulkSet(n, func(i int) (key, value []byte) {
				workload.Key(b.key, uint64(from+at+i))
				workload.Value(b.value, uint64(from+at+i), 0)
				return b.key, b.value
			})
			if err = errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if after != nil {
				after(at + n)
			}
			continue
		}
		res := workload.Run(ctx, workload.Config{Goroutines: len(d.bufs), Ops: n, Sample: -1},
			workload.Sequence(workload.Set, from+at, n), d.Do)
		if err := errors.Join(res.Err, ctx.Err()); err != nil {
			return err
		}
		if after != nil {
			after(at + n)
		}
	}
	return nil
}

// Entry is a contestant that was opened and loaded.
type Entry struct {
	Name   string
	Engine Engine
	Driver *Driver
	Dir    string

	version uint64 // of the last snapshot that the entry has taken
	home    string // holds Dir and whatever the engine keeps beside it
	again   func(dir string) (Engine, error)
}

// Enter opens a contestant in a new directory below dir. What the engine keeps beside its directory goes when it leaves.
func Enter(c Contestant, dir string, s Shape, goroutines int) (*Entry, error) {
	home, err := os.MkdirTemp(dir, "bench-"+c.Name+"-")
	if err != nil {
		return nil, err
	}
	dir = filepath.Join(home, "store")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	e, err := c.Open(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", c.Name, err), os.RemoveAll(home))
	}
	return &Entry{Name: c.Name, Engine: e, Driver: NewDriver(e, s, goroutines), Dir: dir, home: home, again: c.Open}, nil
}

// Reopen closes the engine and opens it again, which it times: from the call until a first read is served.
func (e *Entry) Reopen(key uint32) (time.Duration, error) {
	if err := e.Engine.Close(); err != nil {
		return 0, fmt.Errorf("closing %s: %w", e.Name, err)
	}
	return e.reopen(e.Dir, key)
}

func (e *Entry) reopen(dir string, key uint32) (time.Duration, error) {
	runtime.GC() // what the first instance left must not be collected during the second one's start
	t := time.Now()
	again, err := e.again(dir)
	if err != nil {
		return 0, fmt.Errorf("opening %s again: %w", e.Name, err)
	}
	e.Engine, e.Driver.engine = again, again
	b := make([]byte, e.Driver.shape.KeyBytes)
	workload.Key(b, uint64(key))
	v, err := again.Get(b)
	took := time.Since(t)
	if err == nil && v == nil {
		err = fmt.Errorf("%s lost key %d when it was reopened", e.Name, key)
	}
	return took, err
}

// Leave closes the engine and removes its files.
func (e *Entry) Leave() error {
	return errors.Join(e.Engine.Close(), os.RemoveAll(e.home))
}

// Check reads a sample of the loaded keys: an engine that lost them would be fast for the wrong reason.
func (e *Entry) Check() error {
	s := e.Driver.shape
	b := make([]byte, s.KeyBytes)
	for i := 0; i < s.Keys; i += max(1, s.Keys/1000) {
		workload.Key(b, uint64(i))
		v, err := e.Engine.Get(b)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		if len(v) != s.ValueBytes {
			return fmt.Errorf("%s: key %d has %d bytes, %d were written", e.Name, i, len(v), s.ValueBytes)
		}
	}
	return nil
}

// DiskBytes is what the files under a directory take.
func DiskBytes(dir string) (int64, error) {
	var n int64
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, f := range entries {
		if f.IsDir() {
			sub, err := DiskBytes(dir + string(os.PathSeparator) + f.Name())
			if err != nil {
				return 0, err
			}
			n += sub
			continue
		}
		info, err := f.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // a background merge removed it
		}
		if err != nil {
			return 0, err
		}
		n += allocated(info)
	}
	return n, nil
}
