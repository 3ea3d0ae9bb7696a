package hlograft

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	dragonboat "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/tools"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// host is a NodeHost in this process, with one replica that is a shard by itself.
type host struct {
	*dragonboat.NodeHost
	t       *testing.T
	dir     string
	address string
	once    *sync.Once
}

// stop closes the NodeHost, which panics when it is closed again.
func (h *host) stop() { h.once.Do(h.NodeHost.Close) }

func newHost(t *testing.T, dir, address string) *host {
	t.Helper()
	nh, err := nodeHost(filepath.Join(dir, "raft"), address, "")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{nh, t, dir, address, new(sync.Once)}
	t.Cleanup(h.stop)
	return h
}

func (h *host) config() Config {
	return Config{Dir: filepath.Join(h.dir, "state"), Apply: applyCommands, Query: answer, Options: hlog.Options{MemoryBytes: 4 << 20}}
}

// start starts the replica; it is ready when start returns.
func (h *host) start() *Replica {
	h.t.Helper()
	raft := raftConfig(1, 400, 200)
	raft.WaitReady = true
	members := map[uint64]dragonboat.Target{1: h.address}
	if h.HasNodeInfo(testShard, 1) {
		members = nil
	}
	r, err := Start(h.NodeHost, members, false, raft, h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// propose proposes commands until n are applied, and has them in a snapshot of the library.
func (h *host) propose(first, n uint64) {
	h.t.Helper()
	session := h.GetNoOPSession(testShard)
	for id := first; id < first+n; {
		ctx, stop := context.WithTimeout(h.t.Context(), 5*time.Second)
		_, err := h.SyncPropose(ctx, session, command(id, id%8))
		stop()
		switch {
		case err == nil:
			id++
		case errors.Is(err, dragonboat.ErrShardNotReady), errors.Is(err, dragonboat.ErrSystemBusy), errors.Is(err, dragonboat.ErrTimeout):
			testkit.Pause(10 * time.Millisecond)
		default:
			h.t.Fatal(err)
		}
	}
}

// snapshot has the library take a snapshot, which calls Sync and is recorded.
func (h *host) snapshot(o dragonboat.SnapshotOption) uint64 {
	h.t.Helper()
	ctx, stop := context.WithTimeout(h.t.Context(), 30*time.Second)
	defer stop()
	index, err := h.SyncRequestSnapshot(ctx, testShard, o)
	if err != nil {
		h.t.Fatal(err)
	}
	return index
}

// restart stops the NodeHost, calls between, and returns a new one.
func (h *host) restart(between func()) *host {
	h.t.Helper()
	h.stop()
	between()
	return newHost(h.t, h.dir, h.address)
}

// refused demands that the replica is refused, and that the library has not heard of it. Then the way back is tried: what
// was done is undone, and the replica starts.
func (h *host) refused(want error) {
	h.t.Helper()
	raft := raftConfig(1, 400, 200)
	if _, err := Start(h.NodeHost, nil, false, raft, h.config()); !errors.Is(err, want) {
		h.t.Fatalf("started: %v, want %v", err, want)
	}
	if _, err := h.StaleRead(testShard, uint64(1)); !errors.Is(err, dragonboat.ErrShardNotFound) {
		h.t.Errorf("the library has the shard: %v", err)
	}
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// What the library ends the process for is refused before it knows of the replica, and nothing is changed by that: when the
// directory is put back the replica goes on.
func TestStart_Refusals(t *testing.T) {
	dir := t.TempDir()
	state, old, away := filepath.Join(dir, "state"), filepath.Join(dir, "old"), filepath.Join(dir, "away")
	h := newHost(t, dir, freeAddress(t))
	h.start()
	h.propose(1, 20)
	h.snapshot(dragonboat.DefaultSnapshotOption)
	h = h.restart(func() { mustDo(t, os.CopyFS(old, os.DirFS(state))) })
	h.start()
	h.propose(21, 20)
	h.snapshot(dragonboat.DefaultSnapshotOption)

	// An older copy of the state.
	h = h.restart(func() { mustDo(t, os.Rename(state, away), os.CopyFS(state, os.DirFS(old))) })
	h.refused(ErrRolledBack)
	var rolled *RolledBackError
	if _, err := Prepare(h.NodeHost, testShard, 1, h.config()); !errors.As(err, &rolled) || rolled.Found >= rolled.Recorded || rolled.Found < 20 {
		t.Errorf("an older copy: %v", err)
	}
	// No state at all, and a state whose store is not there.
	mustDo(t, os.RemoveAll(state))
	h.refused(ErrRolledBack)
	mustDo(t, os.CopyFS(state, os.DirFS(away)), os.RemoveAll(filepath.Join(state, "state-00000001")))
	h.refused(ErrRolledBack)
	// The record is missing, and damaged.
	mustDo(t, os.RemoveAll(state), os.CopyFS(state, os.DirFS(away)))
	record := recordName(filepath.Join(dir, "raft"), testShard, 1)
	whole, err := os.ReadFile(record)
	mustDo(t, err, os.Remove(record))
	h.refused(ErrRecord)
	mustDo(t, os.WriteFile(record, make([]byte, len(whole)), 0o600))
	h.refused(ErrRecord)
	mustDo(t, os.WriteFile(record, whole, 0o600))
	// CURRENT is damaged, and of another replica.
	current := filepath.Join(state, currentName)
	line, err := os.ReadFile(current)
	mustDo(t, err, os.WriteFile(current, append([]byte("x"), line...), 0o600))
	h.refused(ErrCurrent)
	c := h.config()
	mustDo(t, c.check(), c.writeCurrent(testShard, 2, 1))
	h.refused(ErrOtherReplica)
	mustDo(t, os.WriteFile(current, line, 0o600))
	// Somebody has the store open.
	r, err := Prepare(h.NodeHost, testShard, 1, h.config())
	mustDo(t, err)
	h.refused(hlog.ErrLocked)
	mustDo(t, r.Close())

	h.start()
	h.propose(41, 5)
	if err := Remove(h.NodeHost, testShard, 1, h.config()); !errors.Is(err, hlog.ErrLocked) {
		t.Errorf("a replica that runs is removed: %v", err)
	}
	if n, err := h.StaleRead(testShard, presentQuery(50)); err != nil {
		t.Fatal(err)
	} else if times := n.([]byte); times[1] != 1 || times[40] != 1 || times[45] != 1 || times[46] != 0 {
		t.Errorf("applied: %v", times)
	}
	// The log is lost, and the state is not.
	h = h.restart(func() { mustDo(t, os.RemoveAll(filepath.Join(dir, "raft"))) })
	h.refused(ErrLogLost)
	mustDo(t, Remove(h.NodeHost, testShard, 1, h.config()))
	h.start()
	h.propose(1, 5)
}

func TestConfig_Refused(t *testing.T) {
	dir := t.TempDir()
	good := testConfig(t, dir)
	for name, change := range map[string]func(c *Config){
		"no Dir":              func(c *Config) { c.Dir = "" },
		"no Apply":            func(c *Config) { c.Apply = nil },
		"no Query":            func(c *Config) { c.Query = nil },
		"CheckpointEvery":     func(c *Config) { c.Options.CheckpointEvery = time.Second },
		"Version":             func(c *Config) { c.Options.Version = 3 },
		"Cookie":              func(c *Config) { c.Options.Cookie = func() []byte { return nil } },
		"ReadOnly":            func(c *Config) { c.Options.ReadOnly = true },
		"RemoteEpoch":         func(c *Config) { c.Options.RemoteEpoch = 1 },
		"RecordDir in Dir":    func(c *Config) { c.RecordDir = filepath.Join(c.Dir, "x") },
		"RecordDir being Dir": func(c *Config) { c.RecordDir = c.Dir },
		"Remote": func(c *Config) {
			var err error
			c.Options.Remote, err = checkpoint.NewDirRemote(filepath.Join(dir, "remote"))
			mustDo(t, err)
		},
	} {
		c := good
		change(&c)
		if err := c.check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A state whose newest version is not a replica's is refused.
func TestOpen_VersionWithoutIndex(t *testing.T) {
	dir := t.TempDir()
	m := newMachine(t, dir)
	update(t, m, 1, 10)
	where := m.state.Load().dir
	mustDo(t, m.Close())
	s, err := hlog.Open(where, nil)
	mustDo(t, err)
	_, err = s.Checkpoint(t.Context(), hlog.WithCookie([]byte("mine")))
	mustDo(t, err, s.Close())
	if _, err := openMachine(testConfig(t, dir), true); !errors.Is(err, ErrCookie) {
		t.Errorf("opened: %v", err)
	}
}

// What a crash has left beside the current state goes at the next start: a snapshot that was not taken in to its end, and
// the state that it was to replace.
func TestOpen_RemovesOtherStates(t *testing.T) {
	dir := t.TempDir()
	m := newMachine(t, dir)
	update(t, m, 1, 10)
	mustDo(t, m.Close())
	for _, n := range []string{"state-00000000", "state-00000002"} {
		mustDo(t, os.CopyFS(filepath.Join(dir, "state", n), os.DirFS(filepath.Join(dir, "state", "state-00000001"))))
	}
	mustHold(t, newMachineKnown(t, dir), 10)
	if names, _ := filepath.Glob(filepath.Join(dir, "state", "state-*")); len(names) != 1 {
		t.Errorf("states %q are left", names)
	}
}

// A torn write of the record leaves what it said before.
func TestRecord_TornWrite(t *testing.T) {
	dir := t.TempDir()
	c := testConfig(t, dir)
	r, err := makeRecord(c.Options.FS, dir, testShard, 1, 0)
	mustDo(t, err)
	for index := uint64(1); index <= 6; index++ {
		mustDo(t, r.set(index))
	}
	mustDo(t, r.file.Close())
	name := recordName(dir, testShard, 1)
	whole, err := os.ReadFile(name)
	mustDo(t, err)
	newest := int(r.turn%2) * recordSlot
	for at := newest; at < newest+recordBytes; at++ {
		torn := append([]byte(nil), whole...)
		torn[at] ^= 0xff
		mustDo(t, os.WriteFile(name, torn, 0o600))
		back, err := openRecord(c.Options.FS, dir, testShard, 1)
		if err != nil || back.index != 5 {
			t.Fatalf("byte %d: %v, %+v", at, err, back)
		}
		mustDo(t, back.set(9), back.file.Close())
		back, err = openRecord(c.Options.FS, dir, testShard, 1)
		if err != nil || back.index != 9 {
			t.Fatalf("byte %d, written again: %v, %+v", at, err, back)
		}
		mustDo(t, back.file.Close())
	}
	if _, err := openRecord(c.Options.FS, dir, testShard, 2); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of another replica: %v", err)
	}
}

// The repair of a shard that has lost its majority: a snapshot that was exported is imported, and the replica begins with
// that, in place of a state that is newer, lost, or not there yet.
func TestReset_ImportedSnapshot(t *testing.T) {
	for _, lost := range []bool{false, true} {
		dir := t.TempDir()
		h := newHost(t, dir, freeAddress(t))
		h.start()
		h.propose(1, 20)
		exported := t.TempDir()
		index := h.snapshot(dragonboat.SnapshotOption{Exported: true, ExportPath: exported})
		h.propose(21, 20)
		h.snapshot(dragonboat.DefaultSnapshotOption)
		h.stop()
		if lost {
			mustDo(t, os.RemoveAll(filepath.Join(dir, "state")))
		}
		names, err := filepath.Glob(filepath.Join(exported, "snapshot-*"))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		mustDo(t, tools.ImportSnapshot(h.NodeHostConfig(), names[0], map[uint64]string{1: h.address}, 1))
		h = newHost(t, dir, h.address)
		if lost {
			h.refused(ErrRolledBack)
			mustDo(t, Reset(h.NodeHost, testShard, 1, h.config()))
		}
		r := h.start()
		if r.Index() > index || r.Index() < 20 {
			t.Errorf("index %d, exported at %d", r.Index(), index)
		}
		h.propose(21, 3)
		h = h.restart(func() {})
		h.start()
		h.propose(24, 1)
		got, err := h.StaleRead(testShard, presentQuery(30))
		if err != nil {
			t.Fatal(err)
		}
		if times := got.([]byte); times[20] != 1 || times[24] != 1 || times[25] != 0 {
			t.Errorf("applied: %v", times)
		}
	}
}
