package hlograft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

func testConfig(t *testing.T, dir string) Config {
	t.Helper()
	c := Config{Dir: filepath.Join(dir, "state"), RecordDir: filepath.Join(dir, "raft"), Apply: applyCommands, Query: answer,
		Options: hlog.Options{MemoryBytes: 4 << 20}}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// openMachine opens the state in a directory as Prepare does.
func openMachine(c Config, known bool) (*machine, error) {
	m := &machine{c: &c, shard: testShard, replica: 1}
	return m, m.open(known)
}

func newMachine(t *testing.T, dir string) *machine {
	t.Helper()
	m, err := openMachine(testConfig(t, dir), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close() })
	return m
}

// update applies the entries from first to last: entry i is the command with id i, for counter i modulo 8.
func update(t *testing.T, m *machine, first, last uint64) {
	t.Helper()
	if err := tryUpdate(m, first, last); err != nil {
		t.Fatal(err)
	}
}

func tryUpdate(m *machine, first, last uint64) error {
	var entries []statemachine.Entry
	for i := first; i <= last; i++ {
		entries = append(entries, statemachine.Entry{Index: i, Cmd: command(i, i%8)})
	}
	done, err := m.Update(entries)
	if err == nil && len(done) != len(entries) {
		err = fmt.Errorf("%d results for %d entries", len(done), len(entries))
	}
	for _, e := range done {
		if want := e.Index/8 + 1; err == nil && e.Result.Value != want && e.Index%8 != 0 {
			err = fmt.Errorf("entry %d: counter is %d, want %d", e.Index, e.Result.Value, want)
		}
	}
	return err
}

// holds demands that the state has the entries from 1 to last, each once.
func holds(m *machine, last uint64) error {
	times, err := m.Lookup(presentQuery(last + 100))
	if err != nil {
		return err
	}
	for id, n := range times.([]byte) {
		if want := byte(1); uint64(id) > last || id == 0 {
			if n != 0 {
				return fmt.Errorf("entry %d, behind %d, is in the state", id, last)
			}
		} else if n != want {
			return fmt.Errorf("entry %d of %d was applied %d times", id, last, n)
		}
	}
	return nil
}

func mustHold(t *testing.T, m *machine, last uint64) {
	t.Helper()
	if index, err := m.Open(nil); index != last || err != nil {
		t.Errorf("index %d, want %d: %v", index, last, err)
	}
	if err := holds(m, last); err != nil {
		t.Error(err)
	}
}

func TestUpdate_BatchedAndAlone(t *testing.T) {
	dir := t.TempDir()
	m := newMachine(t, dir)
	update(t, m, 1, 100)
	for i := uint64(101); i <= 110; i++ {
		update(t, m, i, i)
	}
	if n, err := m.Lookup(uint64(5)); n != uint64(14) || err != nil {
		t.Errorf("counter 5 is %v, %v", n, err)
	}
	mustHold(t, m, 110)
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	mustHold(t, newMachineKnown(t, dir), 110)
}

// newMachineKnown opens a state whose replica was started before.
func newMachineKnown(t *testing.T, dir string) *machine {
	t.Helper()
	m, err := openMachine(testConfig(t, dir), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close() })
	return m
}

func TestUpdate_OutOfOrder(t *testing.T) {
	m := newMachine(t, t.TempDir())
	update(t, m, 1, 10)
	for _, entries := range [][]statemachine.Entry{{{Index: 10, Cmd: command(10, 0)}}, {{Index: 12, Cmd: command(12, 0)}, {Index: 11, Cmd: command(11, 0)}}} {
		if _, err := m.Update(entries); !errors.Is(err, ErrOrder) {
			t.Errorf("entries from %d: %v", entries[0].Index, err)
		}
	}
	mustHold(t, m, 10)
}

