package appendlog

import (
	"slices"

	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
)

// roll finishes the active file, if it has anything, and merges what that made full. The caller holds Writing.
func (l *Log) roll() error {
	if l.active == nil {
		return nil
	}
	if err := l.finish(); err != nil {
		return err
	}
	var err error
	if l.opts.Compaction {
		err = l.merge()
	}
	l.budget()
	return err
}

// finish makes the active file, whose buffer readers use, the newest of level 0.
func (l *Log) finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.active.Finish(0)
	if err != nil {
		return err
	}
	l.active = nil
	l.files = append(l.files[:len(l.files):len(l.files)], f)
	l.byNumber[uint32(f.Number)] = f
	return nil
}

// merge makes one file of what tiering merges next, if anything.
func (l *Log) merge() error {
	levels := make([]int, 0, len(l.files))
	for _, f := range slices.Backward(l.files) {
		levels = append(levels, f.Level)
	}
	n, level := fileset.Full(levels, l.opts.MaxRuns)
	if n == 0 {
		return nil
	}
	return l.mergeFiles(len(l.files)-n, level)
}

// move is where a live record of a merge goes.
type move struct {
	place uint32 // in the index
	to    location
}

// mergeFiles replaces the files from first on by one of a level.
func (l *Log) mergeFiles(first, level int) error {
	w, err := l.Files.Create()
	if err != nil {
		return err
	}
	var fresh *fileset.File
	moves, hints, err := l.copyLive(w, first)
	switch {
	case err != nil || w.Length() == 0:
		w.Abort()
	default:
		if fresh, err = w.FinishIndexed(level, hints, hintMagic); err != nil {
			w.Abort()
		}
	}
	if err != nil {
		return err
	}
	inputs := l.files[first:]
	files := l.files[:first:first]
	if fresh != nil {
		files = append(files, fresh)
		l.mu.Lock()
		l.byNumber[uint32(fresh.Number)] = fresh
		l.mu.Unlock()
	}
	const batch = 4096 // Readers get in between.
	for len(moves) > 0 {
		n := min(batch, len(moves))
		l.mu.Lock()
		for _, m := range moves[:n] {
			if value := l.cache.Take(l.index.locations[m.place].cached()); value != nil {
				l.cache.Put(m.to.cached(), value)
			}
			l.index.locations[m.place] = m.to
		}
		l.mu.Unlock()
		moves = moves[n:]
	}
	l.mu.Lock()
	l.files = files
	for _, f := range inputs {
		delete(l.byNumber, uint32(f.Number))
	}
	l.mu.Unlock()
	l.drop(inputs)
	return nil
}

// copyLive copies to w the records of the files from first on that the index points to, and the tombstones that still
// hide something (A3). Only the writer changes the index, so that it is read without mu.
func (l *Log) copyLive(w *fileset.Writer, first int) (moves []move, hints []byte, err error) {
	hidden := map[string]bool{} // deleted keys that have their tombstone in w
	for _, f := range l.files[first:] {
		end, err := recordsEnd(f)
		if err != nil {
			return nil, nil, err
		}
		s := record.NewScanner(f, 0, end)
		for s.Next() {
			place, present := l.index.places[string(s.Key())]
			here := location{offset: s.Offset(), file: uint32(f.Number), size: uint32(len(s.Raw()))}
			switch {
			case present && l.index.locations[place] == here:
			case !present && len(s.Value()) == 0 && first > 0 && !hidden[string(s.Key())]:
				hidden[string(s.Key())] = true
			default:
				continue
			}
			at, err := w.Append(s.Raw())
			if err != nil {
				return nil, nil, err
			}
			hints = appendHint(hints, s.Key(), len(s.Value()))
			if present {
				moves = append(moves, move{place, location{at, uint32(w.Number()), here.size}})
			}
		}
		if err := f.ScanError(s); err != nil {
			return nil, nil, err
		}
	}
	return moves, hints, nil
}

// drop closes files that are no longer in l.files, when their last reader has left (A4).
func (l *Log) drop(files []*fileset.File) {
	l.reading.Lock()
	defer l.reading.Unlock()
	fileset.DropAll(files)
}
