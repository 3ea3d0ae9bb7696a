package ledger

import (
	"fmt"
	"slices"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/invariant"
)

// Phase is how far a pending version has come.
//
//	Begun ----> CutTaken ----> Flushed ----> Committed ----> Answered
//	                |             |                              ^
//	                +-------------+--------> Failed -------------+
type Phase uint8

const (
	Begun     Phase = iota // the log version was raised; operations of the old one may be under way
	CutTaken               // they have left: the version's log ends at Cut
	Flushed                // its log is written, and becomes durable beside its manifest
	Committed              // its manifest is durable: it is a version
	Failed                 // it will not be a version
	Answered               // copied to the remote, too, or not: everybody knows what came of it
)

func (p Phase) String() string {
	return [...]string{"begun", "cut taken", "flushed", "committed", "failed", "answered"}[p]
}

// next says which phases may follow one (B6).
var next = [...][]Phase{
	Begun:     {CutTaken},
	CutTaken:  {Flushed, Failed},
	Flushed:   {Committed, Failed},
	Committed: {Answered},
	Failed:    {Answered},
	Answered:  {},
}

// Pending is a version that is on its way.
type Pending struct {
	Version    checkpoint.Version
	Cookie     []byte
	Inherits   bool // it has its parent's cookie if it has its parent's state
	Began      time.Time
	From       uint64 // tail when it was begun: log from here on may hold records of the next version
	LogVersion uint64 // the newest that belongs to it
	Emptied    uint64 // the log below it is empty and not in it; 0: none is
	moved      int64  // bytes that compaction had moved in all
	cold       []checkpoint.ShareRef

	Cut       uint64 // from CutTaken on: where its log ends
	fuzzy     uint64 // from CutTaken on: From, or Cut if no log lies in between
	IndexBits uint   // from CutTaken on: of the index then; the ledger only carries it

	ledger   *Ledger
	phase    Phase // of Ledger.mu; advance moves it
	cut      chan struct{}
	decided  chan struct{}
	answered chan struct{}
	dealt    chan struct{}
	keeping  int             // of Ledger.mu: how many want the version to be pinned from when it is committed
	handle   bool            // of Ledger.mu: one of these is whoever has begun it
	pinned   bool            // of Ledger.mu
	info     checkpoint.Info // from Committed on
	failure  error           // from Failed on
	answer   error           // from Answered on
}

// advance moves p to another phase. The caller holds mu.
func (p *Pending) advance(to Phase) {
	if invariant.Enabled {
		invariant.Check(slices.Contains(next[p.phase], to), "B6: version %d goes from %v to %v", p.Version, p.phase, to)
	}
	p.phase = to
	switch to {
	case CutTaken:
		close(p.cut)
	case Committed, Failed:
		close(p.decided)
	case Answered:
		close(p.answered)
	}
}

// Cutting returns a channel that is closed when the cut has been taken.
func (p *Pending) Cutting() <-chan struct{} { return p.cut }

// Answering returns a channel that is closed when it is known what came of the version: Answer may be called then.
func (p *Pending) Answering() <-chan struct{} { return p.answered }

// Decided returns a channel that is closed when p is a version, or will never be one: Failure tells.
func (p *Pending) Decided() <-chan struct{} { return p.decided }

// Dealing returns a channel that is closed when p has been dealt with (Ledger.Dealt).
func (p *Pending) Dealing() <-chan struct{} { return p.dealt }

// Answer returns the version, and nil or why it is not all that it should be.
func (p *Pending) Answer() (checkpoint.Info, error) { return p.info, p.answer }

// Failure returns why there is no such version, once it has been dealt with; nil if there is one, copied or not.
func (p *Pending) Failure() error {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	return p.failure
}

// Request is what a version is begun with.
type Request struct {
	Version checkpoint.Version // 0: the next one
	Cookie  []byte
	// Inherits gives it its parent's cookie if it turns out that nothing has changed.
	Inherits bool
	// Keep pins the version as soon as it is one, until LetGo is called.
	Keep  bool
	Moved int64 // bytes that compaction has moved in all
	// Raise raises the log version, and returns where the tail was just before, and the log version before. It is called
	// under the lock (B7) and must not wait.
	Raise func() (tail, logVersion uint64)
}

// maxGiven is the highest id that a caller may choose: as many are left, then, to those that follow.
const maxGiven = checkpoint.Version(1)<<63 - 1

// Begin begins a version. The cut of the version that was begun before has been taken. The error is
// checkpoint.ErrOrder when the id is not above every one so far, or above maxGiven.
func (l *Ledger) Begin(r Request) (*Pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	highest := max(l.lastID, l.dir.MaxID())
	if r.Version > maxGiven {
		return nil, fmt.Errorf("%w: %d, the highest that can be chosen is %d", checkpoint.ErrOrder, r.Version, maxGiven)
	}
	if r.Version == 0 {
		r.Version = highest + 1
	}
	if r.Version <= highest {
		return nil, fmt.Errorf("%w: %d, the newest so far is %d", checkpoint.ErrOrder, r.Version, highest)
	}
	if invariant.Enabled {
		invariant.Check(l.newest == nil || l.newest.phase != Begun, "C3: version %d is begun while the last one is to be cut", r.Version)
	}
	p := &Pending{
		Version: r.Version, Cookie: r.Cookie, Inherits: r.Inherits, Began: time.Now(), Emptied: l.emptied, moved: r.Moved,
		cold:   l.opts.Standing.Cold(),
		ledger: l, cut: make(chan struct{}), decided: make(chan struct{}), answered: make(chan struct{}), dealt: make(chan struct{}),
	}
	if r.Keep {
		p.keeping, p.handle = 1, true
	}
	p.From, p.LogVersion = r.Raise()
	l.lastID, l.newest = p.Version, p
	l.pending = append(l.pending, p)
	return p, nil
}

