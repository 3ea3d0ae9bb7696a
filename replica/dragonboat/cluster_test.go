package hlograft

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// cluster is three nodes, and clients that propose.
type cluster struct {
	t     *testing.T
	log   lockedBuffer
	net   network
	nodes [3]*process
	began time.Time

	next  atomic.Uint64 // id of a proposal
	limit atomic.Int64  // acknowledged proposals, at which the clients wait
	mu    sync.Mutex
	acked map[uint64]bool // ids that were acknowledged
}

// process is a node. Its place in the cluster stays when it is started again, and its directory, unless it is wiped.
type process struct {
	c      *cluster
	config nodeConfig
	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
	meant  bool          // it was killed by the test
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

// tail returns the end of what was written.
func (l *lockedBuffer) tail() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes()[max(0, l.b.Len()-64<<10):])
}

// givenAddresses are those that freeAddress has returned.
var givenAddresses sync.Map

// freeAddress returns an address on loopback that nobody listens at. Its port is none that the system gives to those who dial,
// so that it is still free when a node is started again.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if _, given := givenAddresses.LoadOrStore(address, true); given {
			continue // to a node that does not listen yet
		}
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, began: time.Now(), acked: map[uint64]bool{}}
	c.net.t = t
	members := map[uint64]string{}
	for i := range c.nodes {
		p := &process{c: c, config: nodeConfig{
			Replica: uint64(10 * (i + 1)), Dir: filepath.Join(t.TempDir(), "node"), Listen: freeAddress(t), Control: freeAddress(t), Members: members,
			Memory:    int64(testkit.Scaled(16, 16, 16, 256)) << 20, // the index of the keys fits
			Snapshots: uint64(testkit.Scaled(400, 400, 400, 10_000)), Kept: uint64(testkit.Scaled(200, 200, 200, 100_000)),
		}}
		p.config.Raft = c.net.proxy(p)
		members[p.config.Replica] = p.config.Raft
		c.nodes[i] = p
	}
	t.Cleanup(func() {
		for _, p := range c.nodes {
			p.kill()
		}
		c.net.close()
		if t.Failed() {
			t.Logf("what the nodes said last:\n%s", c.log.tail())
		}
	})
	for _, p := range c.nodes {
		p.start()
	}
	return c
}

// start starts a node, which must not run.
func (p *process) start() {
	t := p.c.t
	text, err := json.Marshal(p.config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodeEnv+"="+string(text))
	cmd.Stdout, cmd.Stderr = &p.c.log, &p.c.log
	if _, err := cmd.StdinPipe(); err != nil { // ends with this process
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd, p.ended, p.meant = cmd, make(chan struct{}), false
	ended := p.ended
	p.mu.Unlock()
	go func() {
		defer close(ended)
		err := cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.meant {
			t.Errorf("node %d ends by itself: %v", p.config.Replica, err)
		}
	}()
}

// end sends a signal and waits for the node to end.
func (p *process) end(sig os.Signal) {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.meant = true
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	cmd.Process.Signal(sig)
	<-ended
}

func (p *process) kill() { p.end(os.Kill) }

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

var client = &http.Client{Timeout: 30 * time.Second}

// ask sends a request to a node.
func (p *process) ask(path string, body []byte) ([]byte, error) {
	resp, err := client.Post("http://"+p.config.Control+path, "", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return answer, err
}

// must asks until there is an answer.
func (p *process) must(path string) []byte {
	p.c.t.Helper()
	var answer []byte
	var err error
	p.c.eventually(fmt.Sprintf("an answer of node %d to %s", p.config.Replica, path), func() bool {
		answer, err = p.ask(path, nil)
		if err != nil {
			testkit.Pause(20 * time.Millisecond)
		}
		return err == nil
	})
	return answer
}

// stateNumber returns the number of the newest state that the node has on its disk: one more for each snapshot taken in.
func (p *process) stateNumber() (number uint64) {
	c := p.config.replica()
	err := c.check()
	if err == nil {
		number, err = c.readCurrent(testShard, p.config.Replica)
	}
	if err != nil {
		p.c.t.Error(err)
	}
	return number
}

// load proposes until it is stopped. Proposals that were not acknowledged may have been applied all the same.
func (c *cluster) load() (stop func()) {
	const clients = 4
	most := uint64(testkit.Scaled(250, 250, 250, 2000))
	var all sync.WaitGroup
	var stopped atomic.Bool
	for n := range clients {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 5))
			for !stopped.Load() && !c.t.Failed() {
				if c.ackedCount() >= int(c.limit.Load()) {
					testkit.Pause(time.Millisecond)
					continue
				}
				batch := 1 + rng.Uint64N(most)
				end := c.next.Add(batch)
				var body []byte
				for id := end - batch; id < end; id++ {
					body = append(body, command(id, rng.Uint64N(counters))...)
				}
				answer, err := c.nodes[rng.IntN(len(c.nodes))].ask("/propose", body)
				if err != nil || len(answer) == 0 {
					testkit.Pause(50 * time.Millisecond)
				}
				c.mu.Lock()
				for ; len(answer) >= 8; answer = answer[8:] {
					c.acked[binary.LittleEndian.Uint64(answer)] = true
				}
				c.mu.Unlock()
			}
		})
	}
	return func() {
		stopped.Store(true)
		all.Wait()
	}
}

func (c *cluster) ackedCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// until waits for so many acknowledged proposals. There may be some more of them before the next call.
func (c *cluster) until(n int) {
	const more = 20_000
	c.t.Helper()
	c.limit.Store(int64(n) + more)
	c.eventually(fmt.Sprintf("%d acknowledged proposals", n), func() bool { return c.ackedCount() >= n })
}

// eventually waits for ok, for longer than testkit does: elections, restarts and snapshots of three processes are in it.
func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for range 5 {
		if testkit.Soon(func() bool { return ok() || c.t.Failed() }) {
			if c.t.Failed() {
				c.t.FailNow()
			}
			return
		}
	}
	c.t.Fatalf("waited in vain for %s", what)
}

// check demands that all states are equal, that every acknowledged proposal is in them once, and none twice.
func (c *cluster) check() {
	c.t.Helper()
	want := c.nodes[0].must("/digest")
	for _, p := range c.nodes {
		if got := p.must("/digest"); !bytes.Equal(got, want) {
			c.t.Errorf("node %d has %s, node %d %s", p.config.Replica, got, c.nodes[0].config.Replica, want)
		}
	}
	times := c.nodes[1].must(fmt.Sprintf("/present?limit=%d", c.next.Load()))
	unknown := 0
	for id, n := range times {
		switch acked := c.acked[uint64(id)]; {
		case n > 1 || acked && n != 1:
			c.t.Fatalf("proposal %d (acknowledged: %t) was applied %d times", id, acked, n)
		case n == 1 && !acked:
			unknown++
		}
	}
	testkit.Counted(c.t, "%d acknowledged proposals are there once, and %d of the %d others; the states are equal: %s",
		len(c.acked), unknown, len(times)-len(c.acked), want)
}

// phase logs how far the cluster is.
func (c *cluster) phase(what string) {
	c.t.Logf("%6.1f s: %s; %d of %d proposals acknowledged", time.Since(c.began).Seconds(), what, c.ackedCount(), c.next.Load())
}
