package ledger

import (
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Live returns what the running store uses although no version refers to it.
func (l *Ledger) Live() checkpoint.Live {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live()
}

// Collect removes the files that nothing keeps and returns those that are gone. leaving is told of each segment before.
// One collection runs at a time.
func (l *Ledger) Collect(leaving func(segment uint64)) ([]checkpoint.Orphan, error) {
	return l.dir.Collect(l.picture, leaving)
}

// picture shows all keepers at one moment (B5).
func (l *Ledger) picture() (checkpoint.Picture, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dir.Picture(l.live())
}

// TakeOver makes the directory that of the store, which has found the version whole that it is opened at.
func (l *Ledger) TakeOver() error { return l.dir.TakeOver() }

// TrimLog gives back the space that the last segment has been given beyond end, before the store is closed.
func (l *Ledger) TrimLog(end uint64) error { return l.dir.TrimLog(end) }

// Purge removes version v durably. What it alone kept is garbage then. The errors are those of checkpoint.Dir.Purge.
func (l *Ledger) Purge(v checkpoint.Version) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.dir.Drop(v)
}

// Retain purges the oldest versions but for keep of them.
func (l *Ledger) Retain(keep int) error {
	return l.RetainWhile(keep, func() bool { return true })
}

// RetainWhile is Retain, which goes on to the next version only while more reports true: each takes syncs, and whoever closes
// the store does not wait for those of all.
func (l *Ledger) RetainWhile(keep int, more func() bool) error {
	for _, v := range l.dir.Retain(keep) {
		if !more() {
			return nil
		}
		err := l.Purge(v)
		if errors.Is(err, checkpoint.ErrInUse) || errors.Is(err, checkpoint.ErrNotFound) {
			continue // somebody was faster to pin it, or to purge it
		}
		if err != nil {
			return fmt.Errorf("purge version %d: %w", v, err)
		}
	}
	return nil
}
