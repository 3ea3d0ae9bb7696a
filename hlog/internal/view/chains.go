package view

import (
	"context"

	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// ScanChains is Scan for a version that was written before there were shares: it asks the index of the view for each record,
// and follows the chains of those that may have been superseded.
func (v *Version) ScanChains(ctx context.Context, fn func(key, value []byte) bool) error {
	r := v.borrow()
	defer v.giveBack(r)
	probes := v.Log.NewProber(uint64(word.MaxAddress))
	probes.Skip, probes.Limit, probes.Reads = v.excluded, v.ProbeBytes, v.Reads
	defer probes.Close()
	ended := false
	flush := func() error {
		return probes.Answer(ctx, func(q *reclog.Probe) (bool, error) {
			if q.Newest {
				ended = !fn(probes.KeyOf(q), probes.ValueOf(q))
			}
			return !ended, nil
		})
	}
	walk := v.Segments.NewWalker()
	walk.Prepare = func(group []reclog.Found) error {
		v.prefetch(r, group)
		return nil
	}
	for _, e := range v.Manifest.Extents {
		skip := Skip(e)
		err := walk.Walk(ctx, e.Start, e.End, func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if err := v.Ended(); err != nil {
				return false, err
			}
			if skip(a, rec) || rec.State().Tombstone() {
				return true, nil
			}
			from, err := v.entry(r, v.Hash(rec.Key(sh)))
			switch {
			case err != nil:
				return false, err
			case from == a:
				ended = !fn(rec.Key(sh), rec.Value(sh))
			case from > a && probes.Add(a, from, rec.Key(sh), rec.Value(sh)):
				err = flush()
			}
			return !ended, err
		})
		if err != nil || ended {
			return err
		}
	}
	if err := flush(); err != nil || ended || v.Below == nil {
		return err
	}
	err := v.Below.Over(ctx, func(key, value []byte) (bool, error) {
		if err := v.Ended(); err != nil {
			return false, err
		}
		from, err := v.entry(r, v.Hash(key))
		switch {
		case err != nil:
			return false, err
		case from < v.begin:
			ended = !fn(key, value)
		case probes.AddBelow(from, uint64(v.begin), key, value):
			err = flush()
		}
		return !ended, err
	})
	if err != nil || ended {
		return err
	}
	return flush()
}

// prefetch has the buckets that a scan is about to look into on their way to the cache: they lie in no order that the log
// would know, so that each would be waited for otherwise.
func (v *Version) prefetch(r *reader, group []reclog.Found) {
	r.guard.Enter()
	for i := range group {
		v.Index.Prefetch(v.Hash(group[i].Rec.Key(group[i].Shape)))
	}
	r.guard.Exit()
}
