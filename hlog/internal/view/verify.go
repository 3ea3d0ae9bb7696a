package view

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Verify reads everything that the version consists of, and calls fn for each damage, with how much log could not be looked at
// because of it. It goes on behind a damage, at the next page of the log. It returns how many bytes of log it has found whole,
// and keeps how many it has gone over in at.
func (v *Version) Verify(ctx context.Context, at *atomic.Int64, fn func(damage *checkpoint.CorruptionError, log int64)) (whole int64, err error) {
	at.Store(0)
	damaged := func(err error, log uint64) error {
		var c *checkpoint.CorruptionError
		if !errors.As(err, &c) {
			return err
		}
		fn(c, int64(log))
		return nil
	}
	if err := v.Index.LoadAll(ctx); err != nil {
		if err := damaged(v.IndexFault(err), 0); err != nil {
			return 0, err
		}
	}
	if v.Below != nil {
		if err := v.Below.Verify(ctx, func(err error) error { return damaged(err, 0) }); err != nil {
			return 0, err
		}
	}
	page := uint64(max(v.Manifest.PageBytes, reclog.SmallPageBytes))
	walk := v.Segments.NewWalker()
	gone := int64(0) // over, of the extents before
	for _, e := range v.Manifest.Extents {
		for from := e.Start; from < e.End; {
			end := from // of what is whole
			err := walk.Walk(ctx, from, e.End, func(a word.Address, _ record.Bytes, sh record.Shape, _ bool) (bool, error) {
				end = uint64(a) + uint64(sh.Size)
				at.Store(gone + int64(end-e.Start))
				err := v.Ended()
				return err == nil, err
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
		at.Store(gone)
	}
	return whole, nil
}
