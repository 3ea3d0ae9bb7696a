package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// storeDir is where the store lies in the file systems of this package: one level down, so that the name of its
// directory has to be made durable, too.
const storeDir = "/data/store"

// Runner plays a tape against a store and a model at the same time. It belongs to one goroutine; only Outcome may be
// called from others.
type Runner struct {
	// FS is what the store uses. OpCrash replaces it.
	FS fsx.FS
	// Disk is the crash double at the bottom of FS; nil if there is none, and then OpCrash is skipped.
	Disk *fsx.CrashFS
	// Wrap makes the FS of a disk that OpCrash leaves; nil: the disk itself.
	Wrap func(*fsx.CrashFS) fsx.FS
	// NewDisk, if set, is told of each disk that OpCrash leaves.
	NewDisk func(*fsx.CrashFS)
	// HashSeed, if it is not 0, seeds the hashes of the store's keys, so that a tape meets the same collisions every time.
	HashSeed uint64
	// Options are the sets that OpReopen and OpCrash choose from; the store is first opened with the first.
	Options []hlog.Options
	// Faults says that calls may fail. What they return must still be true.
	Faults bool
	// Work, if it is set, is how the store does in this goroutine what it does in the background otherwise: the run is
	// single-threaded and replays, provided that HashSeed is set.
	Work *step.Work
	// Away, if it is set, is called before each command and before each close, and what it returns is called after it: it
	// may make the path of the store lead elsewhere meanwhile. Commands that open the store by its path go without.
	Away func() (back func() error, err error)
	// Trace, if set, is told each command before it is played.
	Trace func(i int, o Op)

	model   *Model
	store   *hlog.Store
	session *hlog.Session
	table   *hlog.Table[uint64, uint64]
	opts    hlog.Options
	pending []*hlog.PendingCheckpoint // beside model.pending
	views   []openView
	outcome atomic.Pointer[Outcome]
	largest int // record that was written, in bytes
	failed  int // calls that failed because of a fault
	played  int
}

type openView struct {
	view  *hlog.View
	entry *entry
}

// Outcome returns what a crash at this moment may leave. A crash that was cloned between two calls of Outcome may
// leave what either allows.
func (r *Runner) Outcome() *Outcome { return r.outcome.Load() }

func (r *Runner) publish() { r.outcome.Store(r.model.outcome()) }

// Failed returns how many calls failed because of a fault, Played how many commands were played.
func (r *Runner) Failed() int { return r.failed }

// Played returns how many commands were played.
func (r *Runner) Played() int { return r.played }

// Play opens the store, plays the tape, and closes the store. The error says where the store and the model disagree.
func (r *Runner) Play(t Tape) error {
	r.model = NewModel()
	r.model.faults = r.Faults
	r.publish()
	if err := r.create(); err != nil {
		return err
	}
	if err := r.open(0, r.model.outcome()); err != nil || r.store == nil {
		return err
	}
	for i, o := range t {
		if r.Trace != nil {
			r.Trace(i, o)
		}
		step := func() error { return r.step(o) }
		if o.Kind != OpReopen && o.Kind != OpCrash && o.Kind != OpMisuse {
			step = func() error { return r.away(func() error { return r.step(o) }) }
		}
		if err := step(); err != nil {
			r.abandon()
			return fmt.Errorf("command %d, %v: %w", i, o, err)
		}
		if r.store == nil {
			return nil // it could not be opened again, for a good reason
		}
		r.played++
	}
	if err := r.scan(); err != nil {
		r.abandon()
		return fmt.Errorf("at the end: %w", err)
	}
	return r.away(r.close)
}

// away plays something while the store's path may lead elsewhere.
func (r *Runner) away(play func() error) error {
	if r.Away == nil {
		return play()
	}
	back, err := r.Away()
	if err != nil {
		return err
	}
	return errors.Join(play(), back())
}

