package shares

import (
	"context"
	"errors"
	"fmt"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Sink passes on to the index on disk what the flusher tells.
type Sink struct {
	d      *Index
	logged []index.Logged
}

// NewSink returns a Sink.
func (d *Index) NewSink() *Sink { return &Sink{d: d} }

// Flushing tells of records that are about to be written. When runs cannot keep up with the flusher, it waits for one:
// what was told and is in none is in memory.
func (k *Sink) Flushing(from, to uint64, flushed []reclog.Flushed) {
	d := k.d
	k.logged = k.logged[:0]
	for _, f := range flushed {
		k.logged = append(k.logged, index.Logged{
			Triple: index.MakeTriple(f.Hash, f.At, int(f.Size), f.Tombstone), Version: f.Version, Own: d.c.Own != nil && d.c.Own(int(f.KeyBytes)),
		})
	}
	if d.Log(word.Address(from), word.Address(to), k.logged) {
		d.c.RunDue()
	}
	if behind := maxBehind * d.Uncovered; to > uint64(d.Written())+behind {
		d.makeRoom()
		d.WriteRunsUpTo(to - behind) // whoever commits learns of an error
	}
}

// Rewind says that the log is written again from an address on.
func (k *Sink) Rewind(from uint64) {
	k.d.Log(word.Address(from), word.Address(from), nil)
}

// WriteRunsUpTo returns when runs stand for the log up to address to, as far as there is any, all of which has been flushed.
// It writes them, unless somebody else does.
func (d *Index) WriteRunsUpTo(to uint64) error {
	d.Files.awaited.Add(1)
	defer d.Files.awaited.Add(-1)
	for tries := 0; ; {
		more, err := d.Await(context.Background(), word.Address(to))
		if !more || err != nil {
			return err
		}
		r, ok := d.TakeRun(true)
		if !ok {
			continue // somebody was faster
		}
		err = d.writeRun(context.Background(), r)
		if tries++; err != nil && tries > 1 {
			return fmt.Errorf("hlog: index run of log [%#x, %#x): %w", r.From, r.To, err)
		}
	}
}

// WriteRuns writes the runs that are due.
func (d *Index) WriteRuns() {
	for !d.ends() {
		if !d.Wanted() {
			d.c.GiveWay()
		}
		d.makeRoom()
		r, ok := d.TakeRun(false)
		if !ok {
			break
		}
		if err := d.writeRun(d.Life.Context(), r); err != nil {
			if !d.ends() {
				d.c.Logger.Warn("index run not written; it is tried again", "err", err)
			}
			return
		}
	}
	d.c.RunMade()
}

// writeRun writes a run, of which each group gets a share of its own.
func (d *Index) writeRun(ctx context.Context, r *index.NewRun) error {
	w := d.NewWriter(ledger.Run, nil)
	for i := range r.Groups {
		g := &r.Groups[i]
		var err error
		if g.Shares, err = index.WriteTriples(ctx, w.config(), r.From, r.To, g.Triples, !g.Mixed); err != nil {
			d.FinishRun(r, err)
			return errors.Join(err, w.Drop())
		}
	}
	err := w.publish(func() bool { return d.FinishRun(r, nil) })
	if err != nil {
		d.FinishRun(r, err)
	}
	return err
}

// ends reports whether the store ends: background work does not go on.
func (d *Index) ends() bool { return d.Life.Phase().Ends() }