// Reserve makes the ids of versions that are begun from now on higher than v, which a remote has.
func (l *Ledger) Reserve(v checkpoint.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID = max(l.lastID, v)
}

// Newest returns the version that was begun last since the store was opened or restored; nil if none was.
func (l *Ledger) Newest() *Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// Cut says where the log of p ends. extended tells that log was written between From and there.
func (l *Ledger) Cut(p *Pending, cut uint64, extended bool, indexBits uint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.Cut, p.fuzzy, p.IndexBits = cut, p.From, indexBits
	if !extended {
		p.fuzzy = cut
	}
	p.advance(CutTaken)
}

// Next returns the oldest version that is pending, nil if there is none. The one before has been dealt with.
func (l *Ledger) Next() *Pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		return nil
	}
	return l.pending[0]
}

// Dealt says that the oldest version that was pending has been committed, or has failed, and that whoever has to know has
// been told.
func (l *Ledger) Dealt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.pending[0].dealt)
	l.pending = l.pending[1:]
	l.dealt.Broadcast()
}

// Idle reports whether every version that was begun has been dealt with.
func (l *Ledger) Idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) == 0
}

// Drain returns when every version that was begun before the call has been dealt with.
func (l *Ledger) Drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		return
	}
	for last := l.pending[len(l.pending)-1]; slices.Contains(l.pending, last); {
		l.dealt.Wait()
	}
}

// Fail says that p will not be a version.
func (l *Ledger) Fail(p *Pending, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.failure = err
	p.advance(Failed)
}

// Finish says what came of p in the end: it has failed, or it is a version, and err is why it could not be copied to the
// remote, nil if it was or has not to be.
func (l *Ledger) Finish(p *Pending, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.answer = err; p.phase == Failed {
		p.answer = p.failure
	}
	p.advance(Answered)
}

// Keep has p pinned from when it is a version until Unkeep is called as often.
func (p *Pending) Keep() {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.keeping++
}

// Unkeep undoes one Keep.
func (p *Pending) Unkeep() {
	p.ledger.mu.Lock()
	defer p.ledger.mu.Unlock()
	p.unkeep()
}

func (p *Pending) unkeep() {
	if p.keeping--; p.keeping == 0 && p.pinned {
		p.pinned = false
		p.ledger.dir.Unpin(p.Version)
	}
}

// LetGo undoes Request.Keep; a second call changes nothing. late reports that newer versions were committed meanwhile, so
// that p may have been kept beyond its time.
func (p *Pending) LetGo() (late bool) {
	l := p.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.handle {
		return false
	}
	p.handle = false
	late = p.pinned && l.lineage.Parent != nil && l.lineage.Parent.Version != p.Version
	p.unkeep()
	return late
}

// Commit makes p, whose log is written, a version and the parent of the next one (B8). aux and pageBytes go into its
// manifest; unchanged says that its state is its parent's. durable makes the log durable; no manifest has its name before it
// has returned nil (checkpoint.Dir.CommitBeside).
func (l *Ledger) Commit(p *Pending, aux []byte, pageBytes int, unchanged bool, durable func() error) (checkpoint.Info, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	m := l.describe(p, aux, pageBytes, unchanged)
	err := l.dir.CommitBeside(m, durable)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.naming = nil
	if err != nil {
		p.failure = err
		p.advance(Failed)
		return checkpoint.Info{}, err
	}
	l.lineage = &Lineage{Parent: m, Live: true, Start: p.Cut, Moved: p.moved, Dirty: p.fuzzy < p.Cut}
	if p.keeping > 0 {
		_, err := l.dir.Pin(p.Version) // nobody has purged it: that takes writing
		p.pinned = err == nil
	}
	p.advance(Committed)
	p.info, err = l.dir.Info(p.Version)
	return p.info, err
}

// describe returns the manifest of p as a child of the current version; until naming is cleared, nothing that it names is
// garbage. What compaction has moved is not counted as its delta: nothing in it has changed. The caller holds writing.
func (l *Ledger) describe(p *Pending, aux []byte, pageBytes int, unchanged bool) *checkpoint.Manifest {
	l.mu.Lock()
	defer l.mu.Unlock()
	p.advance(Flushed)
	c, x := l.lineage, l.opts.Standing.Name(p.LogVersion, p.Cut)
	x.Cold = p.cold
	l.naming = x.IDs()
	delta := checkpoint.Extent{Start: c.Start, End: p.Cut, Fuzzy: max(p.fuzzy, c.Start), LogVersion: p.LogVersion}
	m := &checkpoint.Manifest{
		Version: p.Version, Created: p.Began.UTC(), Cookie: p.Cookie,
		Extents:    checkpoint.Trim(checkpoint.Extend(c.Parent, delta, c.Live), p.Emptied),
		DeltaStart: c.Start, Cut: p.Cut, DeltaBytes: max(int64(p.Cut-c.Start)-(p.moved-c.Moved), 0), LogVersion: p.LogVersion,
		PageBytes: pageBytes, Index: x, Aux: aux,
	}
	if c.Parent != nil {
		m.Parent = c.Parent.Version
		if unchanged && p.Inherits {
			m.Cookie = c.Parent.Cookie
		}
		m.PageBytes = max(m.PageBytes, c.Parent.PageBytes)
	}
	return m
}

// SetHead makes version v the current one of the directory, durably; GoOn has to follow.
func (l *Ledger) SetHead(v checkpoint.Version) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.dir.SetHead(v)
}
