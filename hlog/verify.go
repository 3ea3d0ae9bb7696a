package hlog

import (
	"context"
	"errors"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Damage is what View.Verify has found.
type Damage struct {
	*CorruptionError
	LogBytes int64 // log that could not be looked at because of it: what it holds cannot be read. 0 for the index
}

// Verified returns how many bytes of log the Verify of the view that is under way has gone over, or the last one had. It may be
// called from any goroutine.
func (w *View) Verified() int64 { return w.verified.Load() }

// Verify reads everything that the version consists of, and calls fn for each damage: all of its log, records that are dead
// included, and all of its index. It goes on behind a damage, at the next page of the log. It returns how many bytes of log
// it has found whole; the error is that of the disk or of ctx, ErrClosed, and not that of a damage. Verified tells how far it is.
func (w *View) Verify(ctx context.Context, fn func(Damage)) (whole int64, err error) {
	if err := w.start(); err != nil {
		return 0, err
	}
	defer w.end()
	w.verified.Store(0)
	damaged := func(err error, log uint64) error {
		var c *CorruptionError
		if !errors.As(err, &c) {
			return err
		}
		fn(Damage{c, int64(log)})
		return nil
	}
	if err := w.index.LoadAll(ctx); err != nil {
		if err := damaged(w.s.indexError(ledger.IndexOf(w.m), err), 0); err != nil {
			return 0, err
		}
	}
	if err := w.tier.verify(ctx, func(err error) error { return damaged(err, 0) }); err != nil {
		return 0, err
	}
	page := uint64(max(w.m.PageBytes, MinPageBytes))
	walk := w.s.segments.NewWalker()
	gone := int64(0) // over, of the extents before
	for _, e := range w.m.Extents {
		for from := e.Start; from < e.End; {
			end := from // of what is whole
			err := walk.Walk(ctx, from, e.End, func(a word.Address, _ record.Bytes, sh record.Shape, _ bool) (bool, error) {
				end = uint64(a) + uint64(sh.Size)
				w.verified.Store(gone + int64(end-e.Start))
				if w.isClosed() {
					return false, ErrClosed
				}
				return true, nil
			})
			if err == nil {
				whole += int64(e.End - from)
				break
			}
			next := min((end/page+1)*page, e.End)
			if err := damaged(err, next-end); err != nil {
				return whole, err
			}
			whole += int64(end - from)
			from = next
		}
		gone += int64(e.End - e.Start)
		w.verified.Store(gone)
	}
	return whole, nil
}
