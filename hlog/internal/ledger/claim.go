package ledger

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Kind says what a claim makes.
type Kind uint8

const (
	Run Kind = iota
	Merge
	Demotion
)

func (k Kind) String() string { return [...]string{"a run", "a merge", "a demotion"}[k] }

// Now is what there is when somebody wants to make index files.
type Now struct {
	Lineage *Lineage
	Files   []uint64 // ids of the standing index files
}

// Want is what a claim keeps besides the files that it makes.
type Want struct {
	From  uint64   // log of the lineage from here on
	Reads []uint64 // ids of standing index files
}

// Claim is the right to make index files out of log and of other index files, all of which stay until it has ended. It
// ends with Publish or with Drop. Files are made, and read, by the goroutine that has the claim.
type Claim struct {
	Kind Kind
	Want
	Lineage *Lineage // when it was claimed

	ledger *Ledger
	era    int      // when it was claimed (B9)
	makes  []uint64 // of Ledger.mu: ids
}

// Claim has decide say, under the lock, whether files of a kind are due, and what they are made of; nil when they are not.
// decide must not wait.
func (l *Ledger) Claim(kind Kind, decide func(Now) (w Want, due bool)) *Claim {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, due := decide(Now{Lineage: l.lineage, Files: l.opts.Standing.IDs()})
	if !due {
		return nil
	}
	c := &Claim{Kind: kind, Want: w, Lineage: l.lineage, ledger: l, era: l.era}
	l.claims = append(slices.Clone(l.claims), c)
	return c
}

// NewFile returns the id and the path of another file that the claim makes. No file has had the id before, none that only
// a remote still has either: ids keep above the addresses of all log, which are never used twice.
func (c *Claim) NewFile() (id uint64, path string) {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	id = max(l.nextID, l.dir.NextImageID(l.dir.MaxEnd()))
	l.nextID = id + 1
	c.makes = append(c.makes, id)
	return id, l.ImagePath(id)
}

// Publish ends the claim, whose files are whole and durable. take makes them a part of the standing index, and reports
// whether they are of use. published is false when they are not, or when the store was restored since the claim (B9): then
// what was made is dropped; an error says that it could not be. take is called under the lock.
func (c *Claim) Publish(take func() bool) (published bool, err error) {
	if !c.publish(take) {
		return false, c.Drop()
	}
	c.end()
	return true, nil
}

func (c *Claim) publish(take func() bool) bool {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.era == l.era && take()
}

// Drop ends the claim and removes what it has made.
func (c *Claim) Drop() (err error) {
	c.ledger.mu.Lock()
	makes := c.makes
	c.ledger.mu.Unlock()
	for _, id := range makes {
		if e := c.ledger.opts.FS.Remove(c.ledger.ImagePath(id)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	c.end()
	return err
}

func (c *Claim) end() {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims = slices.DeleteFunc(slices.Clone(l.claims), func(other *Claim) bool { return other == c })
}

// live returns what the running store uses although no version refers to it: the log since the newest version, and what the
// keepers that are here keep. The caller holds mu.
func (l *Ledger) live() checkpoint.Live {
	live := checkpoint.Live{LogFrom: l.lineage.Start}
	if m := l.lineage.Parent; m != nil {
		live.Log = checkpoint.Log(m.Extents)
	}
	for h := range l.holds {
		live.Log.Add(h.from, live.LogFrom)
	}
	live.Images = slices.Concat(l.opts.Standing.IDs(), l.naming)
	for _, p := range l.pending {
		for _, f := range p.cold {
			live.Images = append(live.Images, f.ID)
		}
	}
	for _, c := range l.claims {
		live.Log.Add(c.From, live.LogFrom)
		live.Images = slices.Concat(live.Images, c.makes, c.Reads)
	}
	return live
}
