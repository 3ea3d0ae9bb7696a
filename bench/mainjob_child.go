package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// jobSpec is what the parent tells a counting process.
type jobSpec struct {
	Dir      string   // of the store
	Paths    []string // of the texts
	Suffixes string
	Share    float64 // of the texts; 1 = all
	Pairs    bool    // count pairs of tokens too
	Memory   int64
	Workers  int
	Every    int // updates between two checkpoints
	Group    int // keys in one MultiRMW
}

// cookie is stored with each version: where the source has to be read on when the store is opened at it.
type cookie struct {
	Fingerprint uint64 // of the source; offsets into another one mean nothing
	Workers     int
	Pairs       bool
	Next        []int // per worker: the first file of its part that the version does not hold
	Updates     int64 // counters added to so far
	Bytes       int64 // of text read so far
}

// event is one line of what a counting process reports to its parent.
type event struct {
	Kind       string // "open", "progress", "checkpoint", "done", "error"
	Updates    int64
	Bytes      int64 // of text
	Nanos      int64 // since the process began to open the store
	Open       int64 `json:",omitempty"` // open: ns until Open returned
	FirstRead  int64 `json:",omitempty"` // open: ns until the first Get was served
	Version    uint64
	DeltaBytes int64  `json:",omitempty"`
	LogBytes   int64  `json:",omitempty"`
	Cut        int64  `json:",omitempty"` // checkpoint: the updates that are in it
	Begin      int64  `json:",omitempty"` // checkpoint: ns that BeginCheckpoint took, while no worker runs
	Durable    int64  `json:",omitempty"` // checkpoint: ns from the cut until Wait returned
	Metrics    string `json:",omitempty"` // done: what the store says about itself
	ColdReads  int64  `json:",omitempty"`
	Resident   int64  `json:",omitempty"` // done: most memory the process held, 0 where the system does not say
	Text       string `json:",omitempty"` // error
}

// counter is the counting process.
type counter struct {
	spec    jobSpec
	source  *workload.Source
	store   *hlog.Store
	workers []*counterWorker
	base    cookie // what the store held when it was opened
	updates atomic.Int64
	bytes   atomic.Int64
	began   time.Time

	mu  sync.Mutex // guards enc
	enc *json.Encoder
}

// counterWorker counts its part of the files.
type counterWorker struct {
	session *hlog.Session
	files   []workload.File
	next    int // the file to count next; only between rounds or by the worker itself
	text    []byte
	keys    [][]byte
	arena   []byte // holds the keys of pairs, which are not in the text as such
}

// runChild is the whole life of a counting process; spec is JSON of a jobSpec.
func runChild(spec string, out io.Writer) error {
	c := &counter{enc: json.NewEncoder(out), began: time.Now()}
	err := json.Unmarshal([]byte(spec), &c.spec)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		c.emit(event{Kind: "error", Text: err.Error()})
	}
	return err
}

// emit reports to the parent. A parent that is gone is no error: the job is then simply not watched.
func (c *counter) emit(e event) {
	e.Updates, e.Bytes, e.Nanos = c.updates.Load(), c.bytes.Load(), time.Since(c.began).Nanoseconds()
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.enc.Encode(e)
}

func (c *counter) run() (err error) {
	if c.source, err = workload.OpenSource(c.spec.Paths, c.spec.Suffixes); err != nil {
		return err
	}
	c.source.Limit(c.spec.Share)
	if err := c.open(); err != nil {
		return err
	}
	if err := errors.Join(c.count(), c.closeSessions()); err != nil {
		return errors.Join(err, c.store.Close())
	}
	m := c.store.Metrics()
	done := event{Kind: "done", Metrics: fmt.Sprint(m), ColdReads: int64(m.ColdReadCount), Resident: peakResident()}
	if err := c.store.Close(); err != nil {
		return fmt.Errorf("closing the store: %w", err)
	}
	c.emit(done)
	return nil
}

// open opens the store, at whatever version it recovers, and sets the workers to where that version's cookie says.
func (c *counter) open() error {
	t := time.Now()
	store, err := hlog.Open(c.spec.Dir, &hlog.Options{MemoryBytes: c.spec.Memory})
	if err != nil {
		return err
	}
	c.store = store
	opened := time.Since(t)
	if _, err := store.Get(nil, []byte("package")); err != nil && !errors.Is(err, hlog.ErrNotFound) {
		return errors.Join(err, store.Close())
	}
	first := time.Since(t)
	at, version, err := c.resume()
	if err != nil {
		return errors.Join(err, store.Close())
	}
	c.base = at
	c.updates.Store(at.Updates)
	c.bytes.Store(at.Bytes)
	for w := range c.spec.Workers {
		c.workers = append(c.workers, &counterWorker{session: store.NewSession(),
			files: c.source.Part(w, c.spec.Workers), next: at.Next[w]})
	}
	c.emit(event{Kind: "open", Open: opened.Nanoseconds(), FirstRead: first.Nanoseconds(), Version: uint64(version)})
	return nil
}

// resume reads the cookie of the version the store opened at.
func (c *counter) resume() (cookie, checkpoint.Version, error) {
	at := cookie{Fingerprint: c.source.Fingerprint(), Workers: c.spec.Workers, Pairs: c.spec.Pairs,
		Next: make([]int, c.spec.Workers)}
	versions, err := c.store.Versions()
	if err != nil || len(versions) == 0 {
		return at, 0, err
	}
	newest := versions[len(versions)-1]
	var saved cookie
	if err := json.Unmarshal(newest.Cookie, &saved); err != nil {
		return at, 0, fmt.Errorf("cookie of version %d: %w", newest.Version, err)
	}
	if saved.Fingerprint != at.Fingerprint || saved.Workers != at.Workers || saved.Pairs != at.Pairs {
		return at, 0, fmt.Errorf("version %d was counted from another source or with other settings", newest.Version)
	}
	return saved, newest.Version, nil
}

