package lsm

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
)

// flush writes the memtable as the newest run of level 0, then merges what that made full. The caller holds Writing.
func (t *Tree) flush() error {
	if t.mem.Count() == 0 {
		return nil
	}
	last := len(t.runs) == 0
	var raw []byte
	fresh, err := t.writeRun(0, func(add func(key, raw []byte) error) error {
		return t.mem.Each(func(key, value []byte) error {
			if last && len(value) == 0 {
				return nil // Nothing older to hide (L2).
			}
			raw = record.Append(raw[:0], key, value)
			return add(key, raw)
		})
	})
	if err != nil {
		return err
	}
	t.swap(nil, fresh, true)
	return t.merge()
}

// merge makes one run of what tiering merges next, if anything.
func (t *Tree) merge() error {
	levels := make([]int, len(t.runs))
	for i, r := range t.runs {
		levels[i] = r.file.Level
	}
	n, level := fileset.Full(levels, t.opts.MaxRuns)
	if n == 0 {
		return nil
	}
	inputs := t.runs[:n:n]
	last := n == len(t.runs)
	merged, err := t.writeRun(level, func(add func(key, raw []byte) error) error {
		return mergeRuns(inputs, func(key, value, raw []byte) error {
			if last && len(value) == 0 {
				return nil // A tombstone has hidden what it had to: there is nothing older (L2).
			}
			return add(key, raw)
		})
	})
	if err != nil {
		return err
	}
	t.swap(inputs, merged, false)
	return nil
}

// writeRun makes a run of the records that fill adds; nil if there are none.
func (t *Tree) writeRun(level int, fill func(add func(key, raw []byte) error) error) (*run, error) {
	w, err := t.Files.Create()
	if err != nil {
		return nil, err
	}
	b := &runWriter{w: w, density: t.opts.Density, falsePositives: t.opts.FalsePositives}
	err = fill(b.add)
	var r *run
	if err == nil {
		r, err = b.finish(level)
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	return r, nil
}

// swap replaces the newest runs by fresh, which may be nil, and empties the memtable if it was what fresh was made of.
func (t *Tree) swap(inputs []*run, fresh *run, flushed bool) {
	runs := make([]*run, 0, len(t.runs)+1)
	if fresh != nil {
		runs = append(runs, fresh)
	}
	runs = append(runs, t.runs[len(inputs):]...)
	t.mu.Lock()
	t.runs = runs
	if flushed {
		t.mem.Reset()
	}
	t.mu.Unlock()
	t.drop(inputs)
	t.budget()
}

// drop closes runs that are no longer in t.runs, when their last reader has left.
func (t *Tree) drop(runs []*run) {
	t.reading.Lock()
	defer t.reading.Unlock()
	for _, r := range runs {
		r.file.Drop()
	}
}

// source is a run in a merge.
type source struct {
	*record.Scanner
	file *fileset.File
	age  int // 0 is the newest
}

// compare orders sources by key, the newest first among equals.
func (s source) compare(other source) int {
	return cmp.Or(bytes.Compare(s.Key(), other.Key()), cmp.Compare(s.age, other.age))
}

// mergeRuns calls fn with the newest record of every key of the runs, which are ordered from newest to oldest.
func mergeRuns(runs []*run, fn func(key, value, raw []byte) error) error {
	var open []source // sorted
	for age, r := range runs {
		s := source{record.NewScanner(r.file, 0, r.end), r.file, age}
		if s.Next() {
			open = append(open, s)
		} else if err := s.Err(); err != nil {
			return s.file.ScanError(s.Scanner)
		}
	}
	slices.SortFunc(open, source.compare)
	var last []byte
	for len(open) > 0 {
		s := open[0]
		if !bytes.Equal(s.Key(), last) || last == nil {
			if err := fn(s.Key(), s.Value(), s.Raw()); err != nil {
				return err
			}
			last = append(last[:0], s.Key()...)
		}
		if s.Next() {
			i, _ := slices.BinarySearchFunc(open[1:], s, source.compare)
			copy(open, open[1:1+i])
			open[i] = s
			continue
		}
		open = open[1:]
		if err := s.Err(); err != nil {
			return s.file.ScanError(s.Scanner)
		}
	}
	return nil
}
