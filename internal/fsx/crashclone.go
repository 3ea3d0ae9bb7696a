package fsx

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// Keep says which unsynced facts a crash leaves.
type Keep uint8

const (
	// KeepNone leaves only what is durable: the disk of a machine that never wrote anything before it was asked to.
	KeepNone Keep = iota
	// KeepAll leaves everything: the process was killed, the machine was not.
	KeepAll
	// KeepPrefix leaves the oldest N facts: a disk that writes in the order of the calls. The N-th may be any sector
	// of a write, so the cut runs through writes.
	KeepPrefix
	// KeepSubset leaves facts chosen by Seed: names each on its own; the sizes of one file up to some point; of a
	// write all sectors, none, some first ones, or any.
	KeepSubset
)

var keepNames = [...]string{"none", "all", "prefix", "subset"}

// Crash is one way for the power to fail. It is comparable and prints as what reproduces it.
type Crash struct {
	Keep Keep
	// N is the number of facts that KeepPrefix leaves; more than there are is all.
	N int
	// Seed chooses the subset, and the sector that is torn.
	Seed uint64
	// Torn leaves one unsynced sector, chosen by Seed, half written: some first or last bytes of it are new, the
	// others are as they would be without it. With KeepPrefix it is the sector after the last one kept.
	Torn bool
}

// String returns the crash in the form {subset seed=7 torn}.
func (k Crash) String() string {
	var b strings.Builder
	if int(k.Keep) < len(keepNames) {
		b.WriteString("{" + keepNames[k.Keep])
	} else {
		fmt.Fprintf(&b, "{Keep(%d)", k.Keep)
	}
	if k.Keep == KeepPrefix {
		fmt.Fprintf(&b, " n=%d", k.N)
	}
	if k.Keep == KeepSubset || k.Torn {
		fmt.Fprintf(&b, " seed=%d", k.Seed)
	}
	if k.Torn {
		b.WriteString(" torn")
	}
	return b.String() + "}"
}

// pending is an unsynced fact (all sectors of one write together) and, once it is decided, what is left of it.
type pending struct {
	node *node
	file *fileFact // or
	dir  *dirFact

	keep func(i int) bool // sector i, 0 for anything else
	torn int              // sector that is torn, -1 for none
	new  span             // bytes of that sector that are new
}

func (p *pending) seq() uint64 {
	if p.dir != nil {
		return p.dir.seq
	}
	return p.file.seq
}

func (p *pending) count() int {
	if p.dir != nil {
		return 1
	}
	return p.file.sectors()
}

func keepAll(int) bool  { return true }
func keepNone(int) bool { return false }

// Unsynced returns how many facts are not durable: sectors, sizes and names.
func (c *CrashFS) Unsynced() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := 0
	for _, p := range collect(reach(c.root)) {
		sum += p.count()
	}
	return sum
}

// Clone returns the file system as a machine would find it that comes up after a crash now: everything on it is
// durable, nothing is locked or open, and counters, hook, crash point and sync mode are as in a new one. Direct and
// capacity stay. c is left as it is and goes on; neither can reach the other.
func (c *CrashFS) Clone(k Crash) *CrashFS {
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := reach(c.root)
	facts := collect(nodes)
	decide(facts, k)

	d := &CrashFS{direct: c.direct, space: c.space, nodes: c.nodes, locks: map[*node]*memLock{}}
	twins := make(map[*node]*node, len(nodes))
	for _, n := range nodes {
		t := &node{id: n.id, dir: n.dir}
		if n.dir {
			t.names = maps.Clone(n.diskNames)
		} else {
			t.live = n.disk.copy()
		}
		twins[n] = t
	}
	for i := range facts {
		facts[i].happen(twins[facts[i].node])
	}
	for _, t := range twins {
		if !t.dir {
			t.live.truncate(t.live.size) // bytes may have been kept whose size was not
			t.disk = t.live.copy()
			continue
		}
		for name, n := range t.names {
			t.names[name] = twins[n]
			twins[n].links++
		}
		t.diskNames = maps.Clone(t.names)
	}
	d.root = twins[c.root]
	for _, n := range reach(d.root) {
		d.used += n.live.alloc.count()
	}
	return d
}

// reach returns the nodes that a crash could leave a name for, oldest first.
func reach(root *node) []*node {
	seen := map[*node]bool{root: true}
	todo := []*node{root}
	visit := func(n *node) {
		if n != nil && !seen[n] {
			seen[n] = true
			todo = append(todo, n)
		}
	}
	for i := 0; i < len(todo); i++ {
		for _, n := range todo[i].names {
			visit(n)
		}
		for _, n := range todo[i].diskNames {
			visit(n)
		}
		for _, f := range todo[i].changes {
			for _, s := range f.sets {
				visit(s.node)
			}
		}
	}
	slices.SortFunc(todo, func(a, b *node) int { return cmp.Compare(a.id, b.id) })
	return todo
}

// collect returns the unsynced facts of nodes, oldest first.
func collect(nodes []*node) []pending {
	var facts []pending
	for _, n := range nodes {
		for i := range n.facts {
			facts = append(facts, pending{node: n, file: &n.facts[i], torn: -1})
		}
		for i := range n.changes {
			facts = append(facts, pending{node: n, dir: &n.changes[i], torn: -1})
		}
	}
	slices.SortFunc(facts, func(a, b pending) int { return cmp.Compare(a.seq(), b.seq()) })
	return facts
}

