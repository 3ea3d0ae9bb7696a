package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	hlogstream "github.com/hybridlog/hybridlog/stream/jetstream"
)

// onHybridLog is the worker of the module.
type onHybridLog struct {
	nc    *nats.Conn
	end   context.CancelFunc
	ended chan error
}

func startHybridLog(s *server, j *job) (worker, error) {
	nc, stream, err := s.connect()
	if err != nil {
		return nil, err
	}
	kv, err := stream.CreateOrUpdateKeyValue(s.ctx, js.KeyValueConfig{Bucket: "leases-" + j.name})
	if err != nil {
		return nil, err
	}
	w, err := hlogstream.New(hlogstream.Config{
		Name: "w", Dir: j.dir, Partitions: j.partitions, BatchMessages: j.batch, CheckpointEvery: j.every,
		Source: hlogstream.FromStreams(stream, j.name), Leases: hlogstream.NewLeases(kv),
		Remote:  func(p int) (checkpoint.Remote, error) { return checkpoint.NewDirRemote(j.remotePlace(p)) },
		Options: hlog.Options{MemoryBytes: j.memory / int64(j.partitions)},
		Process: func(b *hlogstream.Batch) error { return process(j, b) },
		Keys:    func(m hlogstream.Message, keys [][]byte) [][]byte { return append(keys, m.Data[:keyBytes]) },
		Events: func(e hlogstream.Event) {
			switch e.Kind {
			case hlogstream.Opened:
				j.leased(e.Partition, time.Now().Add(-e.Took))
			case hlogstream.Committed:
				j.durable(e.Partition, e.Sequence)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(s.ctx)
	h := &onHybridLog{nc, end, make(chan error, 1)}
	go func() {
		err := w.Run(ctx)
		if err != nil {
			s.fail(err)
		}
		h.ended <- err
	}()
	return h, nil
}

func (h *onHybridLog) stop() error {
	h.end()
	defer h.nc.Close()
	return <-h.ended
}

// own is what a partition keeps from batch to batch.
type own struct {
	table *hlog.Table[uint64, record]
	changes
}

func process(j *job, b *hlogstream.Batch) error {
	o, ok := b.Local.(*own)
	if !ok {
		t, err := hlog.NewTable[uint64, record](b.Session)
		if err != nil {
			return err
		}
		o = &own{table: t}
		b.Local = o
	}
	o.of(b.Messages)
	err := o.table.MultiUpdate(o.keys, func(i int, r *record, existed bool) {
		if !existed {
			r.begin(o.keys[i])
		}
		r[0] += o.add[i]
	})
	if err == nil {
		j.applied(b.Partition, b.Messages)
	}
	return err
}

func totalHybridLog(dir string, memory int64) (c counts, err error) {
	store, err := hlog.Open(dir, &hlog.Options{ReadOnly: true, MemoryBytes: memory})
	if err != nil {
		return c, err
	}
	var bad error
	err = store.Scan(context.Background(), func(key, value []byte) bool {
		bad = c.add(key, value)
		return bad == nil
	})
	return c, errors.Join(err, bad, store.Close())
}
