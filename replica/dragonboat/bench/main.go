// Program bench compares replicas on HybridLog with the same state machine on Pebble, in alternation: blind sets of 100 bytes
// and counters, in one shard and in sixteen. Each shard has one replica, so that nothing but the log on this machine is
// before the state machine.
//
//	go -C replica/dragonboat/bench run .
//
// It prints medians over the rounds, and the extremes of the ratio of two rounds that were run one after the other.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	dragonboat "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/hybridlog/hybridlog/hlog"
	hlograft "github.com/hybridlog/hybridlog/replica/dragonboat"
)

const (
	counterBytes = 8          // a command of so many bytes adds one to the counter that it names
	setBytes     = 8 + 100    // a longer one sets the key in its first 8 bytes
	memory       = 256 << 20  // of all shards of an engine together
	batchEntries = 256        // of the state machine alone
	inFlight     = 1024       // proposals, of all shards together
	syncAfter    = 100 * 1000 // entries between two calls of Sync
)

var (
	dirFlag  = flag.String("dir", "", "where the stores and logs are; a temporary directory by default")
	keysFlag = flag.Uint64("keys", 200_000, "keys, of all shards together")
	rounds   = flag.Int("rounds", 3, "rounds, each with every engine")
	seconds  = flag.Float64("seconds", 0.5, "how long each measurement takes")
	kinds    = flag.String("engines", "", "only this engine")
)

// engine is a kind of state machine.
type engine struct {
	name string
	make func(e *env, shard uint64) (statemachine.CreateOnDiskStateMachineFunc, error)
}

var engines = []engine{
	{"hybridlog", hybridlog},
	{"pebble", func(e *env, shard uint64) (statemachine.CreateOnDiskStateMachineFunc, error) {
		return e.pebble(shard, pebble.NoSync), nil
	}},
	{"pebble, each batch synced", func(e *env, shard uint64) (statemachine.CreateOnDiskStateMachineFunc, error) {
		return e.pebble(shard, pebble.Sync), nil
	}},
}

// env is a NodeHost and what its shards share.
type env struct {
	dir    string
	groups int
	host   *dragonboat.NodeHost
	budget *hlog.Budget
	cache  *pebble.Cache
	sms    []statemachine.IOnDiskStateMachine
}

func hybridlog(e *env, shard uint64) (statemachine.CreateOnDiskStateMachineFunc, error) {
	r, err := hlograft.Prepare(e.host, shard, 1, hlograft.Config{
		Dir: filepath.Join(e.dir, fmt.Sprint("state", shard)), Apply: apply,
		Query:   func(r *hlograft.Reader, q any) (any, error) { return r.Get(nil, q.([]byte)) },
		Options: hlog.Options{Shared: e.budget},
	})
	if err != nil {
		return nil, err
	}
	return r.Create, nil
}

// apply is the state machine on HybridLog.
func apply(b *hlograft.Batch) error {
	counts, err := hlograft.Table[uint64, uint64](b)
	if err != nil {
		return err
	}
	var names []uint64
	var of []int
	var keys, values [][]byte
	for i, e := range b.Entries {
		if len(e.Cmd) > counterBytes {
			keys, values = append(keys, e.Cmd[:8]), append(values, e.Cmd[8:])
		} else {
			names, of = append(names, binary.LittleEndian.Uint64(e.Cmd)), append(of, i)
		}
	}
	if len(keys) > 0 {
		if err := b.Session.MultiSet(keys, values); err != nil {
			return err
		}
	}
	return counts.MultiUpdate(names, func(i int, n *uint64, _ bool) { *n++; b.Entries[of[i]].Result.Value = *n })
}

func (e *env) pebble(shard uint64, write *pebble.WriteOptions) statemachine.CreateOnDiskStateMachineFunc {
	return func(uint64, uint64) statemachine.IOnDiskStateMachine {
		return &peer{dir: filepath.Join(e.dir, fmt.Sprint("state", shard)), write: write, batch: map[uint64]uint64{}, opts: &pebble.Options{
			Cache: e.cache, MemTableSize: uint64(max(1<<20, memory/8/e.groups)), MemTableStopWritesThreshold: 4,
			FormatMajorVersion: pebble.FormatNewest, Logger: silent{},
		}}
	}
}

