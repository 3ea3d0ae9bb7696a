package main

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	dragonboat "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/statemachine"
)

// driver calls a state machine as the library does, without a log.
type driver struct {
	sm    statemachine.IOnDiskStateMachine
	index uint64
	ents  []statemachine.Entry
	bytes []byte
}

// batch applies a batch of commands.
func (d *driver) batch(c *commands) {
	d.ents, d.bytes = d.ents[:0], d.bytes[:0]
	for range batchEntries {
		d.index++
		at := len(d.bytes)
		d.bytes = append(d.bytes, c.next()...)
		d.ents = append(d.ents, statemachine.Entry{Index: d.index, Cmd: d.bytes[at:len(d.bytes):len(d.bytes)]})
	}
	_, err := d.sm.Update(d.ents)
	must(err)
}

// alone measures the state machine without Raft: sets, Sync and SaveSnapshot over all keys, and counters in another.
func alone(k engine, f figures) {
	e, create := open(k, 1)
	d := &driver{sm: create[0](1, 1), bytes: make([]byte, 0, batchEntries*setBytes)}
	_, err := d.sm.Open(nil)
	must(err)
	sets := newCommands(1, 1, setBytes)
	for d.index < 2**keysFlag { // most keys are there, and many of them twice
		d.batch(sets)
	}
	must(d.sm.Sync())
	f[order[0]] = d.rate(sets)
	f[order[2]] = d.syncs(sets, syncAfter/10)
	f[order[3]] = d.syncs(sets, syncAfter)
	f[order[4]], f[order[5]] = d.snapshot()
	must(d.sm.Close())
	e.close()

	e, create = open(k, 1)
	d = &driver{sm: create[0](1, 1), bytes: d.bytes}
	_, err = d.sm.Open(nil)
	must(err)
	adds := newCommands(2, 1, counterBytes)
	for d.index < 2**keysFlag {
		d.batch(adds)
	}
	f[order[1]] = d.rate(adds)
	must(d.sm.Close())
	e.close()
}

// rate returns how many thousand commands are applied in a second, with a Sync after every 100,000 of them.
func (d *driver) rate(c *commands) float64 {
	began, first, synced := time.Now(), d.index, d.index
	for since(began) < *seconds {
		d.batch(c)
		if d.index-synced >= syncAfter {
			must(d.sm.Sync())
			synced = d.index
		}
	}
	return float64(d.index-first) / since(began) / 1000
}

// syncs returns the median of a few calls of Sync after so many commands, in milliseconds.
func (d *driver) syncs(c *commands, after uint64) float64 {
	var took []float64
	for range 5 {
		for first := d.index; d.index-first < after; {
			d.batch(c)
		}
		began := time.Now()
		must(d.sm.Sync())
		took = append(took, 1000*since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// snapshot returns how long SaveSnapshot takes, in milliseconds, and how many megabytes it writes: the second of two.
func (d *driver) snapshot() (ms, mb float64) {
	for range 2 {
		n := counted(0)
		what, err := d.sm.PrepareSnapshot()
		must(err)
		began := time.Now()
		must(d.sm.SaveSnapshot(what, &n, nil))
		ms, mb = 1000*since(began), float64(n)/1e6
	}
	return ms, mb
}

// counted is a writer that copies and counts.
type counted int64

func (c *counted) Write(p []byte) (int, error) {
	var chunk [64 << 10]byte
	for at := 0; at < len(p); {
		at += copy(chunk[:], p[at:])
	}
	*c += counted(len(p))
	return len(p), nil
}

var _ io.Writer = (*counted)(nil)

// proposed measures proposals through Raft, in so many shards.
func proposed(k engine, groups int, f figures) {
	e, create := open(k, groups)
	defer e.close()
	for i, c := range create {
		raft := config.Config{ShardID: uint64(i + 1), ReplicaID: 1, ElectionRTT: 10, HeartbeatRTT: 1, SnapshotEntries: syncAfter, CompactionOverhead: syncAfter / 10, WaitReady: true}
		must(e.host.StartOnDiskReplica(map[uint64]dragonboat.Target{1: e.host.RaftAddress()}, false, c, raft))
	}
	for i := range groups {
		for {
			if _, _, ok, _ := e.host.GetLeaderID(uint64(i + 1)); ok {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	name := fmt.Sprintf(", proposed, %d shard", groups)
	if groups > 1 {
		name += "s"
	}
	name += ", k/s"
	e.propose(setBytes, *seconds/2) // keys
	f["sets"+name] = e.propose(setBytes, *seconds)
	if f["sets"+name] > 0 {
		f["counters"+name] = e.propose(counterBytes, *seconds) // of other keys: the values of the sets have another size
	}
}

// propose keeps proposals in flight for some seconds, and returns how many thousand are applied in one.
func (e *env) propose(size int, seconds float64) float64 {
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for g := range e.groups {
		all.Go(func() {
			c := newCommands(uint64(g), e.groups, size)
			session := e.host.GetNoOPSession(uint64(g + 1))
			window := make([]*dragonboat.RequestState, 0, inFlight/e.groups)
			for since(began) < seconds {
				for len(window) < cap(window) {
					cmd := c.next()
					if size == counterBytes {
						cmd[7] |= 0x80
					}
					rs, err := e.host.Propose(session, cmd, 10*time.Second)
					must(err)
					window = append(window, rs)
				}
				half := len(window) / 2
				for _, rs := range window[:half] {
					if r := <-rs.ResultC(); r.Completed() {
						done.Add(1)
					}
					rs.Release()
				}
				window = append(window[:0], window[half:]...)
			}
			for _, rs := range window {
				<-rs.ResultC()
				rs.Release()
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / since(began) / 1000
}
