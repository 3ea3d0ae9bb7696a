package hlogstream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// process is a server or a worker.
type process struct {
	cmd *exec.Cmd
	r   roleConfig
	has map[int]bool // partitions, as far as it has told
	off int          // partitions that it has lost
}

func (g *group) start(role string, r roleConfig) *process {
	g.t.Helper()
	config, err := json.Marshal(r)
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "JETSTREAM_TEST_CONFIG="+string(config))
	cmd.Stderr = &g.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	p := &process{cmd: cmd, r: r, has: map[int]bool{}}
	g.mu.Lock()
	g.all = append(g.all, p)
	g.mu.Unlock()
	go func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			var e told
			if json.Unmarshal(in.Bytes(), &e) == nil {
				g.mu.Lock()
				g.events[e.Kind]++
				switch e.Kind {
				case Opened:
					g.opened = append(g.opened, e.Took.Round(time.Millisecond))
					p.has[e.Partition] = true
				case Lost:
					p.off++
					fallthrough
				case Closed:
					delete(p.has, e.Partition)
				}
				g.mu.Unlock()
			}
		}
	}()
	return p
}

// told is an event as a process tells it.
type told struct {
	Partition int
	Kind      EventKind
	Took      time.Duration
}

// kill ends a process without notice.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// group is a server, workers, and what they have told.
type group struct {
	t       *testing.T
	dir     string
	port    int
	log     lockedBuffer
	j       js.JetStream
	mu      sync.Mutex
	all     []*process
	events  map[EventKind]int
	opened  []time.Duration
	server  *process
	workers int
	parts   int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

var leaseTime = 2 * time.Second

// freePort returns a port that nobody listens at on loopback. It is none that the system gives to those who dial, so that it is
// still free when the server is started again.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(20_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func newGroup(t *testing.T, partitions int) *group {
	t.Helper()
	g := &group{t: t, dir: t.TempDir(), port: freePort(t), events: map[EventKind]int{}, parts: partitions}
	t.Cleanup(func() {
		for _, p := range g.all {
			p.kill()
		}
		if t.Failed() {
			t.Logf("what the processes said:\n%s", g.log.b.Bytes())
		}
	})
	g.startServer()
	nc, j, err := connect(g.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	g.j = j
	ctx := t.Context()
	g.retry("create streams", func() error {
		for _, name := range []string{"events", "totals"} {
			if err := CreateStreams(ctx, j, name, partitions, nil); err != nil {
				return err
			}
		}
		_, err := j.CreateOrUpdateKeyValue(ctx, js.KeyValueConfig{Bucket: bucket, Storage: js.FileStorage})
		return err
	})
	return g
}

func (g *group) startServer() {
	g.server = g.start("server", roleConfig{Dir: filepath.Join(g.dir, "server"), Port: g.port})
}

func (g *group) worker() *process {
	g.workers++
	name := fmt.Sprintf("w%d", g.workers)
	return g.start("worker", roleConfig{
		Dir: filepath.Join(g.dir, name), Port: g.port, Name: name, Remote: filepath.Join(g.dir, "remote"), Partitions: g.parts, LeaseTime: leaseTime,
	})
}

// retry calls f until it succeeds.
func (g *group) retry(what string, f func() error) {
	g.t.Helper()
	deadline := time.Now().Add(60 * leaseTime)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// await waits until f, which is called with the lock of what processes have told, reports true.
func (g *group) await(what string, f func() bool) {
	g.t.Helper()
	g.retry(what, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !f() {
			return errors.New("not yet")
		}
		return nil
	})
}

// commits waits for n more versions.
func (g *group) commits(n int) {
	g.t.Helper()
	g.mu.Lock()
	until := g.events[Committed] + n
	g.mu.Unlock()
	g.await("versions are committed", func() bool { return g.events[Committed] >= until })
}

// busy returns a worker that has a partition.
func (g *group) busy(workers []*process) (w *process) {
	g.t.Helper()
	g.await("a worker has a partition", func() bool {
		i := slices.IndexFunc(workers, func(p *process) bool { return len(p.has) > 0 })
		if i < 0 {
			return false
		}
		w = workers[i]
		return true
	})
	return w
}

// produce appends messages to the events of a partition, exactly once, whatever becomes of the server.
func (g *group) produce(partition int, messages [][]byte) {
	to := ToStreams(g.j, "events")
	ctx := g.t.Context()
	for {
		var last uint64
		g.retry("last", func() (err error) { last, err = to.Last(ctx, partition); return err })
		if int(last) == len(messages) || ctx.Err() != nil {
			return
		}
		rest := messages[last:min(len(messages), int(last)+500)]
		limit, stop := context.WithTimeout(ctx, 2*time.Second)
		_, _ = to.Publish(limit, partition, last+1, rest) // Last tells what has come of it
		stop()
	}
}

// The worst of all: workers and the server are killed, a worker is stopped for longer than its leases last and goes on, a
// worker is added. Every count and every output is that of a serial run, each output there once.
func TestWorker_KilledStoppedAdded(t *testing.T) {
	partitions, each, rounds := 4, 20_000, 1
	if os.Getenv("HLOG_FUZZ") == "long" {
		partitions, each, rounds = 8, 625_000, 5
		leaseTime = 8 * time.Second // the server has more to do than to answer
	}
	g := newGroup(t, partitions)
	var producers sync.WaitGroup
	want := make([][][]byte, partitions)
	counts := make([]map[uint64]uint64, partitions)
	for p := range partitions {
		messages := messagesOf(p, each)
		counts[p], want[p] = serial(messages)
		producers.Go(func() { g.produce(p, messages) })
	}
	workers := []*process{g.worker(), g.worker(), g.worker()}
	g.await("all partitions are opened", func() bool {
		open := map[int]bool{} // some may have been opened by one worker, given up, and opened by another
		for _, w := range workers {
			maps.Copy(open, w.has)
		}
		return len(open) == partitions
	})
	for range rounds {
		w := g.busy(workers)
		w.kill()
		workers[slices.Index(workers, w)] = g.start("worker", w.r)
		g.commits(partitions)
		g.server.kill()
		time.Sleep(200 * time.Millisecond)
		g.startServer()
		g.commits(partitions)

		w = g.busy(workers)
		w.cmd.Process.Signal(syscall.SIGSTOP)
		g.await("another worker takes over from one that was stopped", func() bool {
			return slices.ContainsFunc(workers, func(o *process) bool {
				return o != w && slices.ContainsFunc(slices.Collect(maps.Keys(w.has)), func(n int) bool { return o.has[n] })
			})
		})
		w.cmd.Process.Signal(syscall.SIGCONT)
		g.await("the worker notices", func() bool { return w.off > 0 })
	}
	workers = append(workers, g.worker())
	g.await("the new worker has its share", func() bool { return len(workers[len(workers)-1].has) > 0 })
	producers.Wait()
	for p := range partitions {
		g.retry(fmt.Sprintf("outputs of partition %d", p), func() error {
			last, err := ToStreams(g.j, "totals").Last(t.Context(), p)
			if err == nil && int(last) < len(want[p]) {
				err = fmt.Errorf("%d of %d", last, len(want[p]))
			}
			return err
		})
	}
	g.checkOutputs(want)
	for _, w := range workers { // the last version of each partition is at its remote
		w.cmd.Process.Signal(syscall.SIGTERM)
		if err := w.cmd.Wait(); err != nil {
			t.Errorf("worker: %v", err)
		}
	}
	for p := range partitions {
		g.checkCounts(p, each, counts[p])
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.Logf("%d messages, %d partitions opened in %v, %d versions, %d partitions given up and %d lost", partitions*each, g.events[Opened], g.opened, g.events[Committed], g.events[Closed], g.events[Lost])
}

// checkOutputs demands that the outputs are those of a serial run.
func (g *group) checkOutputs(want [][][]byte) {
	g.t.Helper()
	for p, all := range want {
		r, err := FromStreams(g.j, "totals").Open(g.t.Context(), p, 1)
		if err != nil {
			g.t.Fatal(err)
		}
		var got []Message
		for len(got) < len(all) {
			if got, err = r.Read(g.t.Context(), got, 1000); err != nil {
				g.t.Fatal(err)
			}
		}
		r.Close()
		for i, m := range got {
			if i >= len(all) || !bytes.Equal(m.Data, all[i]) {
				g.t.Fatalf("partition %d: output %d of %d is %x, want %x", p, i, len(got), m.Data, all[min(i, len(all)-1)])
			}
		}
	}
}

// checkCounts opens a partition from its remote, on an empty machine, and demands the counts of a serial run.
func (g *group) checkCounts(p, messages int, want map[uint64]uint64) {
	t := g.t
	t.Helper()
	remote, err := checkpoint.NewDirRemote(filepath.Join(g.dir, "remote", fmt.Sprint(p)))
	if err != nil {
		t.Fatal(err)
	}
	store, err := hlog.Open(t.TempDir(), &hlog.Options{Remote: remote, MemoryBytes: 16 << 20, RemoteEpoch: 1 << 62})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	info, _ := store.Current()
	if at, ok := parseCookie(info.Cookie); !ok || at.sequence != uint64(messages) {
		t.Fatalf("partition %d ends at %+v, want %d", p, at, messages)
	}
	found := 0
	err = store.Scan(t.Context(), func(key, value []byte) bool {
		if len(key) != 8 {
			return true // of the outbox
		}
		found++
		if k, v := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(value); want[k] != v {
			t.Errorf("partition %d: key %d was counted %d times, want %d", p, k, v, want[k])
			return false
		}
		return true
	})
	if err != nil || found != len(want) {
		t.Fatalf("partition %d has %d keys, want %d: %v", p, found, len(want), err)
	}
}
