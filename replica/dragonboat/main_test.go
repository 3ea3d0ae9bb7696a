package hlograft

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	dragonboat "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/hlog"
)

// The nodes of a cluster are processes of their own, so that they can be killed: the test binary again, with this variable.
const nodeEnv = "DRAGONBOAT_TEST_NODE"

func TestMain(m *testing.M) {
	for _, name := range []string{"raft", "rsm", "dragonboat", "logdb", "transport", "config", "grpc", "utils", "raftpb", "settings", "tan", "gossip", "registry", "tools"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	text := os.Getenv(nodeEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	go func() { // nobody is left behind by a test that was killed
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	var c nodeConfig
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = runNode(c)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "node %d: %v\n", c.Replica, err)
		os.Exit(1)
	}
}

// nodeConfig is what a node is told.
type nodeConfig struct {
	Replica uint64
	Dir     string
	Raft    string // where others reach it
	Listen  string // where it listens for them
	Control string // where the test talks to it
	Members map[uint64]string
	Join    bool
	Memory  int64
	// Entries between two snapshots, and how many stay in the log behind one: enough for what is applied while a snapshot of
	// all keys is on its way, else the node that takes it in needs another one when it is there.
	Snapshots, Kept uint64
}

const (
	testShard = 7
	counters  = 1000
)

func nodeHost(dir, raft, listen string) (*dragonboat.NodeHost, error) {
	c := config.NodeHostConfig{NodeHostDir: dir, RaftAddress: raft, ListenAddress: listen, RTTMillisecond: 20}
	c.Expert.LogDB = config.GetTinyMemLogDBConfig()
	c.Expert.LogDB.Shards = 1
	c.Expert.Engine = config.EngineConfig{ExecShards: 1, CommitShards: 1, ApplyShards: 1, SnapshotShards: 2, CloseShards: 1}
	return dragonboat.NewNodeHost(c)
}

func raftConfig(replica, snapshots, kept uint64) config.Config {
	return config.Config{
		ShardID: testShard, ReplicaID: replica, ElectionRTT: 20, HeartbeatRTT: 2, CheckQuorum: true, PreVote: true,
		SnapshotEntries: snapshots, CompactionOverhead: kept,
	}
}

func (c nodeConfig) replica() Config {
	return Config{Dir: filepath.Join(c.Dir, "state"), Apply: applyCommands, Query: answer, Options: hlog.Options{MemoryBytes: c.Memory}}
}

// runNode is a node, until it is told to end.
func runNode(c nodeConfig) error {
	nh, err := nodeHost(filepath.Join(c.Dir, "raft"), c.Raft, c.Listen)
	if err != nil {
		return err
	}
	members := c.Members
	if c.Join || nh.HasNodeInfo(testShard, c.Replica) {
		members = nil
	}
	if _, err := Start(nh, members, c.Join && !nh.HasNodeInfo(testShard, c.Replica), raftConfig(c.Replica, c.Snapshots, c.Kept), c.replica()); err != nil {
		return err
	}
	n := &node{nh}
	http.HandleFunc("/propose", n.propose)
	http.HandleFunc("/ready", n.ready)
	http.HandleFunc("/digest", n.digest)
	http.HandleFunc("/present", n.present)
	http.HandleFunc("/replace", n.replace)
	listener, err := net.Listen("tcp", c.Control)
	if err != nil {
		return err
	}
	go http.Serve(listener, nil)
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := n.watch(ended); err != nil {
		return err
	}
	nh.Close()
	return nil
}

type node struct{ nh *dragonboat.NodeHost }

// watch reads counters all the time, without asking anybody else: none of them ever goes down, whatever happens to the store
// behind it.
func (n *node) watch(ctx context.Context) error {
	seen := map[uint64]uint64{}
	for tick := time.NewTicker(time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		key := rand.Uint64N(counters)
		count, err := n.nh.StaleRead(testShard, key)
		if errors.Is(err, dragonboat.ErrShardNotInitialized) || errors.Is(err, dragonboat.ErrShardNotReady) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lookup: %w", err)
		}
		if count.(uint64) < seen[key] {
			return fmt.Errorf("counter %d goes from %d to %d", key, seen[key], count)
		}
		seen[key] = count.(uint64)
	}
}