// open makes an environment in a new directory, with a state machine for each group, not started.
func open(k engine, groups int) (*env, []statemachine.CreateOnDiskStateMachineFunc) {
	dir, err := os.MkdirTemp(*dirFlag, "replica-bench-")
	must(err)
	e := &env{dir: dir, groups: groups, cache: pebble.NewCache(memory)} // its memory tables come out of it
	e.budget, err = hlog.NewBudget(memory)
	must(err)
	c := config.NodeHostConfig{NodeHostDir: filepath.Join(dir, "raft"), RaftAddress: "127.0.0.1:27500", RTTMillisecond: 50}
	c.Expert.LogDB = config.GetSmallMemLogDBConfig()
	e.host, err = dragonboat.NewNodeHost(c)
	must(err)
	var create []statemachine.CreateOnDiskStateMachineFunc
	for shard := range groups {
		f, err := k.make(e, uint64(shard+1))
		must(err)
		create = append(create, func(s, r uint64) statemachine.IOnDiskStateMachine {
			m := f(s, r)
			e.sms = append(e.sms, m)
			return m
		})
	}
	return e, create
}

func (e *env) close() {
	e.host.Close()
	e.cache.Unref()
	must(os.RemoveAll(e.dir))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// commands makes proposals of one kind, over the keys of one of so many groups.
type commands struct {
	rng  *rand.Rand
	keys uint64
	size int
	buf  []byte
}

func newCommands(seed uint64, groups, size int) *commands {
	return &commands{rand.New(rand.NewPCG(seed, 1)), *keysFlag / uint64(groups), size, make([]byte, size)}
}

// next returns a command, which is good until the next.
func (c *commands) next() []byte {
	binary.LittleEndian.PutUint64(c.buf, c.rng.Uint64N(c.keys))
	if c.size > counterBytes {
		binary.LittleEndian.PutUint64(c.buf[8:], c.rng.Uint64())
	}
	return c.buf
}

// figures are what one round has measured, by name, in the order of the table.
type figures map[string]float64

var order = []string{
	"sets, state machine alone, k/s", "counters, state machine alone, k/s",
	"Sync after 10,000 sets, ms", "Sync after 100,000 sets, ms", "SaveSnapshot, ms", "snapshot, MB",
	"sets, proposed, 1 shard, k/s", "counters, proposed, 1 shard, k/s",
	"sets, proposed, 16 shards, k/s", "counters, proposed, 16 shards, k/s",
}

func main() {
	flag.Parse()
	for _, name := range []string{"raft", "rsm", "dragonboat", "logdb", "transport", "config", "grpc", "raftpb", "registry", "utils", "settings"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	all := map[string][]figures{}
	for round := range *rounds {
		for i := range engines {
			k := engines[(i+round)%len(engines)] // nobody is always first
			if *kinds != "" && *kinds != k.name {
				continue
			}
			f := figures{}
			alone(k, f)
			for _, groups := range []int{1, 16} {
				proposed(k, groups, f)
			}
			all[k.name] = append(all[k.name], f)
			fmt.Fprintf(os.Stderr, "round %d: %s: %v\n", round+1, k.name, f)
		}
	}
	report(all)
}

func report(all map[string][]figures) {
	for _, what := range order {
		fmt.Printf("| %s |", what)
		for _, k := range engines {
			var v, ratio []float64
			for i, f := range all[k.name] {
				v = append(v, f[what])
				if own := all["hybridlog"]; i < len(own) && f[what] > 0 {
					ratio = append(ratio, own[i][what]/f[what])
				}
			}
			if len(v) == 0 {
				continue
			}
			slices.Sort(v)
			fmt.Printf(" %.4g", v[len(v)/2])
			if k.name != "hybridlog" && len(ratio) > 0 {
				slices.Sort(ratio)
				fmt.Printf(" (%.2f ×, %.2f to %.2f)", ratio[len(ratio)/2], ratio[0], ratio[len(ratio)-1])
			}
			fmt.Print(" |")
		}
		fmt.Println()
	}
}

func since(began time.Time) float64 { return time.Since(began).Seconds() }
