package shares

import (
	"errors"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/index"
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
		if err := d.MergeOnce(m); err != nil {
			d.FinishMerge(m, nil, err)
			if !d.ends() {
				d.c.Logger.Warn("index shares not merged", "err", d.Fault(checkpoint.Index{}, err))
			}
			if !errors.As(err, new(*index.CorruptError)) {
				break // it is tried again when the log has grown
			}
			continue
		}
		merged = true
	}
	if merged {
		d.c.Merged()
	}
}

// MergeOnce does a merge.
func (d *Index) MergeOnce(m index.Merge) error {
	var reads []uint64
	for _, r := range m.Inputs {
		reads = append(reads, r.ID)
	}
	w := d.NewWriter(ledger.Merge, reads)
	var inputs []*index.Share
	for _, r := range m.Inputs {
		if err := d.Life.Context().Err(); err != nil {
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
	written, err := index.MergeShares(d.Life.Context(), w.config(), m, inputs)
	if err != nil {
		return errors.Join(err, w.Drop())
	}
	return w.publish(func() bool { return d.FinishMerge(m, written, nil) })
}