// count runs rounds until every file is counted. Within a round the workers run free; at its end they all stand at a
// border between two files, and the cut is taken there, which makes the cookie exact. That takes microseconds; the
// version becomes durable while the next round runs.
func (c *counter) count() error {
	stop := c.tick()
	defer stop()
	for durable := (chan error)(nil); ; {
		if err := c.round(); err != nil {
			return errors.Join(err, await(durable))
		}
		if err := await(durable); err != nil {
			return err
		}
		var err error
		if durable, err = c.checkpoint(); err != nil {
			return err
		}
		if c.finished() {
			return await(durable)
		}
	}
}

func await(ch chan error) error {
	if ch == nil {
		return nil
	}
	return <-ch
}

func (c *counter) finished() bool {
	for _, w := range c.workers {
		if w.next < len(w.files) {
			return false
		}
	}
	return true
}

// round lets every worker add to its share of the updates between two checkpoints.
func (c *counter) round() error {
	errs := make([]error, len(c.workers))
	var wg sync.WaitGroup
	for i, w := range c.workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; n < c.spec.Every/len(c.workers) && w.next < len(w.files); {
				k, err := w.countFile(c, w.files[w.next].Path)
				if err != nil {
					errs[i] = err
					return
				}
				n += k
				w.next++
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// checkpoint takes the cut and returns a channel that gets the outcome once the version is durable.
func (c *counter) checkpoint() (chan error, error) {
	at := cookie{Fingerprint: c.base.Fingerprint, Workers: c.spec.Workers, Pairs: c.spec.Pairs,
		Updates: c.updates.Load(), Bytes: c.bytes.Load()}
	for _, w := range c.workers {
		at.Next = append(at.Next, w.next)
	}
	b, err := json.Marshal(at)
	if err != nil {
		return nil, err
	}
	t := time.Now()
	pending, err := c.store.BeginCheckpoint(hlog.WithCookie(b))
	if err != nil {
		return nil, err
	}
	begin := time.Since(t)
	done := make(chan error, 1)
	go func() {
		info, err := pending.Wait(context.Background())
		if err == nil {
			c.emit(event{Kind: "checkpoint", Version: uint64(info.Version), DeltaBytes: info.DeltaBytes,
				LogBytes: info.LogBytes, Cut: at.Updates, Begin: begin.Nanoseconds(), Durable: time.Since(t).Nanoseconds()})
		}
		done <- err
	}()
	return done, nil
}

// tick reports progress several times a second until the function it returns is called.
func (c *counter) tick() func() {
	t := time.NewTicker(100 * time.Millisecond)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-t.C:
				c.emit(event{Kind: "progress"})
			case <-done:
				return
			}
		}
	}()
	return func() { t.Stop(); close(done); wg.Wait() }
}

func (c *counter) closeSessions() error {
	var err error
	for _, w := range c.workers {
		err = errors.Join(err, w.session.Close())
	}
	return err
}

// countFile adds one to the counter of every key of a file and returns how many that were.
func (w *counterWorker) countFile(c *counter, path string) (int, error) {
	var err error
	if w.text, err = readFile(w.text, path); err != nil {
		return 0, err
	}
	total := 0
	flush := func() {
		if err == nil && len(w.keys) > 0 {
			err = w.session.MultiRMW(w.keys, func(_ int, old []byte) []byte { return addOne(old) })
			c.updates.Add(int64(len(w.keys)))
		}
		total += len(w.keys)
		w.keys, w.arena = w.keys[:0], w.arena[:0]
	}
	workload.Counts(w.text, c.spec.Pairs, func(key []byte) {
		if workload.IsPair(key) { // made in a buffer that Counts uses again
			if len(w.arena)+len(key) > cap(w.arena) {
				flush() // the keys collected so far point into the arena, which must not move
				if cap(w.arena) < len(key) {
					w.arena = make([]byte, 0, 64<<10)
				}
			}
			at := len(w.arena)
			w.arena = append(w.arena, key...)
			key = w.arena[at:]
		}
		if w.keys = append(w.keys, key); len(w.keys) == c.spec.Group {
			flush()
		}
	})
	flush()
	c.bytes.Add(int64(len(w.text)))
	return total, err
}

// one is the value of a counter that was added to once. It is copied into the store, never changed.
var one = binary.LittleEndian.AppendUint64(nil, 1)

// addOne is the read-modify-write of a counter: in place when there is one.
func addOne(old []byte) []byte {
	if len(old) != 8 {
		return one
	}
	binary.LittleEndian.PutUint64(old, binary.LittleEndian.Uint64(old)+1)
	return old
}

// readFile reads a whole file into buf, which it returns grown if need be.
func readFile(buf []byte, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return buf, err
	}
	if int64(cap(buf)) < st.Size() {
		buf = make([]byte, st.Size()+st.Size()/4)
	}
	n, err := io.ReadFull(f, buf[:st.Size()])
	if err != nil {
		return buf, fmt.Errorf("reading %s: %w", path, err)
	}
	return buf[:n], nil
}
