package hlog

import (
	"context"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// replayBatch is how many records are handed to the index at a time, and replayBatches how many of them there are.
	replayBatch   = 1 << 13
	replayBatches = 3
)

// replayed is records of a version, in the order of the log.
type replayed struct {
	records []index.Record
	logged  []index.Logged // the same, if anybody wants to know
	end     uint64         // the log up to here has been read
}

// replay applies the log of version m from address from on to x, and tells of it, unless tell is nil, as the flusher does.
// One goroutine reads, verifies and hashes; the caller's hands what comes of it to the index, in the order of the log.
func (s *Store) replay(ctx context.Context, x *index.Index, m *checkpoint.Manifest, from uint64, tell func(from, to uint64, records []index.Logged)) error {
	ctx, stop := context.WithCancel(ctx)
	full, free := make(chan replayed, replayBatches), make(chan replayed, replayBatches)
	for range replayBatches {
		free <- replayed{} // made when it is needed: most replays are short
	}
	var broken error // of reading; written before full is closed
	go func() {
		defer close(full)
		broken = s.readRecords(ctx, m, from, tell != nil, free, full)
	}()
	var failed error
	for batch := range full {
		if failed == nil {
			if failed = x.Replay(batch.records...); failed != nil {
				stop()
			}
		}
		if tell != nil {
			tell(from, batch.end, batch.logged)
			from = batch.end
		}
		free <- replayed{batch.records[:0], batch.logged[:0], 0}
	}
	stop()
	if failed != nil {
		return failed
	}
	return broken
}

// readRecords sends the records of version m from address from on to full, in batches for which it takes the memory
// from free.
func (s *Store) readRecords(ctx context.Context, m *checkpoint.Manifest, from uint64, all bool, free <-chan replayed, full chan<- replayed) error {
	w, done := s.segments.NewWalkerAhead(s.queues)
	defer done()
	batch := <-free
	err := view.Walk(ctx, w, m.Extents, from, m.Cut, func(a word.Address, rec record.Bytes, sh record.Shape) (bool, error) {
		if len(batch.records) == replayBatch {
			batch.end = uint64(a)
			full <- batch
			batch = <-free
		}
		h := s.hash(rec.Key(sh))
		batch.records = append(batch.records, index.Record{Hash: h, Address: a})
		if all {
			batch.logged = append(batch.logged, s.loggedOf(h, a, rec, sh))
		}
		return true, nil
	})
	if err == nil {
		batch.end = m.Cut
		full <- batch
	}
	return err
}

// loggedOf returns what the flusher tells of a record.
func (s *Store) loggedOf(h uint64, a word.Address, rec record.Bytes, sh record.Shape) index.Logged {
	return index.Logged{
		Triple: index.MakeTriple(h, a, sh.Size, rec.State().Tombstone()), Version: rec.Link().Version(), Own: s.ownHash(len(rec.Key(sh))),
	}
}

// readLogged tells of the log of version m from address from on, as the flusher does, in pieces.
func (s *Store) readLogged(ctx context.Context, m *checkpoint.Manifest, from uint64, tell func(from, to uint64, records []index.Logged) error) error {
	w, done := s.segments.NewWalkerAhead(s.queues)
	defer done()
	var logged []index.Logged
	err := view.Walk(ctx, w, m.Extents, from, m.Cut, func(a word.Address, rec record.Bytes, sh record.Shape) (bool, error) {
		if len(logged) == replayBatch {
			if err := tell(from, uint64(a), logged); err != nil {
				return false, err
			}
			from, logged = uint64(a), logged[:0]
		}
		logged = append(logged, s.loggedOf(s.hash(rec.Key(sh)), a, rec, sh))
		return true, nil
	})
	if err != nil {
		return err
	}
	return tell(from, m.Cut, logged)
}

// catchUp has runs written of the log of m, from which the store goes on, if an earlier release has left more of it behind
// image and runs than can be told in one piece. No operation runs. If it cannot be done, all that log is replayed by the
// next opening, too.
func (s *Store) catchUp(m *checkpoint.Manifest) {
	if m == nil || !s.writable || s.disk.Tells(m) {
		return
	}
	err := s.readLogged(s.life.Context(), m, max(m.Index.Replay(), ledger.LogBegin(m)), func(from, to uint64, records []index.Logged) error {
		s.disk.Log(word.Address(from), word.Address(to), records)
		if to-uint64(s.disk.Written()) < s.disk.Uncovered {
			return nil
		}
		return s.disk.WriteRunsUpTo(to)
	})
	if err != nil {
		s.logger.Warn("log behind the index of an earlier release has no runs yet; opening is slow until it has", "err", err)
		return
	}
	s.disk.CaughtUp()
}
