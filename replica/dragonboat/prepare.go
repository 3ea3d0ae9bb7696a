package hlograft

import (
	"errors"
	"fmt"
	"os"
	"sync"

	dragonboat "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/hybridlog/hybridlog/hlog"
)

// Replica is a replica whose state was found whole. Its methods may be called from any goroutine.
type Replica struct {
	c              Config
	shard, replica uint64
	mu             sync.Mutex
	prepared       *machine // until Create hands it out
	last           *machine // handed out last, or prepared
}

// Start opens and checks the state of the replica that raft names, and then starts it by NodeHost.StartOnDiskReplica, whose
// arguments and errors these are. The errors of [Prepare] come before the library knows of the replica.
func Start(nh *dragonboat.NodeHost, members map[uint64]dragonboat.Target, join bool, raft config.Config, c Config) (*Replica, error) {
	r, err := Prepare(nh, raft.ShardID, raft.ReplicaID, c)
	if err != nil {
		return nil, err
	}
	if err := nh.StartOnDiskReplica(members, join, r.Create, raft); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Prepare opens the state of a replica and checks that it can be started (T4, T5): the state is not behind what the library
// may have recorded. It is called before each start, and its Create is what StartOnDiskReplica is given. Start does both.
//
// ErrConfig, ErrRolledBack, ErrRecord, ErrLogLost, ErrOtherReplica, ErrCookie, ErrCurrent, and the errors of hlog.Open.
func Prepare(nh *dragonboat.NodeHost, shard, replica uint64, c Config) (*Replica, error) {
	if c.RecordDir == "" {
		c.RecordDir = nh.NodeHostConfig().NodeHostDir
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &machine{c: &c, shard: shard, replica: replica}
	if err := m.open(nh.HasNodeInfo(shard, replica)); err != nil {
		return nil, err
	}
	return &Replica{c: c, shard: shard, replica: replica, prepared: m, last: m}, nil
}

// Remove removes the state and the record of a replica that was taken out of its shard. It must not be running.
func Remove(nh *dragonboat.NodeHost, shard, replica uint64, c Config) error {
	if c.RecordDir == "" {
		c.RecordDir = nh.NodeHostConfig().NodeHostDir
	}
	if err := c.check(); err != nil {
		return err
	}
	number, err := c.readCurrent(shard, replica)
	if errors.Is(err, ErrOtherReplica) {
		return err
	}
	if number != 0 { // nobody has it open
		release, err := c.Options.FS.Lock(c.stateDir(number), true)
		if err != nil && !isMissing(err) {
			return err
		}
		if err == nil {
			if err := release(); err != nil {
				return err
			}
		}
	}
	if err := os.RemoveAll(c.Dir); err != nil {
		return err
	}
	if err := c.Options.FS.Remove(recordName(c.RecordDir, shard, replica)); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// Reset is called after tools.ImportSnapshot, when the state of the replica is lost or older than it was: it is removed like by
// Remove, and the replica starts without one. The library then has it take in what was imported. Without an imported snapshot
// a replica that was started before must not be reset: it would lack what its log does not have any more, for which the
// library ends the process.
func Reset(nh *dragonboat.NodeHost, shard, replica uint64, c Config) error {
	if err := Remove(nh, shard, replica, c); err != nil {
		return err
	}
	if c.RecordDir == "" {
		c.RecordDir = nh.NodeHostConfig().NodeHostDir
	}
	if err := c.check(); err != nil {
		return err
	}
	r, err := makeRecord(c.Options.FS, c.RecordDir, shard, replica, 0)
	if err != nil {
		return err
	}
	return r.file.Close()
}

// Create is the function that NodeHost.StartOnDiskReplica is given.
func (r *Replica) Create(shard, replica uint64) statemachine.IOnDiskStateMachine {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.prepared
	if r.prepared = nil; m == nil || shard != r.shard || replica != r.replica {
		// A second start without Prepare: Open prepares the replica, too late for a refusal to do no harm.
		m = &machine{c: &r.c, shard: shard, replica: replica}
	}
	r.last = m
	return m
}

// Close closes a replica that was prepared and not started. A replica that was started is closed by the library.
func (r *Replica) Close() error {
	r.mu.Lock()
	m := r.prepared
	r.prepared = nil
	r.mu.Unlock()
	if m == nil {
		return nil
	}
	return m.close()
}

// current returns the state, which the caller releases; nil when the replica is closed.
func (r *Replica) current() *state {
	r.mu.Lock()
	m := r.last
	r.mu.Unlock()
	return m.acquire()
}

// Index returns the index of the last entry that was applied, 0 when the replica is closed.
func (r *Replica) Index() uint64 {
	s := r.current()
	if s == nil {
		return 0
	}
	defer s.release()
	return s.index.Load()
}

// Metrics returns those of the store; they are zero when the replica is closed. When a snapshot is taken in they begin anew.
func (r *Replica) Metrics() hlog.Metrics {
	s := r.current()
	if s == nil {
		return hlog.Metrics{}
	}
	defer s.release()
	return s.store.Metrics()
}

// open finds the state of the replica, or makes one, and checks it (T4, T5). known says that the library has a log for it.
func (m *machine) open(known bool) error {
	c := m.c
	number, err := c.readCurrent(m.shard, m.replica)
	if err != nil {
		return err
	}
	rec, err := openRecord(c.Options.FS, c.RecordDir, m.shard, m.replica)
	if err != nil && !isMissing(err) {
		return err
	}
	m.record = rec
	if err := m.openState(number, known); err != nil {
		if m.record != nil {
			err = errors.Join(err, m.record.file.Close())
		}
		return err
	}
	return nil
}

func (m *machine) openState(number uint64, known bool) error {
	c, recorded := m.c, uint64(0)
	if m.record != nil {
		recorded = m.record.index
	}
	switch {
	case m.record == nil && known:
		return fmt.Errorf("%w: %s", ErrRecord, recordName(c.RecordDir, m.shard, m.replica))
	case number == 0 && recorded > 0:
		return &RolledBackError{Dir: c.Dir, Recorded: recorded}
	case number == 0:
		return m.makeState(1)
	}
	if entries, err := c.Options.FS.List(c.stateDir(number)); err != nil && !isMissing(err) {
		return err
	} else if len(entries) == 0 && recorded > 0 { // hlog.Open would make a store there
		return &RolledBackError{Dir: c.stateDir(number), Recorded: recorded}
	}
	s, err := c.openState(m.shard, number)
	if err != nil {
		return err
	}
	index := s.index.Load()
	switch {
	case index < recorded:
		err = &RolledBackError{Dir: s.dir, Recorded: recorded, Found: index}
	case index > 0 && !known:
		err = fmt.Errorf("%w: %s has entries up to %d of shard %d, replica %d", ErrLogLost, s.dir, index, m.shard, m.replica)
	case m.record == nil:
		m.record, err = makeRecord(c.Options.FS, c.RecordDir, m.shard, m.replica, index)
	}
	if err == nil {
		err = c.clean(number)
	}
	if err != nil {
		return errors.Join(err, s.store.Close())
	}
	m.begin(s)
	return nil
}

// makeState makes an empty state, and a record that says so. The record comes first: it may say less than there is.
func (m *machine) makeState(number uint64) (err error) {
	c := m.c
	if err := os.RemoveAll(c.stateDir(number)); err != nil { // begun, and not made current
		return err
	}
	s, err := c.openState(m.shard, number)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.store.Close())
		}
	}()
	if m.record == nil {
		m.record, err = makeRecord(c.Options.FS, c.RecordDir, m.shard, m.replica, 0)
	} else {
		err = m.record.set(0)
	}
	if err != nil {
		return err
	}
	if err := c.writeCurrent(m.shard, m.replica, number); err != nil {
		return err
	}
	if err := c.clean(number); err != nil {
		return err
	}
	m.begin(s)
	return nil
}
