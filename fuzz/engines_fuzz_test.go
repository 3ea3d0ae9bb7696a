package fuzz

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// engineRun plays a tape against an engine of package compare and a model that knows every version. Commands that the
// common interface has no words for are skipped.
type engineRun struct {
	kind    string
	options compare.Options
	direct  bool

	disk    *fsx.CrashFS
	engine  compare.Engine
	live    State
	highest uint64
	seq     uint64
	outcome atomic.Pointer[engineOutcome]

	mu     sync.Mutex // of what follows: an engine may call its disk from any goroutine
	states int        // crash states verified
	err    error
}

// engineOutcome is what a crash may leave: one of the states, and all of the versions. It is immutable.
type engineOutcome struct {
	states   []State // the last one committed, and what is being committed
	versions map[uint64]State
}

func (r *engineRun) open(disk *fsx.CrashFS) (compare.Engine, error) {
	o := r.options
	o.FS = disk
	return compare.Open(r.kind, "store", o)
}

// play plays a tape.
func (r *engineRun) play(tape Tape) (err error) {
	r.live = State{}
	r.disk = fsx.NewCrash(fsx.CrashOptions{Direct: r.direct})
	r.outcome.Store(&engineOutcome{states: []State{{}}})
	r.watch()
	if r.engine, err = r.open(r.disk); err != nil {
		return err
	}
	for i, o := range tape {
		if err := cmp.Or(r.step(o), r.crashed()); err != nil {
			r.engine.Close()
			return fmt.Errorf("command %d, %v: %w", i, o, err)
		}
	}
	if err := r.same(r.engine, r.live); err != nil {
		r.engine.Close()
		return fmt.Errorf("at the end: %w", err)
	}
	return cmp.Or(r.committing(r.live, 0, r.engine.Close), r.crashed())
}

// crashed returns what was wrong with what a crash has left.
func (r *engineRun) crashed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// committing runs a call that commits target, or leaves what was committed before. version 0 is none.
func (r *engineRun) committing(target State, version uint64, call func() error) error {
	before := r.outcome.Load()
	target = maps.Clone(target)
	r.outcome.Store(&engineOutcome{append(slices.Clone(before.states), target), before.versions})
	if err := call(); err != nil {
		return err
	}
	versions := before.versions
	if version != 0 {
		versions = maps.Clone(versions)
		if versions == nil {
			versions = map[uint64]State{}
		}
		versions[version] = target
	}
	r.outcome.Store(&engineOutcome{[]State{target}, versions})
	return nil
}

// engineStride is every how manieth call is a place to crash.
const engineStride = 9

// watch crashes the disk at some of its calls and opens what is left.
func (r *engineRun) watch() {
	disk := r.disk
	disk.SetHook(func(c fsx.Call) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if c.N%engineStride != 0 || r.err != nil {
			return
		}
		before := r.outcome.Load()
		left := disk.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: uint64(c.N), Torn: c.N%2 == 0})
		r.states++
		if err := r.opensAs(left, before, r.outcome.Load()); err != nil {
			r.err = fmt.Errorf("crash at call %d (%v %s): %w", c.N, c.Op, c.Name, err)
		}
	})
}

