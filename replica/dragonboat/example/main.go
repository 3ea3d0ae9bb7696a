// Program example counts clicks in three replicas, which run in one process here and on three machines elsewhere: it proposes
// clicks at one of them and reads the counts from all.
//
//	go run ./example -dir state        # run it again: it goes on from where it was
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"path/filepath"
	"time"

	dragonboat "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"

	"github.com/hybridlog/hybridlog/hlog"
	hlograft "github.com/hybridlog/hybridlog/replica/dragonboat"
)

const (
	shard = 1
	pages = 100
)

// apply adds one to the page that each command names, and answers with its count. A command that is not one has the result
// 0, on every replica alike.
func apply(b *hlograft.Batch) error {
	counts, err := hlograft.Table[uint64, uint64](b)
	if err != nil {
		return err
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if len(e.Cmd) != 8 {
			continue
		}
		page := binary.LittleEndian.Uint64(e.Cmd)
		if err := counts.Update(page, func(n *uint64, _ bool) { *n++; e.Result.Value = *n }); err != nil {
			return err
		}
	}
	return nil
}

// query answers with the count of a page.
func query(r *hlograft.Reader, q any) (any, error) {
	n, _, err := hlograft.Value[uint64, uint64](r, q.(uint64))
	return n, err
}

func main() {
	dir := flag.String("dir", "state", "where the replicas keep their logs and states")
	port := flag.Int("port", 27400, "the first of three ports on loopback")
	clicks := flag.Int("clicks", 2000, "how many to count")
	flag.Parse()
	for _, name := range []string{"raft", "rsm", "dragonboat", "logdb", "transport", "config", "grpc", "raftpb", "registry"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	members := map[uint64]dragonboat.Target{}
	for id := uint64(1); id <= 3; id++ {
		members[id] = fmt.Sprintf("127.0.0.1:%d", *port+int(id))
	}
	hosts := map[uint64]*dragonboat.NodeHost{}
	for id := uint64(1); id <= 3; id++ {
		host, err := start(filepath.Join(*dir, fmt.Sprint(id)), id, members)
		if err != nil {
			log.Fatal(err)
		}
		defer host.Close()
		hosts[id] = host
	}
	began := time.Now()
	for range *clicks {
		command := binary.LittleEndian.AppendUint64(nil, rand.Uint64N(pages))
		for propose(hosts[1], command) != nil { // there is no leader yet
			time.Sleep(50 * time.Millisecond)
		}
	}
	fmt.Printf("%d clicks, one after the other, in %v\n", *clicks, time.Since(began).Round(time.Millisecond))
	for id := uint64(1); id <= 3; id++ {
		sum := uint64(0)
		for page := range uint64(pages) {
			ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
			n, err := hosts[id].SyncRead(ctx, shard, page)
			stop()
			if err != nil {
				log.Fatal(err)
			}
			sum += n.(uint64)
		}
		fmt.Printf("replica %d has counted %d clicks since it was made\n", id, sum)
	}
}

// propose proposes one command. A real client gives its commands ids when it may propose one again: see the README.
func propose(host *dragonboat.NodeHost, command []byte) error {
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	_, err := host.SyncPropose(ctx, host.GetNoOPSession(shard), command)
	return err
}

// start starts a replica.
func start(dir string, id uint64, members map[uint64]dragonboat.Target) (*dragonboat.NodeHost, error) {
	hc := config.NodeHostConfig{NodeHostDir: filepath.Join(dir, "raft"), RaftAddress: members[id], RTTMillisecond: 10}
	hc.Expert.LogDB = config.GetTinyMemLogDBConfig()
	host, err := dragonboat.NewNodeHost(hc)
	if err != nil {
		return nil, err
	}
	if host.HasNodeInfo(shard, id) {
		members = nil // it was started before
	}
	raft := config.Config{ShardID: shard, ReplicaID: id, ElectionRTT: 20, HeartbeatRTT: 2, CheckQuorum: true, SnapshotEntries: 1000, CompactionOverhead: 500}
	_, err = hlograft.Start(host, members, false, raft, hlograft.Config{
		Dir: filepath.Join(dir, "state"), Apply: apply, Query: query, Options: hlog.Options{MemoryBytes: 16 << 20},
	})
	if err != nil {
		host.Close()
		return nil, err
	}
	return host, nil
}
