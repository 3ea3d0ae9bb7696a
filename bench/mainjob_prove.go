package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/hlog"
)

// tally is the independent count. Its keys have numbers, so that what is known of each is in slices: the garbage collector
// has no pointers to follow but those to the keys.
type tally struct {
	number map[string]uint32
	counts []uint64 // by number
}

func (t *tally) add(key []byte) {
	if i, ok := t.number[string(key)]; ok {
		t.counts[i]++
		return
	}
	t.number[string(key)] = uint32(len(t.counts))
	t.counts = append(t.counts, 1)
}

// proof is what the comparison of the store with the independent count found.
type proof struct {
	open    time.Duration
	scanned int
	gets    int // keys read one by one besides
	absent  int // keys that must not be there, asked for one by one
	byGet   time.Duration
	byScan  time.Duration
}

// proofGets is how many keys are also read one by one, and how many absent ones asked for; the scan compares all.
const proofGets = 100_000

// prove reopens the store and compares it with the independent count, both ways: every record of the store must be a
// counter of the map with the same count, each met once, and as many as the map has; keys that the text does not
// contain must be absent.
//
// The single reads are made with the job's memory, so that most of them go to the disk. The scan has room for everything:
// it then reads the log once, from front to back, where it would else go back to the disk for every older record, to see
// that there is a newer one.
func (j *mainJob) prove(ctx context.Context) (p proof, err error) {
	j.env.progress.Step("proving every count")
	began := time.Now()
	err = j.reopened(j.spec.Memory, func(store *hlog.Store) error {
		p.open = time.Since(began)
		return j.proveByGet(ctx, store, &p)
	})
	p.byGet = time.Since(began)
	if err != nil {
		return p, err
	}
	room := max(j.spec.Memory, min(j.spec.Memory+2*j.stateBytes(), 2<<30))
	err = j.reopened(room, func(store *hlog.Store) error { return j.proveByScan(ctx, store, &p) })
	p.byScan = time.Since(began) - p.byGet
	if err != nil {
		return p, err
	}
	j.env.progress.Done("proven: all %s counts equal, nothing else in the store; %s read singly, %s absent keys absent",
		report.Thousands(int64(p.scanned)), report.Thousands(int64(p.gets)), report.Thousands(int64(p.absent)))
	return p, nil
}

func (j *mainJob) reopened(memory int64, do func(*hlog.Store) error) error {
	store, err := hlog.Open(j.spec.Dir, &hlog.Options{MemoryBytes: memory})
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

func (j *mainJob) proveByScan(ctx context.Context, store *hlog.Store, p *proof) error {
	seen := make([]bool, len(j.counted.counts))
	var bad error
	err := store.Scan(ctx, func(key, value []byte) bool {
		i, ok := j.counted.number[string(key)]
		switch {
		case !ok:
			bad = fmt.Errorf("wrong: the store has %q, which the text does not contain", key)
		case len(value) != 8:
			bad = fmt.Errorf("wrong: the counter of %q is %d bytes long", key, len(value))
		case binary.LittleEndian.Uint64(value) != j.counted.counts[i]:
			bad = fmt.Errorf("wrong: %q counted %d times, the text contains it %d times", key, binary.LittleEndian.Uint64(value), j.counted.counts[i])
		case seen[i]:
			bad = fmt.Errorf("wrong: the scan showed %q twice", key)
		default:
			seen[i] = true
			if p.scanned++; p.scanned%1024 == 0 {
				j.env.progress.At(float64(p.scanned), float64(len(seen)), "")
			}
			return true
		}
		return false
	})
	switch {
	case err != nil:
		return fmt.Errorf("scan: %w", err)
	case bad != nil:
		return bad
	case p.scanned == len(seen):
		return nil
	}
	for k, i := range j.counted.number {
		if !seen[i] {
			return fmt.Errorf("wrong: %q, counted %d times, is not in the store (%d of %d keys are)", k, j.counted.counts[i], p.scanned, len(seen))
		}
	}
	return nil
}

// proveByGet reads a sample of the keys and, for each, asks for one that cannot be there: a token never has a dot.
func (j *mainJob) proveByGet(ctx context.Context, store *hlog.Store, p *proof) error {
	s := store.NewSession()
	defer s.Close()
	var keys [][]byte
	var want []uint64
	var bad error
	flush := func() error {
		err := s.MultiGet(keys, func(i int, value []byte, err error) {
			switch {
			case bad != nil:
			case want[i] == 0 && !errors.Is(err, hlog.ErrNotFound):
				bad = fmt.Errorf("wrong: %q must be absent, Get says %x, %v", keys[i], value, err)
			case want[i] == 0:
				p.absent++
			case errors.Is(err, hlog.ErrNotFound):
				bad = fmt.Errorf("wrong: %q, counted %d times, is not in the store", keys[i], want[i])
			case err != nil:
				bad = fmt.Errorf("reading %q: %w", keys[i], err)
			case len(value) != 8 || binary.LittleEndian.Uint64(value) != want[i]:
				bad = fmt.Errorf("wrong: Get of %q says %x, counted %d times", keys[i], value, want[i])
			default:
				p.gets++
			}
		})
		keys, want = keys[:0], want[:0]
		return errors.Join(err, bad, ctx.Err())
	}
	for k, i := range j.counted.number { // a map's order is as good as a random sample
		keys, want = append(keys, []byte(k), []byte(k+".")), append(want, j.counted.counts[i], 0)
		if len(keys) >= 512 {
			if err := flush(); err != nil {
				return err
			}
		}
		if p.gets >= proofGets {
			break
		}
	}
	return flush()
}
