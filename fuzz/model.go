package fuzz

import (
	"fmt"
	"maps"
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Version is the id of a version.
type Version = checkpoint.Version

// State is the content of a store: values by key.
type State map[string]string

// entry is a version as the model knows it. It is not changed once it is shared.
type entry struct {
	id     Version // 0: chosen by the store, not known yet
	parent Version
	sure   bool // parent is known: no checkpoint failed on the way
	state  State
	// cookies are those that it may have: the one that it was given; or none, and if its state is its parent's, which may be
	// all that the store can tell, one of its parent's.
	cookies []string
}

func (e *entry) mayHave(cookie []byte) bool { return slices.Contains(e.cookies, string(cookie)) }

// Outcome is what a directory may be found as when it is opened after a crash: the contract of DESIGN.md in one value.
// It is immutable.
type Outcome struct {
	current map[Version]*entry // one of these is current; the key 0 with a nil entry is the empty store
	must    map[Version]*entry // all of these are there
	may     map[Version]*entry // each of these may be there as well
	unnamed *entry             // so may one version whose id the store chooses, and then it is current
	changed bool               // it must
}

func (o *Outcome) clone() *Outcome {
	return &Outcome{maps.Clone(o.current), maps.Clone(o.must), maps.Clone(o.may), o.unnamed, o.changed}
}

// retained returns what may be found in a store that was opened to keep so many versions: its retention may have begun before
// anybody looks. The newest keep are there, and so is the current one, if it is known which that is.
func (o *Outcome) retained(keep int) *Outcome {
	r := o.clone()
	newer := 0
	if o.unnamed != nil {
		newer++
	}
	both := maps.Clone(o.may)
	maps.Copy(both, o.must)
	ids := slices.Sorted(maps.Keys(both))
	slices.Reverse(ids)
	for _, id := range ids {
		current := o.current[id] != nil && len(o.current) == 1 && o.unnamed == nil
		if e := o.must[id]; e != nil && newer >= keep && !current {
			delete(r.must, id)
			r.may[id] = e
		}
		newer++
	}
	return r
}

// either returns the outcome that allows what o or p allow. p is the later one.
func (o *Outcome) either(p *Outcome) *Outcome {
	if o == p {
		return o
	}
	r := p.clone()
	r.changed = o.changed && p.changed
	maps.Copy(r.current, o.current)
	for id, e := range o.must {
		if r.must[id] == nil {
			r.may[id] = e
		}
	}
	for id, e := range p.must {
		if o.must[id] == nil {
			delete(r.must, id)
			r.may[id] = e
		}
	}
	for id, e := range o.may {
		if r.must[id] == nil {
			r.may[id] = e
		}
	}
	if r.unnamed == nil {
		r.unnamed = o.unnamed
	}
	return r
}

// Model knows what the store must answer, and what a crash may leave of it.
type Model struct {
	live    State
	seq     uint64             // of writes
	current Version            // what is committed and gone on from; 0 before the first
	tip     Version            // the last begun, or current
	sure    bool               // tip is known to be the parent of the next version
	maxID   Version            // highest id ever given out
	listed  map[Version]*entry // versions that the store lists
	doubt   map[Version]*entry // versions of calls that failed: gone from the list, but a crash may show them
	heads   map[Version]*entry // what a crash may show as current, current itself left out
	target  *entry             // what a restore under way goes to: a crash may show it as current; nil: there is none
	pending []*entry           // checkpoints that were begun and not waited for
	gone    map[Version]*entry // of heads or listed: retention may have removed them
	unnamed *entry             // a checkpoint whose id the store chooses
	faults  bool               // checkpoints may fail
	keep    int                // how many versions are retained
}

// NewModel returns the model of an empty directory.
func NewModel() *Model {
	return &Model{live: State{}, sure: true, keep: 1 << 30, listed: map[Version]*entry{}, doubt: map[Version]*entry{},
		heads: map[Version]*entry{}, gone: map[Version]*entry{}}
}

// outcome returns what a crash may leave now.
func (m *Model) outcome() *Outcome {
	o := &Outcome{current: map[Version]*entry{}, must: maps.Clone(m.listed), may: maps.Clone(m.doubt), unnamed: m.unnamed}
	o.current[m.current] = m.listed[m.current]
	maps.Copy(o.current, m.heads)
	if m.target != nil {
		o.current[m.target.id] = m.target
	}
	for _, p := range m.pending {
		o.current[p.id], o.may[p.id] = p, p
	}
	for id, e := range m.gone {
		delete(o.must, id)
		o.may[id] = e
	}
	return o
}

// begin notes a checkpoint. id 0 leaves the id to the store: named tells it later.
func (m *Model) begin(id Version, cookie string) *entry {
	e := &entry{id: id, parent: m.tip, sure: m.sure, state: maps.Clone(m.live), cookies: []string{cookie}}
	if p := m.entry(m.tip); cookie == "" && p != nil && maps.Equal(p.state, e.state) {
		e.cookies = append(e.cookies, p.cookies...)
	}
	if m.faults && len(m.pending) > 0 {
		e.sure = false // its parent is not, if that fails
	}
	if id == 0 {
		m.unnamed = e
	} else {
		m.maxID = max(m.maxID, id)
		m.tip = id
		m.pending = append(m.pending, e)
	}
	m.retained()
	return e
}

// entry returns a version that is listed or pending, nil if there is none.
func (m *Model) entry(id Version) *entry {
	for _, e := range m.pending {
		if e.id == id {
			return e
		}
	}
	return m.listed[id]
}

// named gives the checkpoint that was begun without an id its id.
func (m *Model) named(id Version) {
	e := *m.unnamed
	m.unnamed = nil
	e.id = id
	m.maxID = max(m.maxID, id)
	m.tip = id
	m.pending = append(m.pending, &e)
}

// refused takes back a begin that the store did not accept.
func (m *Model) refused(id Version) {
	if id == 0 {
		m.unnamed = nil
		return
	}
	m.pending = m.pending[:len(m.pending)-1]
	m.tip = m.current
	if n := len(m.pending); n > 0 {
		m.tip = m.pending[n-1].id
	}
}

// committed notes that the oldest pending checkpoint is durable.
func (m *Model) committed() {
	e := m.pending[0]
	m.pending = m.pending[1:]
	m.current = e.id
	m.listed[e.id] = e
	m.settled()
	m.retained()
}

// failed notes that the oldest pending checkpoint failed.
func (m *Model) failed() {
	e := m.pending[0]
	m.pending = m.pending[1:]
	m.doubt[e.id], m.heads[e.id] = e, e
	m.sure = false
	if len(m.pending) == 0 {
		m.tip = m.current
		m.sure = true
	}
}

// settled notes that a call that changes the directory succeeded: nothing that failed before can come back.
func (m *Model) settled() {
	clear(m.doubt)
	clear(m.heads)
}

// restoring notes that the store may go back to v from now on, as one that a crash shows may have done: whatever is
// committed meanwhile, and although retention may remove what has been current until then.
func (m *Model) restoring(v Version) {
	m.target = m.listed[v]
	m.retained()
}

// restored notes that the store went back to v.
func (m *Model) restored(v Version) {
	e := m.listed[v]
	m.current, m.tip, m.sure = v, v, true
	m.live = maps.Clone(e.state)
	m.target = nil
	delete(m.gone, v) // the current version is never removed
	m.settled()
}

// notRestored notes that a restore failed. Whether a crash shows its target is in doubt.
func (m *Model) notRestored() {
	m.heads[m.target.id] = m.target
	m.target = nil
}

// retained notes which versions retention may remove from now on: it runs in the background, and whatever has been
// begun may have been committed.
func (m *Model) retained() {
	ids := m.ids()
	more := len(m.pending)
	if m.unnamed != nil {
		more++
	}
	for _, id := range ids[:max(0, min(len(ids), len(ids)+more-m.keep))] {
		if id != m.current || more > 0 || m.target != nil {
			m.gone[id] = m.listed[id]
		}
	}
}

// ids returns the versions that the store should list, oldest first.
func (m *Model) ids() []Version { return slices.Sorted(maps.Keys(m.listed)) }

// pick returns the version that a byte chooses, 0 when there is none.
func (m *Model) pick(b byte) Version {
	ids := m.ids()
	if len(ids) == 0 {
		return 0
	}
	return ids[int(b)%len(ids)]
}

// adopt makes m the model of a directory that was opened at cur and lists the versions found: what was in doubt is
// decided.
func (m *Model) adopt(cur *entry, found map[Version]*entry) {
	*m = Model{live: State{}, seq: m.seq, sure: true, maxID: m.maxID, listed: found, doubt: map[Version]*entry{},
		heads: map[Version]*entry{}, gone: map[Version]*entry{}, faults: m.faults, keep: m.keep}
	if cur != nil {
		m.live = maps.Clone(cur.state)
		m.current, m.tip = cur.id, cur.id
	}
	for id := range found {
		m.maxID = max(m.maxID, id)
	}
	m.retained()
}

// diff returns the first difference between what a store showed and what it should have.
func diff(got, want State) error {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[k]
		switch {
		case !ok:
			return fmt.Errorf("key %x is missing, its value has %d bytes", clip(k), len(want[k]))
		case g != want[k]:
			return fmt.Errorf("key %x has %d bytes %x, want %d bytes %x", clip(k), len(g), clip(g), len(want[k]), clip(want[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			return fmt.Errorf("key %x is there with %d bytes, it should be absent", clip(k), len(got[k]))
		}
	}
	return nil
}

// clip shortens what is printed.
func clip(s string) string { return s[:min(len(s), 24)] }
