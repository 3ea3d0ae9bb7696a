package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/fuzz/linearize"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// linearConfig is what goes on around the clients of a linearizability test.
type linearConfig struct {
	name       string
	clients    int
	keys       int // per round; each round has keys of its own
	opsPerKey  int
	largest    int  // value, in bytes
	spill      bool // a writer pushes everything out of memory
	grow       bool // a writer makes the index grow
	checkpoint bool
	compact    bool
	restore    bool
}

// wentOn reports whether all that was to go on has been seen. Growths of an index that a restore has replaced are not
// counted.
func (c *linearConfig) wentOn(seen *hlog.Metrics) bool {
	return (!c.spill || seen.ColdReadCount > 0) && (!c.grow || c.restore || seen.IndexGrowthCount > 0) &&
		(!c.checkpoint || seen.CheckpointCount > 0) && (!c.compact || seen.CompactedBytes > 0) && (!c.restore || seen.RestoreCount > 0)
}

var linearConfigs = []linearConfig{
	{name: "in memory", clients: 4, keys: 40, opsPerKey: 60, largest: 64},
	{name: "one key", clients: 4, keys: 1, opsPerKey: 1000, largest: 3000, checkpoint: true},
	{name: "growth", clients: 4, keys: 400, opsPerKey: 30, largest: 16, grow: true},
	{name: "checkpoints", clients: 4, keys: 100, opsPerKey: 60, largest: 300, checkpoint: true},
	{name: "spill", clients: 4, keys: 250, opsPerKey: 100, largest: 3000, spill: true},
	{name: "compaction", clients: 4, keys: 250, opsPerKey: 200, largest: 600, spill: true, checkpoint: true, compact: true},
	{name: "restores", clients: 4, keys: 150, opsPerKey: 40, largest: 600, checkpoint: true, restore: true},
	{name: "everything", clients: 6, keys: 250, opsPerKey: 100, largest: 2100, spill: true, grow: true, checkpoint: true, compact: true, restore: true},
}

// Concurrent clients work on few keys while the store spills, grows, checkpoints, compacts and is restored; every
// history is checked. The number of operations is logged.
func TestLinearizable(t *testing.T) {
	total, all, ran := testkit.Scaled(40_000, 120_000, 1_000_000, 20_000_000), 0, 0
	for _, c := range linearConfigs {
		t.Run(c.name, func(t *testing.T) {
			if testkit.SizeOf() == testkit.Short {
				c.opsPerKey /= 3
			}
			done, keys, unknown, seen := 0, 0, 0, hlog.Metrics{}
			// What goes on meanwhile depends on the scheduler: there are more rounds, up to a bound, until it has.
			for round := uint64(0); (done < total/len(linearConfigs) || round < 200 && !c.wentOn(&seen)) && !t.Failed(); round++ {
				res := c.round(t, round, &seen)
				done, keys, unknown = done+res.Operations, keys+res.Keys, unknown+res.Unknown
			}
			all, ran = all+done, ran+1
			t.Logf("%d operations checked; %d cold reads, %d growths, %d checkpoints, %d bytes compacted, %d restores", done,
				seen.ColdReadCount, seen.IndexGrowthCount, seen.CheckpointCount, seen.CompactedBytes, seen.RestoreCount)
			if !c.wentOn(&seen) {
				t.Error("what was to go on meanwhile did not")
			}
			if unknown > keys/4 { // of all rounds: one may have a single key
				t.Errorf("nothing is known of %d of %d keys", unknown, keys)
			}
		})
	}
	testkit.Counted(t, "%d operations checked in all", all)
	if all < total && ran == len(linearConfigs) && !t.Failed() {
		t.Errorf("fewer than %d", total)
	}
}

// linearRun is one round.
type linearRun struct {
	linearConfig
	t     *testing.T
	round uint64
	store *hlog.Store
	rec   *linearize.Recorder
	ended atomic.Bool
	token atomic.Uint64
}