// create makes an empty store with a hash seed of ours.
func (r *Runner) create() error {
	if r.HashSeed == 0 {
		return nil
	}
	if err := r.FS.MkdirAll(storeDir); err != nil {
		return err
	}
	for _, dir := range []string{"/", "/data", storeDir} {
		if err := r.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	size := r.Options[0].SegmentBytes
	id := checkpoint.Identity{StoreID: [16]byte{1}, HashSeed: r.HashSeed, SegmentBytes: size}
	if r.HashSeed%2 == 0 { // half of the stores are such as earlier releases have made
		binary.LittleEndian.PutUint64(id.StoreID[:], r.HashSeed)
		id.HashSeed = checkpoint.SeedOf(id.StoreID)
	}
	_, err := checkpoint.OpenDir(r.FS, storeDir, id, false)
	return err
}

// abandon gives up the store after a disagreement.
func (r *Runner) abandon() {
	if r.store != nil {
		r.store.Close()
		r.store = nil
	}
}

// open opens the store with an option set and compares what it finds with what may be there.
func (r *Runner) open(set byte, expected *Outcome) error {
	r.opts = r.Options[int(set)%len(r.Options)]
	if r.model.keep = r.opts.KeepVersions; r.model.keep == 0 {
		r.model.keep = hlog.DefaultKeepVersions
	}
	expected = expected.retained(r.model.keep)
	r.outcome.Store(expected)
	r.opts.FS = Stepped(r.FS, r.Work)
	s, err := r.openStore()
	if err != nil && r.tolerable(err) {
		if s, err = r.openStore(); err != nil && r.tolerable(err) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	r.store, r.session = s, s.NewSession()
	if r.table, err = hlog.NewTable[uint64, uint64](r.session); err != nil {
		return err
	}
	if r.opts.PageBytes == 0 {
		r.opts.PageBytes = s.Metrics().PageBytes
	}
	cur, found, err := expected.match(s)
	if err != nil {
		return err
	}
	r.model.adopt(cur, found)
	r.publish()
	return r.scan()
}

// openStore opens the store. Pages that are smaller than a record in the log are refused, and then the store may choose.
func (r *Runner) openStore() (*hlog.Store, error) {
	s, err := hlog.Open(storeDir, &r.opts)
	if errors.Is(err, hlog.ErrOptions) && r.largest <= r.opts.PageBytes {
		return nil, disagree("pages of %d bytes are refused, and no record has more than %d: %v", r.opts.PageBytes, r.largest, err)
	}
	if smallPages(err, &r.opts) {
		return hlog.Open(storeDir, &r.opts)
	}
	return s, err
}

// smallPages reports whether an Open was refused because the pages that the options ask for are smaller than a record in the
// log, and changes the options so that the store chooses.
func smallPages(err error, o *hlog.Options) bool {
	if !errors.Is(err, hlog.ErrOptions) || o.PageBytes == 0 {
		return false
	}
	o.PageBytes = 0
	return true
}

// tolerable counts an error that a fault explains.
func (r *Runner) tolerable(err error) bool {
	if !r.Faults || errors.Is(err, errDisagree) || errors.Is(err, hlog.ErrOptions) || errors.Is(err, hlog.ErrCorrupt) || errors.Is(err, hlog.ErrNotFound) || errors.Is(err, hlog.ErrClosed) {
		return false
	}
	r.failed++
	return true
}

// close closes the store. What it commits at last is in the model's outcome as the version without an id.
func (r *Runner) close() error {
	for _, w := range r.views {
		if err := w.view.Close(); err != nil {
			return fmt.Errorf("close of a view: %w", err)
		}
	}
	r.views = nil
	m := r.model
	if err := r.wait(); err != nil {
		return err
	}
	m.begin(0, "")
	r.publish()
	err := r.store.Close()
	if second := r.store.Close(); !errors.Is(second, hlog.ErrClosed) {
		return fmt.Errorf("second close: %v", second)
	}
	if _, use := r.store.Get(nil, Key(1)); !errors.Is(use, hlog.ErrClosed) {
		return fmt.Errorf("get after close: %v", use)
	}
	r.store, r.session, r.table = nil, nil, nil
	if err != nil && !r.tolerable(err) {
		return fmt.Errorf("close: %w", err)
	}
	if err == nil && diff(m.live, m.currentState()) != nil {
		// Something has changed, so there is a last version.
		o := m.outcome()
		o.changed = true
		r.outcome.Store(o)
	}
	return nil
}

// currentState returns the state of the current version.
func (m *Model) currentState() State {
	if e := m.listed[m.current]; e != nil {
		return e.state
	}
	return State{}
}

// crash pulls the plug and opens what is left.
func (r *Runner) crash(o Op) error {
	if r.Disk == nil {
		return nil
	}
	before := r.Outcome()
	left := r.Disk.Clone(crashOf(o.A, o.B, r.Disk.Unsynced()))
	allowed := before.either(r.Outcome())
	r.Disk.CrashNow()
	for _, w := range r.views {
		w.view.Close()
	}
	r.views, r.pending = nil, nil
	if err := r.store.Close(); err != nil && !errors.Is(err, fsx.ErrCrashed) && !r.tolerable(err) {
		return fmt.Errorf("close of a store whose disk is gone: %w", err)
	}
	r.store, r.Disk, r.FS = nil, left, left
	if r.Wrap != nil {
		r.FS = r.Wrap(left)
	}
	if r.NewDisk != nil {
		r.NewDisk(left)
	}
	return r.open(o.C, allowed)
}

// crashOf returns the crash that two bytes choose.
func crashOf(a, b byte, unsynced int) fsx.Crash {
	seed := uint64(b)
	switch a % 6 {
	case 0:
		return fsx.Crash{Keep: fsx.KeepNone}
	case 1:
		return fsx.Crash{Keep: fsx.KeepAll}
	case 2:
		return fsx.Crash{Keep: fsx.KeepPrefix, N: int(b) * (unsynced + 1) / 256}
	case 3:
		return fsx.Crash{Keep: fsx.KeepPrefix, N: int(b) * (unsynced + 1) / 256, Torn: true, Seed: seed}
	case 4:
		return fsx.Crash{Keep: fsx.KeepSubset, Seed: seed, Torn: true}
	}
	return fsx.Crash{Keep: fsx.KeepSubset, Seed: seed}
}

// step plays one command.
func (r *Runner) step(o Op) error {
	r.Work.Pause(pauseCommands)
	switch o.Kind {
	case OpSet, OpDelete, OpRMW, OpGet, OpTable:
		return r.single(o)
	case OpMultiSet, OpMultiGet, OpMultiRMW, OpFill, OpChurn, OpBurst:
		return r.many(o)
	case OpCheckpoint:
		if err := r.begin(o); err != nil {
			return err
		}
		return r.wait()
	case OpBegin:
		return r.begin(o)
	case OpWait:
		return r.wait()
	case OpRestore:
		return r.restore(o)
	case OpPurge:
		return r.purge(o)
	case OpCompact:
		if err := r.store.Compact(context.Background()); err != nil && !r.tolerable(err) {
			return err
		}
		return nil
	case OpView, OpViewCheck, OpViewClose:
		return r.viewOp(o)
	case OpReopen:
		if err := r.away(r.close); err != nil {
			return err
		}
		return r.open(o.A, r.Outcome())
	case OpCrash:
		return r.crash(o)
	case OpScan:
		return r.scan()
	case OpMisuse:
		return r.misuse(o)
	case OpUnit:
		return r.unit(o)
	case OpChanges:
		return r.changes(o)
	}
	return nil
}

// scan compares the whole state, read by Scan and by Get, with the model.
func (r *Runner) scan() error {
	err := checkState(storeReader{r.store}, r.model.live)
	if err != nil && !r.tolerable(err) {
		return fmt.Errorf("live state: %w", err)
	}
	return nil
}

// reader is what a store and a view have in common.
type reader interface {
	Get(dst, key []byte) ([]byte, error)
	Scan(ctx context.Context, fn func(key, value []byte) bool) error
}

type storeReader struct{ *hlog.Store }

var keys = sync.OnceValue(func() [][]byte {
	all := make([][]byte, wideKeys)
	for i := range all {
		all[i] = Key(i)
	}
	return all
})

// checkState compares everything that s shows with want: each key there is or could be, present or absent, and a scan.
func checkState(s reader, want State) error {
	var buf []byte
	var err error
	for _, k := range keys() {
		w, ok := want[string(k)]
		buf, err = s.Get(buf[:0], k)
		switch {
		case err != nil && !errors.Is(err, hlog.ErrNotFound):
			return fmt.Errorf("get of key %x: %w", clip(string(k)), err)
		case err != nil && ok:
			return disagree("get: key %x not found, its value has %d bytes", clip(string(k)), len(w))
		case err == nil && !ok:
			return disagree("get: key %x has %d bytes, it should be absent", clip(string(k)), len(buf))
		case err == nil && string(buf) != w:
			return disagree("get: key %x has %d bytes %x, want %d bytes %x", clip(string(k)), len(buf), clip(string(buf)), len(w), clip(w))
		}
	}
	got := State{}
	twice := ""
	err = s.Scan(context.Background(), func(k, v []byte) bool {
		if _, ok := got[string(k)]; ok {
			twice = string(k)
		}
		got[string(k)] = string(v)
		return true
	})
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	if twice != "" {
		return disagree("scan: key %x twice", clip(twice))
	}
	if err := diff(got, want); err != nil {
		return disagree("scan: %v", err)
	}
	return nil
}

// errDisagree is what no fault excuses: an answer, and the wrong one.
var errDisagree = errors.New("wrong answer")

func disagree(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errDisagree}, args...)...)
}