// decide chooses what is left of every fact.
func decide(facts []pending, k Crash) {
	r := rand.New(rand.NewPCG(k.Seed, 0x66737863_72617368)) // any constant: one seed, one stream
	sectors := 0
	for i := range facts {
		if facts[i].dir == nil && facts[i].file.data != nil {
			sectors += facts[i].count()
		}
	}
	if k.Torn && sectors > 0 && k.Keep != KeepPrefix {
		tear(facts, r.IntN(sectors), r)
	}
	switch k.Keep {
	case KeepPrefix:
		left := k.N
		for i := range facts {
			p, n := &facts[i], left
			p.keep = func(s int) bool { return s < n }
			if k.Torn && p.file != nil && p.file.data != nil && 0 <= left && left < p.count() {
				p.tear(left, r)
			}
			left -= p.count()
		}
	case KeepSubset:
		subset(facts, r)
	default:
		for i := range facts {
			facts[i].keep = keepNone
			if k.Keep == KeepAll {
				facts[i].keep = keepAll
			}
		}
	}
}

// tear tears the s-th of all unsynced sectors.
func tear(facts []pending, s int, r *rand.Rand) {
	for i := range facts {
		p := &facts[i]
		if p.file == nil || p.file.data == nil {
			continue
		}
		if s < p.count() {
			p.tear(s, r)
			return
		}
		s -= p.count()
	}
}

// tear tears sector s of a write.
func (p *pending) tear(s int, r *rand.Rand) {
	at := 1 + r.Int64N(SectorSize-1)
	p.torn, p.new = s, span{0, at}
	if r.IntN(2) == 0 {
		p.new = span{at, SectorSize}
	}
}

// subset chooses freely. Each seed has its own leaning, so that states where nearly everything or nearly nothing was
// kept come up too.
func subset(facts []pending, r *rand.Rand) {
	leaning := []float64{0.1, 0.5, 0.9}[r.IntN(3)]
	sizes := map[*node]int{} // how many more sizes of a file are kept
	for i := range facts {
		if p := &facts[i]; p.file != nil && p.file.data == nil {
			sizes[p.node]++
		}
	}
	drawn := map[*node]bool{}
	for i := range facts {
		p := &facts[i]
		p.keep = keepNone
		switch {
		case p.file != nil && p.file.data == nil:
			// A size is one field on disk: it holds one of the values it had, and the ones before are history.
			if !drawn[p.node] {
				drawn[p.node] = true
				if r.Float64() >= leaning {
					sizes[p.node] = r.IntN(sizes[p.node] + 1)
				}
			}
			if sizes[p.node] > 0 {
				sizes[p.node]--
				p.keep = keepAll
			}
		case r.Float64() < leaning:
			p.keep = keepAll
		case p.file != nil:
			p.keep = someSectors(p.count(), r)
		}
	}
}

// someSectors chooses none, some first ones, or any of the sectors of a write.
func someSectors(n int, r *rand.Rand) func(int) bool {
	switch r.IntN(3) {
	case 0:
		first := r.IntN(n + 1)
		return func(i int) bool { return i < first }
	case 1:
		bits := make([]bool, n)
		for i := range bits {
			bits[i] = r.IntN(2) == 0
		}
		return func(i int) bool { return bits[i] }
	}
	return keepNone
}

// happen makes what is left of the fact happen in t.
func (p *pending) happen(t *node) {
	switch {
	case p.dir != nil:
		if p.keep(0) {
			p.dir.apply(t.names)
		}
	case p.file.data == nil:
		if p.keep(0) {
			p.file.apply(&t.live)
		}
	default:
		for i := range p.count() {
			at := i * SectorSize
			part := span{0, SectorSize}
			if i == p.torn {
				part = p.new
			} else if !p.keep(i) {
				continue
			}
			t.live.write(p.file.data[at+int(part.from):at+int(part.to)], p.file.off+int64(at)+part.from)
		}
	}
}

// String returns a picture of the tree for the log of a failing test: what is, what the disk has of it, and how many
// facts lie between.
func (c *CrashFS) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	var show func(n *node, name, indent string)
	show = func(n *node, name, indent string) {
		if !n.dir {
			fmt.Fprintf(&b, "%s%s #%d %d bytes, on disk %d, %d unsynced\n",
				indent, name, n.id, n.live.size, n.disk.size, len(n.facts))
			return
		}
		fmt.Fprintf(&b, "%s%s/ #%d %d names unsynced\n", indent, name, n.id, len(n.changes))
		for _, base := range slices.Sorted(maps.Keys(n.names)) {
			show(n.names[base], base, indent+"  ")
		}
		for _, base := range slices.Sorted(maps.Keys(n.diskNames)) {
			if d := n.diskNames[base]; d != n.names[base] {
				fmt.Fprintf(&b, "%s  %s on disk is #%d, %d bytes\n", indent, base, d.id, d.disk.size)
			}
		}
	}
	show(c.root, "", "")
	return b.String()
}
