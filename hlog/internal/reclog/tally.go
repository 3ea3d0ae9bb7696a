package reclog

import (
	"slices"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Tally is what the flusher has seen of one record version.
type Tally struct {
	Records int64 // published records; more than there are when log had to be written again
	Changed bool  // one of them, at the least, was changed in place after it had been appended
}

// tally counts the published records that are flushed, by record version. It belongs to flushMu.
type tally struct {
	counts []tallied // of few versions: those that are not committed yet
	at     int       // in counts, of the record before
}

type tallied struct {
	version word.RecordVersion
	Tally
}

// add counts a record with these first two words.
func (t *tally) add(k word.Link, st word.State) {
	if st.Invalid() {
		return
	}
	v := k.Version()
	if t.at >= len(t.counts) || t.counts[t.at].version != v {
		t.at = t.find(v)
	}
	c := &t.counts[t.at]
	c.Records++
	c.Changed = c.Changed || st.Sequence() != 0
}

// find returns where v is in counts.
func (t *tally) find(v word.RecordVersion) int {
	i := slices.IndexFunc(t.counts, func(c tallied) bool { return c.version == v })
	if i < 0 {
		i = len(t.counts)
		t.counts = append(t.counts, tallied{version: v})
	}
	return i
}

// TakeTally returns what was flushed of a record version since the last call for it, and forgets that. All of its log that
// counts has been flushed.
func (l *Log) TakeTally(v word.RecordVersion) Tally {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	t := &l.flusher.tally
	i := t.find(v)
	found := t.counts[i].Tally
	t.counts, t.at = slices.Delete(t.counts, i, i+1), 0
	return found
}

// ForgetTallies forgets what was flushed of all versions: none of them will be committed.
func (l *Log) ForgetTallies() {
	l.flushMu.Lock()
	defer l.flushMu.Unlock()
	l.flusher.tally = tally{}
}
