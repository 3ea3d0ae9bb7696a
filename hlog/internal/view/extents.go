package view

import (
	"context"
	"slices"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Skip returns which records of an extent do not belong to the version: those written past its cut (C4).
func Skip(e checkpoint.Extent) func(word.Address, record.Bytes) bool {
	after := word.MakeRecordVersion(e.LogVersion + 1)
	return func(a word.Address, rec record.Bytes) bool {
		return uint64(a) >= e.Fuzzy && rec.Link().Version() == after
	}
}

// Walk calls fn for the records of a version, whose log the extents are, in [from, to), in ascending order, until it returns
// false or an error.
func Walk(ctx context.Context, w *reclog.Walker, extents []checkpoint.Extent, from, to uint64, fn func(a word.Address, rec record.Bytes, sh record.Shape) (bool, error)) error {
	more := true
	for _, e := range extents {
		if e.End <= from || e.Start >= to || !more {
			continue
		}
		skip := Skip(e)
		err := w.Walk(ctx, max(e.Start, from), min(e.End, to), func(a word.Address, rec record.Bytes, sh record.Shape, _ bool) (bool, error) {
			if skip(a, rec) {
				return true, nil
			}
			var err error
			more, err = fn(a, rec, sh)
			return more, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// extents returns the log of the version, none of the empty state, which is nil.
func (v *Version) extents() []checkpoint.Extent {
	if v == nil {
		return nil
	}
	return v.Manifest.Extents
}

// has reports whether the record at a belongs to the version. The empty state, which is nil, has none.
func (v *Version) has(a word.Address, rec record.Bytes) bool {
	return slices.ContainsFunc(v.extents(), func(e checkpoint.Extent) bool {
		return e.Start <= uint64(a) && uint64(a) < e.End && !Skip(e)(a, rec)
	})
}

// excluded reports whether the record at a, in the log of the version, was written past its cut (C4).
func (v *Version) excluded(a word.Address, rec record.Bytes) bool {
	i, _ := slices.BinarySearchFunc(v.Manifest.Extents, uint64(a), func(e checkpoint.Extent, a uint64) int {
		if e.End <= a {
			return -1
		}
		return 1
	})
	return i < len(v.Manifest.Extents) && Skip(v.Manifest.Extents[i])(a, rec)
}

// unshared returns the log that has every record which only one of two versions has: what only one has, and the fuzzy ends of
// extents, in which one may have records that the other has not (C4).
func unshared(old, new *Version) *checkpoint.ExtentSet {
	a, b := old.extents(), new.extents()
	both, shared := checkpoint.Log(a), checkpoint.Log(a)
	one := checkpoint.Log(b)
	both.AddSet(one)
	only := shared.Clone()
	only.SubtractSet(one)
	shared.SubtractSet(only)
	both.SubtractSet(shared)
	for _, e := range slices.Concat(a, b) {
		if !slices.Contains(a, e) || !slices.Contains(b, e) {
			both.Add(e.Fuzzy, e.End)
		}
	}
	return &both
}
