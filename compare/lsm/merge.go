package lsm

import (
	"bytes"
	"container/heap"

	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
)

// flush writes the memtable as the newest run of level 0, then merges what that made full. The caller holds writing.
func (t *Tree) flush() error {
	if t.mem.count == 0 {
		return nil
	}
	last := len(t.runs) == 0
	var raw []byte
	fresh, err := t.writeRun(0, func(add func(key, raw []byte) error) error {
		return t.mem.each(func(key, value []byte) error {
			if last && len(value) == 0 {
				return nil // Nothing older to hide.
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

// merge makes room wherever a level has MaxRuns runs: they become one run of the next level. When that fills the next
// level too, its runs go into the same merge, so that no record is written twice.
func (t *Tree) merge() error {
	level := 0
	n := 0 // runs of the levels up to this one: the newest
	for ; ; level++ {
		have := 0
		for n+have < len(t.runs) && t.runs[n+have].file.Level == level {
			have++
		}
		full := have
		if level > 0 {
			full++ // the run that comes in from above
		}
		if full < t.opts.MaxRuns {
			break
		}
		n += have
	}
	if n == 0 {
		return nil
	}
	inputs := t.runs[:n:n]
	last := n == len(t.runs)
	merged, err := t.writeRun(level, func(add func(key, raw []byte) error) error {
		return mergeRuns(inputs, func(key, value, raw []byte) error {
			if last && len(value) == 0 {
				return nil // A tombstone has hidden what it had to: there is nothing older.
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
	w, err := t.set.Create()
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
		t.mem.reset()
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

// sources is a heap by key, the newest first among equals.
type sources []source

func (s sources) Len() int { return len(s) }
func (s sources) Less(i, j int) bool {
	c := bytes.Compare(s[i].Key(), s[j].Key())
	return c < 0 || c == 0 && s[i].age < s[j].age
}
func (s sources) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *sources) Push(x any)   { *s = append(*s, x.(source)) }
func (s *sources) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// mergeRuns calls fn with the newest record of every key of the runs, which are ordered from newest to oldest.
func mergeRuns(runs []*run, fn func(key, value, raw []byte) error) error {
	var open sources
	for age, r := range runs {
		s := source{record.NewScanner(r.file, 0, r.records()), r.file, age}
		if s.Next() {
			open = append(open, s)
		} else if err := s.Err(); err != nil {
			return s.fail(err)
		}
	}
	heap.Init(&open)
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
			heap.Fix(&open, 0)
		} else if err := s.Err(); err != nil {
			return s.fail(err)
		} else {
			heap.Pop(&open)
		}
	}
	return nil
}

// fail turns what stopped a scan into an error that names the place.
func (s source) fail(err error) error { return s.file.ScanError(s.Scanner) }