// opensAs opens what a crash left: one of the states that were allowed before or after it, with all the versions there
// were before. The directory then goes on.
func (r *engineRun) opensAs(left *fsx.CrashFS, before, after *engineOutcome) error {
	e, err := r.open(left)
	if err != nil {
		return err
	}
	defer e.Close()
	for _, s := range append(slices.Clone(before.states), after.states...) {
		if err = r.same(e, s); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	for _, v := range slices.Sorted(maps.Keys(before.versions)) {
		if err := cmp.Or(e.Restore(v), r.same(e, before.versions[v])); err != nil {
			return fmt.Errorf("version %d: %w", v, err)
		}
	}
	if err := e.Set(Key(1), []byte("goes on")); err != nil {
		return err
	}
	return e.Close()
}

// same compares all of an engine's keys with want.
func (r *engineRun) same(e compare.Engine, want State) error {
	for i := range 256 {
		k := Key(i)
		got, err := e.Get(k)
		if err != nil {
			return err
		}
		if w, ok := want[string(k)]; (got != nil) != ok || string(got) != w {
			return disagree("key %x has %d bytes, want %d (%v)", clip(string(k)), len(got), len(w), ok)
		}
	}
	return nil
}

func (r *engineRun) set(i, size int) error {
	r.seq++
	k, v := Key(i%256), Value(r.seq, size)
	if err := r.engine.Set(k, v); err != nil {
		return err
	}
	if r.live[string(k)] = string(v); size == 0 { // an empty value deletes
		delete(r.live, string(k))
	}
	return nil
}

func (r *engineRun) step(o Op) (err error) {
	switch o.Kind {
	case OpSet, OpRMW, OpTable:
		return r.set(int(o.A), sizeOf(o.B)%9000)
	case OpDelete:
		return r.set(int(o.A), 0)
	case OpFill, OpMultiSet, OpBurst:
		for i := range int(o.B) % 64 {
			if err := r.set(int(o.A)+i, sizeOf(o.C)%9000); err != nil {
				return err
			}
		}
	case OpChurn:
		for i := range 4 * int(o.B) {
			if err := r.set(int(o.A)+i%8, 8+i%50); err != nil {
				return err
			}
		}
	case OpGet, OpScan, OpMultiGet:
		return r.same(r.engine, r.live)
	case OpCheckpoint, OpBegin:
		r.highest += 1 + uint64(o.A%3)
		return r.committing(r.live, r.highest, func() error { return r.engine.Snapshot(r.highest) })
	case OpRestore:
		return r.restore(o)
	case OpReopen:
		if err := r.committing(r.live, 0, r.engine.Close); err != nil {
			return err
		}
		if r.engine, err = r.open(r.disk); err != nil {
			return err
		}
		return r.same(r.engine, r.live)
	case OpCrash:
		return r.crash(o)
	}
	return nil
}

func (r *engineRun) restore(o Op) error {
	versions := r.outcome.Load().versions
	kept := slices.Sorted(maps.Keys(versions))
	if len(kept) == 0 {
		return nil
	}
	v := kept[int(o.A)%len(kept)]
	if err := r.committing(versions[v], 0, func() error { return r.engine.Restore(v) }); err != nil {
		return fmt.Errorf("version %d: %w", v, err)
	}
	r.live = maps.Clone(versions[v])
	return r.same(r.engine, r.live)
}

// crash pulls the plug and goes on with what is left: no call is under way, so that the state is known.
func (r *engineRun) crash(o Op) error {
	left := r.disk.Clone(crashOf(o.A, o.B, r.disk.Unsynced()))
	r.disk.SetHook(nil)
	r.disk.CrashNow()
	r.engine.Close() // its disk is gone: whatever it says
	r.disk = left
	r.watch()
	var err error
	if r.engine, err = r.open(left); err != nil {
		return err
	}
	r.live = maps.Clone(r.outcome.Load().states[0])
	return r.same(r.engine, r.live)
}

// engineOptions make each engine merge, spill and compact early.
func engineOptions() compare.Options {
	o := compare.ThesisOptions()
	o.KeepVersions = -1
	o.MemoryBytes = 256 << 10
	return o
}

// TestEngines_Tapes plays the same tapes against every engine of package compare.
func TestEngines_Tapes(t *testing.T) {
	t.Parallel()
	for i, kind := range compare.Kinds() {
		states := 0
		tapes := scaled(1, 2, 6, 500)
		for seed := range tapes {
			how := byte(i) | byte(seed%2)<<2
			tape := randomTape(seed+3000, 80)
			n, err := playEngine(how, tape)
			if err != nil {
				report(t, fmt.Sprintf("%s, seed %d", kind, seed), err, tape, func(tape Tape) error {
					_, err := playEngine(how, tape)
					return err
				})
			}
			states += n
		}
		testkit.Counted(t, "%s: %d tapes, %d crash states, each gone on from", kind, tapes, states)
	}
}

// playEngine plays a tape against the engine that how chooses, and returns how many crash states were verified.
func playEngine(how byte, tape Tape) (states int, err error) {
	kinds := compare.Kinds()
	r := &engineRun{kind: kinds[int(how&3)%len(kinds)], options: engineOptions(), direct: how&4 != 0}
	err = within(func() error { return r.play(tape) })
	return r.states, err
}

// FuzzEngines plays any tape against the engine that the first byte of the input chooses.
func FuzzEngines(f *testing.F) {
	for i := range compare.Kinds() {
		f.Add(append([]byte{byte(i)}, randomTape(uint64(i)+4000, 40).Encode()...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		play := func(tape Tape) error {
			_, err := playEngine(data[0], tape)
			return err
		}
		tape := Decode(data[1:], maxCommands/2)
		if err := play(tape); err != nil {
			report(t, fmt.Sprintf("%s, how %d", compare.Kinds()[int(data[0]&3)%len(compare.Kinds())], data[0]), err, tape, play)
		}
	})
}
