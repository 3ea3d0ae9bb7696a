#!/usr/bin/env bash
# dragonboat: RecoverFromSnapshot may be given the beginning of one stream and the end of another, with all checksums right.
#
# Guess:    what RecoverFromSnapshot reads is what one call of SaveSnapshot has written. "Deterministic" in the documentation of
#           SaveSnapshot means: the same for the same identifier that PrepareSnapshot has returned.
# Instead:  chunks that arrive are told apart by shard, receiver, index and sender. When the leader streams a second time at
#           the same index while the first stream is still on its way (its connection is slow), the first chunk of the second
#           begins a new file, and the first stream goes on in it. Each block has its own checksum, so nothing is noticed. Two
#           calls of SaveSnapshot for one index have to write the same bytes, although there were two calls of PrepareSnapshot.
# Seen:     dragonboat v4.0.0-20250723143628-076c7f6497dc, go 1.26. Also over its own TCP transport, with three processes on loopback
#           that were killed now and then, twice within some minutes.
# Source:   Chunk.record in internal/transport/chunk.go: chunk 0 replaces what is tracked under the key, and the next chunk is good
#           when its number and its sender are.
# Matters:  a snapshot that is written from files as they lie, by a store whose layout changes (compaction, a new checkpoint),
#           is another one with each call. The receiver's checksums over the whole refuse the mixture, the error of
#           RecoverFromSnapshot ends its process, and so again at each start; without such checksums it is taken in. Keep one
#           view per index, and write all streams of that index from it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"
)

// machine writes its snapshots as the letter of the call, over and over: a in the first, b in the second.
type machine struct{ index uint64 }

const snapshotBytes = 5 << 20

var (
	calls atomic.Int64
	got   = make(chan []byte, 1)
)

func (m *machine) Open(<-chan struct{}) (uint64, error) { return 0, nil }
func (m *machine) Update(e []sm.Entry) ([]sm.Entry, error) {
	return e, nil
}
func (m *machine) Lookup(any) (any, error)       { return nil, nil }
func (m *machine) Sync() error                   { return nil }
func (m *machine) PrepareSnapshot() (any, error) { return nil, nil }
func (m *machine) SaveSnapshot(_ any, w io.Writer, _ <-chan struct{}) error {
	_, err := w.Write(bytes.Repeat([]byte{byte('a' + calls.Add(1) - 1)}, snapshotBytes))
	return err
}
func (m *machine) RecoverFromSnapshot(r io.Reader, _ <-chan struct{}) error {
	b, err := io.ReadAll(r)
	if err == nil {
		select {
		case got <- b:
		default:
		}
	}
	return err
}
func (m *machine) Close() error { return nil }

// network is a transport within this process. Messages arrive at once. A connection for a snapshot delivers its chunks in
// order; the first one is slow: what comes after its first chunk arrives when the first chunk of the second has.
type network struct {
	mu       sync.Mutex
	hosts    map[string]*end
	streams  int
	overtook chan struct{} // the first chunk of the second connection has arrived
	arrived  chan struct{} // all of the first connection has
}

type end struct {
	n        *network
	messages raftio.MessageHandler
	chunks   raftio.ChunkHandler
}

func (n *network) Create(c config.NodeHostConfig, m raftio.MessageHandler, k raftio.ChunkHandler) raftio.ITransport {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[c.RaftAddress] = &end{n, m, k}
	return n.hosts[c.RaftAddress]
}
func (n *network) Validate(string) bool { return true }
func (e *end) Name() string             { return "in this process" }
func (e *end) Start() error             { return nil }
func (e *end) Close() error             { return nil }
func (e *end) to(target string) (*end, error) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	if t := e.n.hosts[target]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("no host %s yet", target)
}

type connection struct{ to *end }

func (c connection) Close() {}
func (c connection) SendMessageBatch(b pb.MessageBatch) error {
	data, err := b.Marshal()
	if err != nil {
		return err
	}
	var copied pb.MessageBatch
	if err := copied.Unmarshal(data); err != nil {
		return err
	}
	c.to.messages(copied)
	return nil
}
func (e *end) GetConnection(_ context.Context, target string) (raftio.IConnection, error) {
	t, err := e.to(target)
	return connection{t}, err
}

type stream struct {
	to     *end
	number int
	queue  chan pb.Chunk
}

func (e *end) GetSnapshotConnection(_ context.Context, target string) (raftio.ISnapshotConnection, error) {
	t, err := e.to(target)
	if err != nil {
		return nil, err
	}
	e.n.mu.Lock()
	e.n.streams++
	s := &stream{t, e.n.streams, make(chan pb.Chunk, 100)}
	e.n.mu.Unlock()
	go s.deliver()
	return s, nil
}
func (s *stream) SendChunk(c pb.Chunk) error {
	c.Data = bytes.Clone(c.Data)
	s.queue <- c
	return nil
}
func (s *stream) Close() { close(s.queue) }
func (s *stream) deliver() {
	for c := range s.queue {
		if s.number == 1 && c.ChunkId == 1 {
			<-s.to.n.overtook
		}
		s.to.chunks(c)
		if s.number == 2 && c.ChunkId == 0 {
			close(s.to.n.overtook)
			<-s.to.n.arrived
		}
	}
	if s.number == 1 {
		close(s.to.n.arrived)
	}
}

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
	n := &network{hosts: map[string]*end{}, overtook: make(chan struct{}), arrived: make(chan struct{})}
	host := func(name string) *dragonboat.NodeHost {
		c := config.NodeHostConfig{NodeHostDir: name, RaftAddress: name, RTTMillisecond: 20}
		c.Expert.LogDB = config.GetTinyMemLogDBConfig()
		c.Expert.TransportFactory = n
		nh, err := dragonboat.NewNodeHost(c)
		must(err)
		return nh
	}
	create := func(uint64, uint64) sm.IOnDiskStateMachine { return &machine{} }
	raft := func(id uint64) config.Config {
		return config.Config{ShardID: 1, ReplicaID: id, ElectionRTT: 10, HeartbeatRTT: 1}
	}
	first, second := host("first"), host("second")
	must(first.StartOnDiskReplica(map[uint64]string{1: "first"}, false, create, raft(1)))
	within := func(f func(ctx context.Context) error) {
		var err error
		for range 50 {
			ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
			err = f(ctx)
			stop()
			if err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		must(err)
	}
	for range 100 {
		within(func(ctx context.Context) error {
			_, err := first.SyncPropose(ctx, first.GetNoOPSession(1), []byte("x"))
			return err
		})
	}
	within(func(ctx context.Context) error { // the log before goes
		_, err := first.SyncRequestSnapshot(ctx, 1, dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionOverhead: 1})
		return err
	})
	within(func(ctx context.Context) error { return first.SyncRequestAddReplica(ctx, 1, 2, "second", 0) })
	must(second.StartOnDiskReplica(nil, true, create, raft(2)))
	select {
	case b := <-got:
		a := bytes.Count(b, []byte("a"))
		fmt.Printf("SaveSnapshot was called %d times, and RecoverFromSnapshot got %d bytes: %d of the first call, %d of the second\n",
			calls.Load(), len(b), a, bytes.Count(b, []byte("b")))
		if a == 0 || a == len(b) || len(b) != snapshotBytes {
			fmt.Println("CHANGED")
			os.Exit(1)
		}
	case <-time.After(time.Minute):
		fmt.Printf("CHANGED: SaveSnapshot was called %d times, and nothing was taken in\n", calls.Load())
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/lni/dragonboat/v4@v4.0.0-20250723143628-076c7f6497dc >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