// round runs one history on a store of its own and checks it. It adds what went on to seen.
func (c linearConfig) round(t *testing.T, round uint64, seen *hlog.Metrics) linearize.Result {
	store, err := hlog.Open("/store", &hlog.Options{
		MemoryBytes: hlog.MinMemoryBytes, PageBytes: hlog.MinPageBytes, SegmentBytes: 256 << 10,
		KeepVersions: linearize.MaxVersions, FS: fsx.NewCrash(fsx.CrashOptions{Direct: true}), NoReadCache: round%2 == 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	r := &linearRun{linearConfig: c, t: t, round: round, store: store, rec: linearize.New()}
	var background, clients sync.WaitGroup
	for _, job := range []struct {
		on bool
		do func() error
	}{{c.spill, r.spillLog}, {c.grow, r.growIndex}, {c.checkpoint, r.checkpoints}, {c.compact, r.compactions}} {
		if job.on {
			background.Go(func() { r.report(job.do()) })
		}
	}
	for i := range c.clients {
		clients.Go(func() { r.report(r.client(i)) })
	}
	clients.Wait()
	r.ended.Store(true)
	background.Wait()
	m := store.Metrics()
	seen.ColdReadCount += m.ColdReadCount
	seen.IndexGrowthCount += m.IndexGrowthCount
	seen.CheckpointCount += m.CheckpointCount
	seen.CompactedBytes += m.CompactedBytes
	seen.RestoreCount += m.RestoreCount
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("hybridlog-%s-%d", filepath.Base(t.Name()), round))
	res := r.rec.Check(2, 20*time.Second, dir)
	if res.Unknown > 0 {
		t.Logf("round %d: of %d of %d keys the search took too long", round, res.Unknown, res.Keys)
	}
	for _, bad := range res.Bad {
		t.Errorf("round %d: not linearizable, see %s", round, bad)
	}
	return res
}

func (r *linearRun) report(err error) {
	if err != nil {
		r.t.Errorf("round %d: %v", r.round, err)
	}
}

func (r *linearRun) key(i int) []byte {
	if i%3 == 0 {
		return fmt.Appendf(nil, "key %d of round %d", i, r.round)
	}
	return binary.BigEndian.AppendUint64(nil, r.round<<32|uint64(i))
}

// value appends the value of a token: the token, and bytes that follow from it, as many as it says.
func (r *linearRun) value(buf []byte, token uint64) []byte {
	buf = binary.LittleEndian.AppendUint64(buf, token)
	mix := token * 0x9e3779b97f4a7c15
	for i := range int(mix>>40) % (r.largest - 7) {
		buf = append(buf, byte(mix>>(i%7*8))+byte(i))
	}
	return buf
}

// tokenOf returns the token of a value, which must be whole; 0 for none.
func (r *linearRun) tokenOf(v []byte, err error) (uint64, error) {
	switch {
	case errors.Is(err, hlog.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(v) < 8:
		return 0, fmt.Errorf("a value of %d bytes", len(v))
	}
	token := binary.LittleEndian.Uint64(v)
	if want := r.value(nil, token); string(want) != string(v) {
		return 0, fmt.Errorf("a value that nobody wrote: token %x, %d bytes of %d", token, len(v), len(want))
	}
	return token, nil
}

// client does operations of all kinds through all doors.
func (r *linearRun) client(id int) error {
	x := r.store.NewSession()
	defer x.Close()
	rec := r.rec.Client()
	rnd := rand.New(rand.NewPCG(r.round, uint64(id)))
	var buf []byte
	for range r.keys * r.opsPerKey / r.clients {
		k := rnd.IntN(r.keys)
		if rnd.IntN(3) == 0 && !r.restore { // some keys are hot; with versions that would take too long to check
			k = rnd.IntN(1 + r.keys/8)
		}
		var err error
		if kind := rnd.IntN(20); kind == 0 {
			err = r.multi(x, rec, rnd)
		} else {
			buf, err = r.single(x, rec, kind, k, buf)
		}
		if err != nil {
			return fmt.Errorf("client %d, key %d: %w", id, k, err)
		}
	}
	return nil
}

func (r *linearRun) single(x *hlog.Session, rec *linearize.Client, kind, k int, buf []byte) (_ []byte, err error) {
	key := r.key(k)
	switch {
	case kind < 7:
		op := rec.Begin(linearize.Get, k)
		if kind%2 == 0 {
			buf, err = r.store.Get(buf[:0], key)
		} else {
			buf, err = x.Get(buf[:0], key)
		}
		if op.Saw, err = r.tokenOf(buf, err); err == nil {
			rec.End(op)
		}
	case kind < 11:
		op := rec.Begin(linearize.Set, k)
		op.Token = r.token.Add(1)
		buf = r.value(buf[:0], op.Token)
		if err = x.Set(key, buf); err == nil {
			rec.End(op)
		}
	case kind < 13:
		op := rec.Begin(linearize.Delete, k)
		if err = x.Delete(key); err == nil {
			rec.End(op)
		}
	default:
		op := rec.Begin(linearize.RMW, k)
		if kind > 13 {
			op.Token = r.token.Add(1)
		}
		var bad error
		err = x.RMW(key, r.update(&op, kind%2 == 0, &bad))
		if err = errors.Join(err, bad); err == nil {
			rec.End(op)
		}
	}
	return buf, err
}

// update returns the callback of an RMW that writes op's token and notes what it has seen.
func (r *linearRun) update(op *linearize.Op, inPlace bool, bad *error) func(old []byte) []byte {
	return func(old []byte) []byte {
		op.Saw, *bad = 0, nil
		if old != nil {
			op.Saw, *bad = r.tokenOf(old, nil)
		}
		switch {
		case op.Token == 0:
			return nil
		case inPlace && old != nil:
			return r.value(old[:0], op.Token)
		}
		return r.value(nil, op.Token)
	}
}

// multi does one Multi call. Its operations are linearizable each by itself, between its begin and its end; keys
// that are repeated take effect in order, so that they are not repeated here.
func (r *linearRun) multi(x *hlog.Session, rec *linearize.Client, rnd *rand.Rand) error {
	var keys, values [][]byte
	var ops []linearize.Op
	kind := []linearize.Kind{linearize.Get, linearize.Set, linearize.RMW}[rnd.IntN(3)]
	for i, k := range rnd.Perm(r.keys) {
		if i == 20 {
			break
		}
		op := rec.Begin(kind, k)
		if kind != linearize.Get {
			op.Token = r.token.Add(1)
		}
		ops = append(ops, op)
		keys, values = append(keys, r.key(k)), append(values, r.value(nil, op.Token))
	}
	var err error
	bad := make([]error, len(ops))
	switch kind {
	case linearize.Get:
		err = x.MultiGet(keys, func(i int, v []byte, err error) { ops[i].Saw, bad[i] = r.tokenOf(v, err) })
	case linearize.Set:
		err = x.MultiSet(keys, values)
	default:
		err = x.MultiRMW(keys, func(i int, old []byte) []byte { return r.update(&ops[i], i%2 == 0, &bad[i])(old) })
	}
	if err := errors.Join(append(bad, err)...); err != nil {
		return err
	}
	for _, op := range ops {
		rec.End(op)
	}
	return nil
}

// spillLog writes records that push all others out of memory.
func (r *linearRun) spillLog() error {
	x := r.store.NewSession()
	defer x.Close()
	v := make([]byte, 4000)
	for i := 0; !r.ended.Load(); i++ {
		if err := x.Set(fmt.Appendf(nil, "spill %d", i%3000), v); err != nil {
			return err
		}
	}
	return nil
}

// growIndex inserts keys that nobody else uses.
func (r *linearRun) growIndex() error {
	x := r.store.NewSession()
	defer x.Close()
	for i := 0; !r.ended.Load(); i++ {
		if err := x.Set(fmt.Appendf(nil, "grow %d", i), nil); err != nil {
			return err
		}
		if i%64 == 0 {
			testkit.Pause(50 * time.Microsecond)
		}
	}
	return nil
}

// checkpoints makes versions, and restores them if that is asked for.
func (r *linearRun) checkpoints() error {
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(r.round, 99))
	var versions []checkpoint.Version
	for !r.ended.Load() {
		testkit.Pause(time.Duration(rnd.IntN(800)) * time.Microsecond)
		if r.restore && len(versions) > 0 && (rnd.IntN(2) == 0 || len(versions) == linearize.MaxVersions) {
			i := rnd.IntN(len(versions))
			call := r.rec.Now()
			if _, err := r.store.Restore(ctx, versions[i]); err != nil {
				return err
			}
			r.rec.Global(linearize.Restore, i, call)
			if len(versions) == linearize.MaxVersions {
				return nil
			}
			continue
		}
		call := r.rec.Now()
		p, err := r.store.BeginCheckpoint()
		if err != nil {
			return err
		}
		if rnd.IntN(3) == 0 && !r.restore {
			continue
		}
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
		if r.restore {
			// Not when BeginCheckpoint returned: operations that had begun before may still have taken effect since.
			r.rec.Global(linearize.Checkpoint, len(versions), call)
			versions = append(versions, p.Version())
		}
	}
	return nil
}

func (r *linearRun) compactions() error {
	for !r.ended.Load() {
		testkit.Pause(500 * time.Microsecond)
		if err := r.store.Compact(context.Background()); err != nil {
			return err
		}
	}
	return nil
}
