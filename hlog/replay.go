package hlog

import (
	"context"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

const (
	// replayChunk is how much of the log recovery reads at a time, in bytes: whoever opens waits for each read.
	replayChunk = 1 << 20
	// replayBatch is how many records are handed to the index at a time, and replayBatches how many of them there are.
	replayBatch   = 1 << 13
	replayBatches = 3
)

// replay applies the log of version m from address from on to x. One goroutine reads, verifies and hashes; the caller's
// hands what comes of it to the index, in the order of the log.
func (s *Store) replay(ctx context.Context, x *index.Index, m *checkpoint.Manifest, from uint64) error {
	ctx, stop := context.WithCancel(ctx)
	full, free := make(chan []index.Record, replayBatches), make(chan []index.Record, replayBatches)
	for range replayBatches {
		free <- nil // made when it is needed: most replays are short
	}
	var broken error // of reading; written before full is closed
	go func() {
		defer close(full)
		broken = s.readRecords(ctx, m, from, free, full)
	}()
	var failed error
	for batch := range full {
		if failed == nil {
			if failed = x.Replay(batch...); failed != nil {
				stop()
			}
		}
		free <- batch[:0]
	}
	stop()
	if failed != nil {
		return failed
	}
	return broken
}

// readRecords sends the records of version m from address from on to full, in batches for which it takes the memory
// from free.
func (s *Store) readRecords(ctx context.Context, m *checkpoint.Manifest, from uint64, free <-chan []index.Record, full chan<- []index.Record) error {
	w := s.segments.NewWalker()
	w.Chunk = replayChunk
	batch := <-free
	err := walkVersion(ctx, w, m.Extents, from, m.Cut, func(a word.Address, rec record.Bytes, sh record.Shape) (bool, error) {
		batch = append(batch, index.Record{Hash: s.hash(rec.Key(sh)), Address: a})
		if len(batch) == replayBatch {
			full <- batch
			batch = <-free
		}
		return true, nil
	})
	if err == nil && len(batch) > 0 {
		full <- batch
	}
	return err
}
