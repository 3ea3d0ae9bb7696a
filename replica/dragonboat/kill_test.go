package hlograft

import (
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// The worst of all: three nodes that are killed at random, one that is cut off until the others have dropped the log it
// lacks, and one that is wiped and replaced. At the end, and after all were stopped and started, the states are equal and
// have every acknowledged proposal once.
func TestCluster_KilledCutOffReplaced(t *testing.T) {
	total := testkit.Scaled(10_000, 20_000, 20_000, 1_000_000)
	kills := testkit.Scaled(2, 4, 4, 20) // of each node
	c := newCluster(t)
	stop := c.load()
	c.until(500)
	c.phase("begun")
	c.partition()
	c.phase("one was cut off")
	c.replace()
	c.phase("one was replaced")
	c.kills(kills, total)
	c.phase("all were killed")
	c.until(total)
	stop()
	c.check()
	for _, p := range c.nodes { // a last version of each, by Close
		p.end(syscall.SIGTERM)
	}
	for _, p := range c.nodes {
		p.start()
	}
	c.check()
}

// partition cuts a node off until it has to take a snapshot in, in place of the state that it has.
func (c *cluster) partition() {
	c.t.Helper()
	p := c.nodes[rand.IntN(len(c.nodes))]
	c.eventually("the node has a state", func() bool { return p.stateNumber() > 0 })
	before := p.stateNumber()
	c.net.partition(p)
	c.until(c.ackedCount() + 2*int(p.config.Snapshots+p.config.Kept))
	c.net.partition(nil)
	c.eventually("the node that was cut off takes a snapshot in", func() bool { return p.stateNumber() > before })
}

// replace kills a node, removes all that it had, and replaces it by another at the same address.
func (c *cluster) replace() {
	c.t.Helper()
	i := rand.IntN(len(c.nodes))
	p := c.nodes[i]
	p.kill()
	if err := os.RemoveAll(p.config.Dir); err != nil {
		c.t.Fatal(err)
	}
	other := c.nodes[(i+1)%len(c.nodes)]
	other.must(fmt.Sprintf("/replace?old=%d&address=%s", p.config.Replica, p.config.Raft))
	p.config.Replica++
	p.config.Join = true
	p.start()
	c.eventually("the new node takes a snapshot in", func() bool { return p.stateNumber() > 1 })
}

// kills kills each node so often, in a random order, spread over the proposals up to total.
func (c *cluster) kills(each, total int) {
	var order []*process
	for range each {
		order = append(order, c.nodes[:]...)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	step := max((total-c.ackedCount())/len(order), 500)
	for _, p := range order {
		c.until(c.ackedCount() + 1 + rand.IntN(2*step))
		p.kill()
		p.start()
		p.must("/ready") // it is one of the majority again before another one goes
		c.phase(fmt.Sprintf("node %d was killed and is back", p.config.Replica))
	}
}
