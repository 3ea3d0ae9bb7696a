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

// proof is what the comparison of the store with the independent count found.
type proof struct {
	open    time.Duration
	scanned int
	gets    int // keys read one by one besides
	absent  int // keys that must not be there, asked for one by one
	took    time.Duration
}

// proofGets is how many keys are also read one by one, and how many absent ones asked for; the scan compares all.
const proofGets = 100_000

// prove reopens the store and compares it with the independent count, both ways: every record of the store must be a
// counter of the map with the same count, each met once, and as many as the map has; keys that the text does not
// contain must be absent.
func (j *mainJob) prove(ctx context.Context) (p proof, err error) {
	j.env.progress.Step("proving every count")
	began := time.Now()
	store, err := hlog.Open(j.spec.Dir, &hlog.Options{MemoryBytes: j.spec.Memory})
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	p.open = time.Since(began)
	if err := j.proveByScan(ctx, store, &p); err != nil {
		return p, err
	}
	if err := j.proveByGet(ctx, store, &p); err != nil {
		return p, err
	}
	p.took = time.Since(began)
	j.env.progress.Done("proven: all %s counts equal, nothing else in the store; %s read singly, %s absent keys absent",
		report.Thousands(int64(p.scanned)), report.Thousands(int64(p.gets)), report.Thousands(int64(p.absent)))
	return p, nil
}

func (j *mainJob) proveByScan(ctx context.Context, store *hlog.Store, p *proof) error {
	seen := make(map[string]struct{}, len(j.counts))
	var bad error
	err := store.Scan(ctx, func(key, value []byte) bool {
		want, ok := j.counts[string(key)]
		switch {
		case !ok:
			bad = fmt.Errorf("wrong: the store has %q, which the text does not contain", key)
		case len(value) != 8:
			bad = fmt.Errorf("wrong: the counter of %q is %d bytes long", key, len(value))
		case binary.LittleEndian.Uint64(value) != want:
			bad = fmt.Errorf("wrong: %q counted %d times, the text contains it %d times", key, binary.LittleEndian.Uint64(value), want)
		default:
			seen[string(key)] = struct{}{}
			p.scanned++
			j.env.progress.At(float64(p.scanned), float64(len(j.counts)), "")
			return true
		}
		return false
	})
	switch {
	case err != nil:
		return fmt.Errorf("scan: %w", err)
	case bad != nil:
		return bad
	case len(seen) != p.scanned:
		return fmt.Errorf("wrong: the scan showed %d records for %d keys", p.scanned, len(seen))
	case p.scanned == len(j.counts):
		return nil
	}
	for k, n := range j.counts {
		if _, ok := seen[k]; !ok {
			return fmt.Errorf("wrong: %q, counted %d times, is not in the store (%d of %d keys are)", k, n, p.scanned, len(j.counts))
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
	for k, n := range j.counts { // a map's order is as good as a random sample
		keys, want = append(keys, []byte(k), []byte(k+".")), append(want, n, 0)
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
