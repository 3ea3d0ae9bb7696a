#!/usr/bin/env bash
# dragonboat: StopShard and StopReplica return while the state machine is still open.
#
# Guess:    when StopShard has returned nil, the replica has stopped: its state machine is closed, and what it had open (files,
#           locks, memory) can be opened again.
# Instead:  StopShard returns at once; Update may still run, and Close is called some time after, by another goroutine. There is no
#           call that waits for it, but for NodeHost.Close; an event, NodeUnloaded, tells. StartOnDiskReplica is ErrShardAlreadyExist
#           until then.
# Seen:     dragonboat v4.0.0-20250723143628-076c7f6497dc, go 1.26.
# Source:   NodeHost.stopNode in nodehost.go marks the node, and the engine's workers unload it, the last of them calls Close.
# Matters:  a state machine that locks its directory is met locked by whoever opens it right after StopShard: to check it, to
#           copy it, to start it again. That is no error of the state, and has to be told from one: try again.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	sm "github.com/lni/dragonboat/v4/statemachine"
)

// machine is a state machine that takes a moment to close, as one does that writes what it has in memory.
type machine struct {
	closing chan struct{} // Close goes on when it is closed
	closed  atomic.Bool
}

func (m *machine) Open(<-chan struct{}) (uint64, error)                 { return 0, nil }
func (m *machine) Update(e []sm.Entry) ([]sm.Entry, error)              { return e, nil }
func (m *machine) Lookup(any) (any, error)                              { return nil, nil }
func (m *machine) Sync() error                                          { return nil }
func (m *machine) PrepareSnapshot() (any, error)                        { return nil, nil }
func (m *machine) SaveSnapshot(any, io.Writer, <-chan struct{}) error   { return nil }
func (m *machine) RecoverFromSnapshot(io.Reader, <-chan struct{}) error { return nil }
func (m *machine) Close() error                                         { <-m.closing; m.closed.Store(true); return nil }
func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
}

func main() {
	for _, name := range []string{"dragonboat", "logdb", "transport", "config", "registry", "raft", "rsm", "utils"} {
		logger.GetLogger(name).SetLevel(logger.CRITICAL)
	}
	c := config.NodeHostConfig{NodeHostDir: "raft", RaftAddress: "127.0.0.1:27600", RTTMillisecond: 20}
	c.Expert.LogDB = config.GetTinyMemLogDBConfig()
	nh, err := dragonboat.NewNodeHost(c)
	must(err)
	m := &machine{closing: make(chan struct{})}
	raft := config.Config{ShardID: 1, ReplicaID: 1, ElectionRTT: 10, HeartbeatRTT: 1, WaitReady: true}
	create := func(uint64, uint64) sm.IOnDiskStateMachine { return m }
	must(nh.StartOnDiskReplica(map[uint64]string{1: "127.0.0.1:27600"}, false, create, raft))
	for ok := false; !ok; {
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		_, err := nh.SyncPropose(ctx, nh.GetNoOPSession(1), []byte("x"))
		stop()
		ok = err == nil
	}
	must(nh.StopShard(1)) // returns, although Close cannot return before the next line but one
	before := m.closed.Load()
	again := nh.StartOnDiskReplica(nil, false, create, raft)
	close(m.closing)
	nh.Close()
	fmt.Printf("StopShard has returned: closed is %t, a start says %v; NodeHost.Close has returned: closed is %t\n", before, again, m.closed.Load())
	if before || !errors.Is(again, dragonboat.ErrShardAlreadyExist) || !m.closed.Load() {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/lni/dragonboat/v4@v4.0.0-20250723143628-076c7f6497dc >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
