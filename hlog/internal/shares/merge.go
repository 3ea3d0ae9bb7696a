package shares

import (
	"context"
	"errors"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// MaxDepth is how many shares a version that goes to a remote may have for one hash (R7), and manyShares how many keep runs
// waiting that no commit wants. Merges in the background keep them below that: there are 19 at the most as long as these keep up.
const (
	MaxDepth   = 20
	manyShares = MaxDepth - 1
)

// Merge does the merges of index shares that are worth while. Then more is known to be dead.
func (d *Index) Merge() {
	merged := false
	for !d.ends() {
		d.c.GiveWay()
		m, ok := d.TakeMerge()
		if !ok {
			break
		}
		done, more := d.mergeOrTell(d.Life.Context(), m)
		if merged = merged || done; !more {
			break // it is tried again when the log has grown
		}
	}
	if merged {
		d.c.Merged()
	}
}

// mergeOrTell does a merge, or logs why it could not be done; more is false when another one would not fare better.
func (d *Index) mergeOrTell(ctx context.Context, m index.Merge) (done, more bool) {
	err := d.MergeOnce(ctx, m)
	if err == nil {
		return true, true
	}
	d.FinishMerge(m, nil, err)
	if ctx.Err() == nil {
		d.c.Logger.Warn("index shares not merged", "err", d.Fault(checkpoint.Index{}, err))
	}
	return false, errors.As(err, new(*index.CorruptError))
}

// MakeShallow merges until the version that a log version is the newest of, and that ends at cut, has no more than MaxDepth
// shares for each hash, if it goes to a remote (R7). Where merges fail, or there is nothing to be merged, it has more.
func (d *Index) MakeShallow(logVersion, cut uint64) {
	d.shallower(context.Background(), func() bool { return d.Shallow(MaxDepth, logVersion, word.Address(cut)) })
}

// makeRoom merges until fewer than manyShares shares have to be read for each hash, if versions go to a remote (R7), or the
// store ends.
func (d *Index) makeRoom() {
	d.shallower(d.Life.Context(), func() bool {
		return d.ends() || d.Wanted() || d.Shallow(manyShares-1, d.c.Version(), word.MaxAddress)
	})
}

// shallower merges until there is enough of it. A merge that is under way is waited for, and does not rest meanwhile.
func (d *Index) shallower(ctx context.Context, enough func() bool) {
	if !d.c.Distant || enough() {
		return
	}
	d.Files.awaited.Add(1)
	defer d.Files.awaited.Add(-1)
	merged := false
	for more := true; more && ctx.Err() == nil && !enough(); {
		m, ok, out := d.TakeShallower()
		switch {
		case out != nil:
			select {
			case <-out:
			case <-ctx.Done():
			}
		case !ok:
			more = false
		default:
			var done bool
			done, more = d.mergeOrTell(ctx, m)
			merged = merged || done
		}
	}
	if merged && !d.ends() {
		d.c.Merged()
	}
}

// MergeOnce does a merge, unless ctx ends before it is done.
func (d *Index) MergeOnce(ctx context.Context, m index.Merge) error {
	var reads []uint64
	for _, r := range m.Inputs {
		reads = append(reads, r.ID)
	}
	w := d.NewWriter(ledger.Merge, reads)
	var inputs []*index.Share
	for _, r := range m.Inputs {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, w.Drop())
		}
		f, err := d.Open(r)
		if err != nil {
			return errors.Join(err, w.Drop())
		}
		defer f.Close()
		share, err := index.OpenShare(f, r)
		if err != nil {
			return errors.Join(err, w.Drop())
		}
		inputs = append(inputs, share)
	}
	written, err := index.MergeShares(ctx, w.config(), m, inputs)
	if err != nil {
		return errors.Join(err, w.Drop())
	}
	return w.publish(func() bool { return d.FinishMerge(m, written, nil) })
}
