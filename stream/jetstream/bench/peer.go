package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	hlogstream "github.com/hybridlog/hybridlog/stream/jetstream"
)

// state is what a peer keeps of a partition.
type state interface {
	// open fetches the newest version from the remote if there is nothing here, and returns up to where messages were read.
	open() (sequence uint64, err error)
	apply(messages []hlogstream.Message) error
	// commit returns when what was applied before it began is durable, at the remote as well. It runs beside apply.
	commit() error
	close() error
}

// peer is a worker like that of the module, without leases and outputs: it reads ahead, applies batches, and commits
// from time to time, beside what is applied.
type peer struct {
	nc    *nats.Conn
	end   context.CancelFunc
	parts sync.WaitGroup
	mu    sync.Mutex
	err   error
}

func startPeer(s *server, j *job, make func(partition int) state) (worker, error) {
	nc, stream, err := s.connect()
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(s.ctx)
	w := &peer{nc: nc, end: end}
	for p := range j.partitions {
		w.parts.Go(func() {
			r := &peerPart{job: j, n: p, state: make(p), source: hlogstream.FromStreams(stream, j.name)}
			if err := r.run(ctx); err != nil {
				s.fail(err)
				w.mu.Lock()
				w.err = errors.Join(w.err, err)
				w.mu.Unlock()
			}
		})
	}
	return w, nil
}

func (w *peer) stop() error {
	w.end()
	w.parts.Wait()
	w.nc.Close()
	return w.err
}

// peerPart is a partition of a peer.
type peerPart struct {
	*job
	n      int
	state  state
	source hlogstream.Source
	at     uint64 // applied up to
	kept   uint64 // durable up to
}

const batchesHeld = 4 // as many as the worker of the module has

func (p *peerPart) run(ctx context.Context) (err error) {
	p.leased(p.n, time.Now())
	if p.at, err = p.state.open(); err != nil {
		return err
	}
	p.kept = p.at
	reader, err := p.source.Open(ctx, p.n, p.at+1)
	if err != nil {
		return errors.Join(err, p.state.close())
	}
	batches, used, failed := make(chan []hlogstream.Message, batchesHeld), make(chan []hlogstream.Message, batchesHeld), make(chan error, 1)
	for range batchesHeld {
		used <- make([]hlogstream.Message, 0, p.batch)
	}
	var reading sync.WaitGroup
	inner, stop := context.WithCancel(ctx)
	reading.Go(func() {
		for inner.Err() == nil {
			select {
			case m := <-used:
				if m, err := reader.Read(inner, m[:0], p.batch); err != nil {
					failed <- err
					return
				} else if len(m) > 0 {
					batches <- m
				}
			case <-inner.Done():
			}
		}
	})
	err = p.work(ctx, batches, used, failed)
	stop()
	reading.Wait()
	if err == nil && p.kept != p.at {
		err = p.state.commit()
	}
	return errors.Join(err, reader.Close(), p.state.close())
}

// work applies batches until ctx ends.
func (p *peerPart) work(ctx context.Context, batches, used chan []hlogstream.Message, failed chan error) error {
	due := time.NewTicker(p.every)
	defer due.Stop()
	type commit struct {
		at  uint64
		err error
	}
	committed, pending := make(chan commit, 1), false
	defer func() {
		if pending {
			p.kept = (<-committed).at
		}
	}()
	for {
		select {
		case m := <-batches:
			if err := p.state.apply(m); err != nil {
				return err
			}
			p.at = m[len(m)-1].Sequence
			p.applied(p.n, m)
			used <- m
		case <-due.C:
			if at := p.at; !pending && at != p.kept {
				pending = true
				go func() { committed <- commit{at, p.state.commit()} }()
			}
		case c := <-committed:
			pending = false
			if c.err != nil {
				return c.err
			}
			p.kept = c.at
			p.durable(p.n, c.at)
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// nothing is the state of a worker that keeps none.
type nothing struct{}

func startNothing(s *server, j *job) (worker, error) {
	return startPeer(s, j, func(int) state { return nothing{} })
}

func (nothing) open() (uint64, error)            { return 0, nil }
func (nothing) apply([]hlogstream.Message) error { return nil }
func (nothing) commit() error                    { return nil }
func (nothing) close() error                     { return nil }
