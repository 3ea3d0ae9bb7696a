package ledger

import "github.com/hybridlog/hybridlog/checkpoint"

// Hold keeps log on disk for somebody who reads it.
type Hold struct {
	*Lineage // the lineage when the hold was taken

	ledger *Ledger
	from   uint64 // of Ledger.mu
	reason string
}

// Hold keeps the log from address from on, 0 for where the lineage begins, until Release is called, whatever is compacted,
// purged or restored meanwhile. What the lineage that comes with the hold has there can be read; so can the log of a version
// that is still there after the call. What is neither may be gone already. reason says what for, to people.
func (l *Ledger) Hold(from uint64, reason string) *Hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &Hold{Lineage: l.lineage, ledger: l, from: from, reason: reason}
	if from == 0 {
		h.from = h.Begin()
	}
	l.holds[h] = struct{}{}
	return h
}

// Narrow gives up the log below address from.
func (h *Hold) Narrow(from uint64) {
	h.ledger.mu.Lock()
	defer h.ledger.mu.Unlock()
	h.from = max(h.from, from)
}

// Release ends the hold. A second call changes nothing.
func (h *Hold) Release() {
	h.ledger.mu.Lock()
	defer h.ledger.mu.Unlock()
	delete(h.ledger.holds, h)
}

// Pin returns version v, 0 for the current one, and keeps it from being purged, and what its manifest names from being
// collected, until Unpin was called as often. The errors are those of checkpoint.Dir.Pin.
func (l *Ledger) Pin(v checkpoint.Version) (*checkpoint.Manifest, error) {
	if v == 0 {
		return l.dir.PinCurrent()
	}
	return l.dir.Pin(v)
}

// Stream returns version m, or what it has and base has not, as a stream. Both are pinned until it was written.
func (l *Ledger) Stream(m, base *checkpoint.Manifest) (*checkpoint.Outgoing, error) {
	return l.dir.Stream(m, base)
}

// Unpin undoes one Pin, also that of a fetch.
func (l *Ledger) Unpin(v checkpoint.Version) { l.dir.Unpin(v) }