// A batch that fails in the middle is in no version, also not in the last one.
func TestApply_ErrorCommitsNothing(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, dir)
	broken := errors.New("broken")
	c.Apply = func(b *Batch) error {
		half := *b
		half.Entries = b.Entries[:len(b.Entries)/2]
		if err := applyCommands(&half); err != nil || len(b.Entries) < 100 {
			return errors.Join(err, applyCommands(&Batch{Entries: b.Entries[len(b.Entries)/2:], Session: b.Session, typed: b.typed}))
		}
		return broken
	}
	m, err := openMachine(c, false)
	if err != nil {
		t.Fatal(err)
	}
	update(t, m, 1, 10)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := tryUpdate(m, 11, 200); !errors.Is(err, ErrApply) || !errors.Is(err, broken) {
		t.Errorf("a batch that fails: %v", err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	mustHold(t, newMachineKnown(t, dir), 10)
}

// saved returns a snapshot of m as a stream.
func saved(t *testing.T, m *machine) []byte {
	t.Helper()
	what, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := m.SaveSnapshot(what, &out, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// The version is that of PrepareSnapshot, whatever is applied meanwhile, and as long as the view says.
func TestSnapshot_BesideUpdates(t *testing.T) {
	m := newMachine(t, t.TempDir())
	update(t, m, 1, 1000)
	what, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	update(t, m, 1001, 3000)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	next := uint64(3001)
	w := writerFunc(func(p []byte) (int, error) {
		if next < 3100 {
			update(t, m, next, next)
			next++
		}
		return out.Write(p)
	})
	if err := m.SaveSnapshot(what, w, nil); err != nil {
		t.Fatal(err)
	}
	if next == 3001 {
		t.Error("nothing was applied meanwhile")
	}
	size := int64(out.Len())
	view, err := what.(*snapshot).pending.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if view.Size() != size {
		t.Errorf("%d bytes, the view says %d", size, view.Size())
	}
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
	other := newMachine(t, t.TempDir())
	if err := other.RecoverFromSnapshot(&out, nil); err != nil {
		t.Fatal(err)
	}
	mustHold(t, other, 1000)
}

// Two snapshots of one index are the same, whatever the store has done in between, and their version is kept as long as
// somebody may ask for it and no longer.
func TestSnapshot_SameIndexSameBytes(t *testing.T) {
	c := testConfig(t, t.TempDir())
	m, err := openMachine(c, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	update(t, m, 1, 3000)
	first := saved(t, m)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // index files are merged, and versions purged
		if _, err := m.state.Load().store.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if again := saved(t, m); !bytes.Equal(first, again) {
		t.Errorf("%d and %d bytes, which differ", len(first), len(again))
	}
	late, err := m.PrepareSnapshot() // and not saved before the state goes on
	if err != nil {
		t.Fatal(err)
	}
	update(t, m, 3001, 3001)
	other := saved(t, m)
	if bytes.Equal(first, other) {
		t.Error("the next index has the same snapshot")
	}
	var out bytes.Buffer
	if err := m.SaveSnapshot(late, &out, nil); err != nil || !bytes.Equal(out.Bytes(), first) {
		t.Errorf("a snapshot that was prepared before: %v", err)
	}
	update(t, m, 3002, 3002)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "versions that nobody sends to be purged", func() bool {
		versions, err := m.state.Load().store.Versions()
		return err == nil && len(versions) == 1
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A state that was taken in replaces the one before, in lookups, in versions that Close commits, and after the next start.
func TestRecover_Replaces(t *testing.T) {
	from := newMachine(t, t.TempDir())
	update(t, from, 1, 500)
	stream := saved(t, from)
	for _, synced := range []bool{true, false} {
		dir := t.TempDir()
		m := newMachine(t, dir)
		update(t, m, 1, 20)
		if err := m.RecoverFromSnapshot(bytes.NewReader(stream), nil); err != nil {
			t.Fatal(err)
		}
		mustHold(t, m, 500)
		update(t, m, 501, 600)
		if synced {
			if err := m.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
		if names, _ := filepath.Glob(filepath.Join(dir, "state", "state-*")); len(names) != 1 {
			t.Errorf("states %q are left", names)
		}
		mustHold(t, newMachineKnown(t, dir), 600)
	}
}

// A snapshot that was imported by hand may be older than the state. The record goes down with it, before the library calls Sync:
// a crash in between is not taken for a rollback.
func TestRecover_Older(t *testing.T) {
	dir := t.TempDir()
	m := newMachine(t, dir)
	update(t, m, 1, 20)
	stream := saved(t, m)
	update(t, m, 21, 40)
	if err := m.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := m.RecoverFromSnapshot(bytes.NewReader(stream), nil); err != nil {
		t.Fatal(err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	mustHold(t, newMachineKnown(t, dir), 20)
}

// Lookups go on in the old state until the new one is there, and each sees one of them from beginning to end.
func TestRecover_LookupsGoOn(t *testing.T) {
	from := newMachine(t, t.TempDir())
	update(t, from, 1, 500)
	stream := saved(t, from)

	dir := t.TempDir()
	c := testConfig(t, dir)
	inside, leave := make(chan struct{}), make(chan struct{})
	c.Query = func(r *Reader, query any) (any, error) {
		if query != "slow" {
			return answer(r, query)
		}
		before, err := digestOf(r)
		if err != nil {
			return nil, err
		}
		close(inside)
		<-leave
		after, err := digestOf(r)
		if err == nil && !bytes.Equal(before, after) {
			err = fmt.Errorf("%s, and then %s", before, after)
		}
		return before, err
	}
	m, err := openMachine(c, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	update(t, m, 1, 20)
	old := m.state.Load()
	slow := make(chan error)
	go func() {
		_, err := m.Lookup("slow")
		slow <- err
	}()
	<-inside
	during := atomic.Bool{}
	reader := readerFunc(func(p []byte) (int, error) {
		during.Store(true)
		if err := holds(m, 20); err != nil {
			t.Error(err)
		}
		n := copy(p, stream)
		if stream = stream[n:]; n == 0 {
			return 0, io.EOF
		}
		return n, nil
	})
	if err := m.RecoverFromSnapshot(reader, nil); err != nil || !during.Load() {
		t.Fatal(err, during.Load())
	}
	mustHold(t, m, 500)
	if testkit.Closed(old.retired) {
		t.Error("the old state is closed while a lookup reads it")
	}
	close(leave)
	if err := <-slow; err != nil {
		t.Errorf("a lookup that began before: %v", err)
	}
	testkit.Eventually(t, "the old state to close", func() bool { return testkit.Closed(old.retired) })
	if _, err := os.Stat(old.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", old.dir, err)
	}
}

// awaitStop waits until what was to end has been told.
func awaitStop(t *testing.T) {
	testkit.Eventually(t, "the context to end", func() bool { return !testkit.Stands("dragonboat.until.func1") })
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A snapshot that is damaged, ends too early, is of another shard or is stopped leaves the state as it is.
func TestRecover_Refused(t *testing.T) {
	from := newMachine(t, t.TempDir())
	update(t, from, 1, 500)
	stream := saved(t, from)
	damaged := bytes.Clone(stream)
	damaged[len(damaged)/2] ^= 1

	elsewhere := testConfig(t, t.TempDir())
	other := &machine{c: &elsewhere, shard: testShard + 1, replica: 1}
	if err := other.open(false); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	stopped := make(chan struct{})
	close(stopped)

	dir := t.TempDir()
	m := newMachine(t, dir)
	update(t, m, 1, 20)
	for name, x := range map[string]struct {
		stream []byte
		stop   chan struct{}
		want   error
	}{
		"damaged":      {damaged, nil, hlog.ErrCorrupt},
		"short":        {stream[:len(stream)-100], nil, hlog.ErrCorrupt},
		"empty":        {nil, nil, hlog.ErrCorrupt},
		"other shard":  {saved(t, other), nil, ErrOtherReplica},
		"stopped":      {stream, stopped, statemachine.ErrSnapshotStopped},
		"no snapshot":  {[]byte(strings.Repeat("x", 10_000)), nil, hlog.ErrCorrupt},
		"own, damaged": {append([]byte{1}, stream[1:]...), nil, hlog.ErrCorrupt},
	} {
		r := io.Reader(bytes.NewReader(x.stream))
		if x.stop != nil { // what stops it is seen when it asks for more
			whole := r
			r = readerFunc(func(p []byte) (int, error) {
				awaitStop(t)
				return whole.Read(p)
			})
		}
		if err := m.RecoverFromSnapshot(r, x.stop); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
		mustHold(t, m, 20)
		if names, _ := filepath.Glob(filepath.Join(dir, "state", "state-*")); len(names) != 1 {
			t.Errorf("%s: states %q are left", name, names)
		}
	}
	update(t, m, 21, 30)
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	mustHold(t, newMachineKnown(t, dir), 30)
}

// Errors of the writer end the snapshot. They are the library's, or else ErrSnapshotAborted: for any other the library would
// end the process.
func TestSaveSnapshot_Errors(t *testing.T) {
	m := newMachine(t, t.TempDir())
	update(t, m, 1, 500)
	stopped := make(chan struct{})
	close(stopped)
	for _, x := range []struct{ of, want error }{
		{statemachine.ErrSnapshotStreaming, statemachine.ErrSnapshotStreaming},
		{fmt.Errorf("wrapped: %w", statemachine.ErrSnapshotStopped), statemachine.ErrSnapshotStopped},
		{errors.New("the disk of an export is full"), statemachine.ErrSnapshotAborted},
	} {
		what, err := m.PrepareSnapshot()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SaveSnapshot(what, writerFunc(func([]byte) (int, error) { return 0, x.of }), nil); err != x.want {
			t.Errorf("%v: %v, want %v", x.of, err, x.want)
		}
	}
	what, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	w := writerFunc(func(p []byte) (int, error) { return len(p), nil })
	ended := writerFunc(func(p []byte) (int, error) {
		awaitStop(t)
		return len(p), nil
	})
	if err := m.SaveSnapshot(what, ended, stopped); err != statemachine.ErrSnapshotStopped {
		t.Errorf("stopped: %v", err)
	}
	if what, err = m.PrepareSnapshot(); err != nil {
		t.Fatal(err)
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	if err := m.SaveSnapshot(what, w, nil); err != statemachine.ErrSnapshotStopped {
		t.Errorf("closed: %v", err)
	}
}

func TestLookup_DuringAndAfterClose(t *testing.T) {
	m := newMachine(t, t.TempDir())
	update(t, m, 1, 100)
	looked := make(chan int)
	for range 4 {
		go func() {
			n := 0
			defer func() { looked <- n }()
			for {
				if _, err := m.Lookup(uint64(3)); err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				n++
			}
		}()
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		<-looked
	}
	if _, err := m.Lookup(uint64(3)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := m.close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// A crash at every call that writes: the replica opens at an index that is not behind what Sync has returned for, with the
// state of exactly that index, and is not refused.
func TestCrash_AtEveryCall(t *testing.T) {
	script := func(c Config) (synced uint64) {
		m, err := openMachine(c, false)
		if err != nil {
			return 0
		}
		for i := uint64(1); i <= 6; i++ {
			if tryUpdate(m, 10*i-9, 10*i) != nil {
				return synced
			}
			if i%2 == 0 {
				if m.Sync() != nil {
					return synced
				}
				synced = 10 * i
			}
		}
		if m.close() == nil {
			synced = 60
		}
		return synced
	}
	config := func(fs fsx.FS) Config {
		c := Config{Dir: "/r/state", RecordDir: "/r/raft", Apply: applyCommands, Query: answer, Options: hlog.Options{MemoryBytes: 4 << 20, FS: fs}}
		if err := c.check(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	fresh := func() *fsx.CrashFS {
		disk := fsx.NewCrash(fsx.CrashOptions{})
		if err := errors.Join(disk.MkdirAll("/r"), disk.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		return disk
	}
	whole := fresh()
	if got := script(config(whole)); got != 60 {
		t.Fatalf("without a crash: %d", got)
	}
	calls, states, step := whole.Calls(), 0, int64(testkit.UnderRace(7, testkit.Scaled(3, 1, 1, 1)))
	for k := int64(1); k <= calls; k += step {
		disk := fresh()
		disk.CrashAt(k)
		synced := script(config(disk))
		for seed, keep := range []fsx.Keep{fsx.KeepNone, fsx.KeepAll, fsx.KeepSubset} {
			clone := disk.Clone(fsx.Crash{Keep: keep, Seed: uint64(k) + uint64(seed)})
			// The library knows the replica when Prepare has returned, which is before the first entry.
			m, err := openMachine(config(clone), synced > 0)
			if err != nil && errors.Is(err, ErrLogLost) { // a crash before the first Sync, and Close
				m, err = openMachine(config(clone), true)
			}
			if err != nil {
				t.Fatalf("crash at %d, %v, with %d synced: %v", k, keep, synced, err)
			}
			index := m.state.Load().index.Load()
			if index < synced || index%10 != 0 {
				t.Fatalf("crash at %d, %v: index %d, and %d was synced", k, keep, index, synced)
			}
			if err := holds(m, index); err != nil {
				t.Fatalf("crash at %d, %v: %v", k, keep, err)
			}
			if err := m.close(); err != nil {
				t.Fatal(err)
			}
			states++
		}
	}
	testkit.Counted(t, "%d crash states of %d calls", states, calls)
}

// An error of the disk at every sync: no Sync returns nil for what is not durable, and the replica starts again.
func TestSync_DiskFails(t *testing.T) {
	for nth := int64(1); nth < 100; nth++ {
		dir := t.TempDir()
		c := testConfig(t, dir)
		m, err := openMachine(c, false)
		if err == nil {
			err = m.close()
		}
		if err != nil {
			t.Fatal(err)
		}
		failing := fsx.NewErr(fsx.OS())
		c.Options.FS = failing
		injected := failing.Inject(fsx.Fault{Class: fsx.ClassSync, Nth: nth})
		m, err = openMachine(c, true)
		var synced uint64
		if err == nil {
			for i := uint64(1); i <= 5 && err == nil; i++ {
				if err = tryUpdate(m, 10*i-9, 10*i); err == nil {
					if err = m.Sync(); err == nil {
						synced = 10 * i
					}
				}
			}
			if err == nil { // something for Close to commit
				err = tryUpdate(m, 51, 60)
			}
			if err != nil {
				t.Logf("sync %d fails: %v", nth, err)
			}
			err = m.Close()
			if err != nil { // the library would end the process
				t.Fatalf("sync %d fails: Close: %v", nth, err)
			}
		}
		if injected.Fired() == 0 {
			if nth < 5 {
				t.Fatalf("only %d syncs", nth)
			}
			testkit.Counted(t, "%d syncs failed", nth-1)
			return
		}
		m, err = openMachine(testConfig(t, dir), true)
		if err != nil {
			t.Fatalf("sync %d has failed with %d synced: %v", nth, synced, err)
		}
		if index := m.state.Load().index.Load(); index < synced {
			t.Fatalf("sync %d has failed: index %d, and %d was synced", nth, index, synced)
		} else if err := holds(m, index); err != nil {
			t.Fatal(err)
		}
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("syncs without end")
}

// What a query gets of its reader.
func TestReader(t *testing.T) {
	c := testConfig(t, t.TempDir())
	c.Apply = func(b *Batch) error {
		for i := range b.Entries {
			if err := b.Session.Set(b.Entries[i].Cmd, b.Entries[i].Cmd); err != nil {
				return err
			}
		}
		return nil
	}
	c.Query = func(r *Reader, query any) (any, error) {
		if _, err := r.Get(nil, []byte("none")); !errors.Is(err, hlog.ErrNotFound) {
			return nil, fmt.Errorf("absent: %w", err)
		}
		n := 0
		if err := r.Scan(context.Background(), func(_, _ []byte) bool { n++; return true }); err != nil || n != 2 {
			return nil, fmt.Errorf("scan: %d, %w", n, err)
		}
		var all []byte
		err := r.MultiGet([][]byte{[]byte("a"), []byte("b")}, func(_ int, v []byte, err error) { all = append(all, v...) })
		if err != nil {
			return nil, err
		}
		if _, _, err := Value[string, uint64](r, "a"); !errors.Is(err, hlog.ErrOptions) {
			return nil, fmt.Errorf("a table of strings: %w", err)
		}
		return r.Get(all, []byte("a"))
	}
	m, err := openMachine(c, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if _, err := m.Update([]statemachine.Entry{{Index: 3, Cmd: []byte("a")}, {Index: 4, Cmd: []byte("b")}}); err != nil {
		t.Fatal(err)
	}
	if got, err := m.Lookup(nil); err != nil || string(got.([]byte)) != "aba" {
		t.Errorf("%s, %v", got, err)
	}
}