// propose proposes the commands that the request has, all at a time, and answers with the ids of those that were applied.
func (n *node) propose(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	session := n.nh.GetNoOPSession(testShard)
	var pending []*dragonboat.RequestState
	var ids []byte
	for ; len(body) >= commandBytes; body = body[commandBytes:] {
		rs, err := n.nh.Propose(session, body[:commandBytes:commandBytes], time.Second)
		if err != nil {
			break
		}
		pending, ids = append(pending, rs), append(ids, body[:8]...)
	}
	for i, rs := range pending {
		if result := <-rs.ResultC(); result.Completed() && result.GetResult().Value > 0 {
			w.Write(ids[8*i : 8*i+8])
		}
		rs.Release()
	}
}

// ready answers when the node has all that was acknowledged before.
func (n *node) ready(w http.ResponseWriter, r *http.Request) { n.query(w, r, readyQuery{}) }

// digest answers with a digest of the state that has everything that was acknowledged before.
func (n *node) digest(w http.ResponseWriter, r *http.Request) { n.query(w, r, digestQuery{}) }

// present answers with a byte for each id below the limit: how often it was applied.
func (n *node) present(w http.ResponseWriter, r *http.Request) {
	limit, err := strconv.ParseUint(r.FormValue("limit"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.query(w, r, presentQuery(limit))
}

func (n *node) query(w http.ResponseWriter, r *http.Request, query any) {
	ctx, stop := context.WithTimeout(r.Context(), 5*time.Second)
	defer stop()
	answer, err := n.nh.SyncRead(ctx, testShard, query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Write(answer.([]byte))
}

// replace takes a replica out of the shard, and puts another in at its address.
func (n *node) replace(w http.ResponseWriter, r *http.Request) {
	ctx, stop := context.WithTimeout(r.Context(), 2*time.Second)
	defer stop()
	old, err := strconv.ParseUint(r.FormValue("old"), 10, 64)
	if err == nil {
		err = n.nh.SyncRequestDeleteReplica(ctx, testShard, old, 0)
	}
	if err == nil || errors.Is(err, dragonboat.ErrRejected) { // it was done by the request before, whose answer was an error
		err = n.nh.SyncRequestAddReplica(ctx, testShard, old+1, r.FormValue("address"), 0)
	}
	if err != nil && !errors.Is(err, dragonboat.ErrRejected) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// A command is the id of a proposal, and the counter that it adds one to.
const commandBytes = 16

func command(id, counter uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, id), counter)
}

// applied is the key of how often a proposal was applied: at most once, if all is well.
type applied struct{ Mark, ID uint64 }

// mark tells keys of ids from those of counters for those who scan.
const mark = math.MaxUint64

func applyCommands(b *Batch) error {
	ids, err := Table[applied, uint64](b)
	if err != nil {
		return err
	}
	counts, err := Table[uint64, uint64](b)
	if err != nil {
		return err
	}
	keys := make([]applied, len(b.Entries))
	for i, e := range b.Entries {
		keys[i] = applied{mark, binary.LittleEndian.Uint64(e.Cmd)}
	}
	if err := ids.MultiUpdate(keys, func(_ int, n *uint64, _ bool) { *n++ }); err != nil {
		return err
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		err := counts.Update(binary.LittleEndian.Uint64(e.Cmd[8:]), func(n *uint64, _ bool) { *n++; e.Result.Value = *n })
		if err != nil {
			return err
		}
	}
	return nil
}

type (
	readyQuery   struct{}
	digestQuery  struct{}
	presentQuery uint64
)

func answer(r *Reader, query any) (any, error) {
	switch q := query.(type) {
	case uint64:
		n, _, err := Value[uint64, uint64](r, q)
		return n, err
	case readyQuery:
		return []byte("ready"), nil
	case digestQuery:
		return digestOf(r)
	case presentQuery:
		times := make([]byte, q)
		err := r.Scan(context.Background(), func(key, value []byte) bool {
			if len(key) == 16 {
				times[binary.LittleEndian.Uint64(key[8:])] = value[0]
			}
			return true
		})
		return times, err
	}
	return nil, fmt.Errorf("query %T", query)
}

// digestOf returns a digest of all keys and values, in whatever order they come, and their number.
func digestOf(r *Reader) ([]byte, error) {
	var sum, n uint64
	err := r.Scan(context.Background(), func(key, value []byte) bool {
		sum += xxh3.HashSeed(value, xxh3.Hash(key))
		n++
		return true
	})
	return fmt.Appendf(nil, "%d keys, %016x", n, sum), err
}
