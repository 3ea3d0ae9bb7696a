package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	hlogstream "github.com/hybridlog/hybridlog/stream/jetstream"
)

// job is what a worker is told, and whom it tells. Streams are those of a group that is named as the job.
type job struct {
	name       string
	dir        string // of its partitions
	remote     string // where directories stand for the remotes of the partitions
	partitions int
	memory     int64

	leased  func(partition int, at time.Time)                  // it has the partition, and begins to open it
	applied func(partition int, messages []hlogstream.Message) // their effects can be read
	durable func(partition int, sequence uint64)               // at the remote
	batch   int                                                // messages of a batch, at the most
	every   time.Duration                                      // between two versions
}

func (j *job) place(partition int) string {
	return filepath.Join(j.dir, fmt.Sprintf("p%04d", partition))
}

func (j *job) remotePlace(partition int) string {
	return filepath.Join(j.remote, fmt.Sprintf("p%04d", partition))
}

// meter measures a job.
type meter struct {
	applied, durable progress

	mu      sync.Mutex
	leased  time.Time
	parts   []part
	latency [2][]float64 // of messages that say when they were published: until applied, until durable; milliseconds
}

// part is what a meter knows of a partition.
type part struct {
	durable uint64  // sequence
	waiting []timed // messages that were applied, in order
}

type timed struct{ sequence, published uint64 }

func newMeter(partitions int) *meter { return &meter{parts: make([]part, partitions)} }

// job returns a job that a meter measures.
func (z *sizes) job(m *meter, name, dir, remote string) *job {
	return &job{
		name: name, dir: dir, remote: remote, partitions: len(m.parts), memory: z.memory, batch: 1000, every: z.every,
		leased:  func(_ int, at time.Time) { m.mu.Lock(); m.leased = at; m.mu.Unlock() },
		applied: m.apply, durable: m.commit,
	}
}

func (m *meter) apply(partition int, messages []hlogstream.Message) {
	now := uint64(time.Since(start))
	m.mu.Lock()
	for _, x := range messages {
		if at := binary.LittleEndian.Uint64(x.Data[8:]); at > 0 {
			m.parts[partition].waiting = append(m.parts[partition].waiting, timed{x.Sequence, at})
			m.latency[0] = append(m.latency[0], float64(now-at)/1e6)
		}
	}
	m.mu.Unlock()
	m.applied.add(len(messages))
}

func (m *meter) commit(partition int, sequence uint64) {
	now := uint64(time.Since(start))
	m.mu.Lock()
	p := &m.parts[partition]
	done := 0
	for ; done < len(p.waiting) && p.waiting[done].sequence <= sequence; done++ {
		m.latency[1] = append(m.latency[1], float64(now-p.waiting[done].published)/1e6)
	}
	p.waiting = p.waiting[done:]
	more := sequence - p.durable
	p.durable = sequence
	m.mu.Unlock()
	m.durable.add(int(more))
}

// progress counts, and tells those who wait.
type progress struct {
	mu        sync.Mutex
	n         int
	first, at time.Time     // when it has counted first, and last
	changed   chan struct{} // closed then
}

func (p *progress) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = time.Now()
	if p.n += n; p.first.IsZero() {
		p.first = p.at
	}
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = nil
}

// await returns when so many were counted.
func (p *progress) await(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		have, changed := p.n, p.changed
		p.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flow measures a worker at messages that wait for it, and at others that come steadily afterwards. What it has come to must
// be exact.
func (z *sizes) flow(s *server, k engine, round int, f figures) (err error) {
	name := fmt.Sprintf("flow-%d", round)
	dir := filepath.Join(s.dir, name)
	if err := s.streams(name, z.partitions); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.drop(name, z.partitions), os.RemoveAll(dir)) }()
	rng := rand.New(rand.NewPCG(uint64(round), 1))
	key := func() uint64 { return rng.Uint64N(uint64(z.keys / z.partitions)) }
	for i := range z.messages {
		if err := s.publish(name, i%z.partitions, countMessage(key(), false)); err != nil {
			return err
		}
	}
	if err := s.published(); err != nil {
		return err
	}

	m := newMeter(z.partitions)
	j := z.job(m, name, filepath.Join(dir, "state"), filepath.Join(dir, "remote"))
	w, err := k.start(s, j)
	if err != nil {
		return err
	}
	err = m.applied.await(s.ctx, z.messages)
	took := m.applied.at.Sub(m.applied.first)
	f[applied] = float64(z.messages) / took.Seconds() / 1000
	all := z.messages
	if err == nil {
		all += int(float64(z.rate) * z.seconds)
		err = z.steadily(s, name, z.messages, all, key)
	}
	if err == nil {
		err = m.applied.await(s.ctx, all)
	}
	if err == nil {
		err = m.durable.await(s.ctx, all)
	}
	if err = errors.Join(err, w.stop()); err != nil {
		return err
	}
	f[median], f[late] = percentile(m.latency[0], 0.5), percentile(m.latency[0], 0.99)
	if k.total == nil {
		return nil
	}
	f[toDurable], f[allDurable] = percentile(m.latency[1], 0.5), percentile(m.latency[1], 0.99)
	var sum counts
	for p := range z.partitions {
		c, err := k.total(j.place(p), z.memory)
		if err != nil {
			return err
		}
		sum.total += c.total
	}
	if sum.total != uint64(all) {
		return fmt.Errorf("%d messages were counted, of %d", sum.total, all)
	}
	return nil
}

// steadily publishes messages at the rate, one by one over the partitions.
func (z *sizes) steadily(s *server, name string, from, until int, key func() uint64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for i := from; i < until; {
		due := min(until, from+int(time.Since(began).Seconds()*float64(z.rate)))
		for ; i < due; i++ {
			if err := s.publish(name, i%z.partitions, countMessage(key(), true)); err != nil {
				return err
			}
		}
		<-tick.C
	}
	return s.published()
}

func percentile(v []float64, of float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[min(len(v)-1, int(float64(len(v))*of))]
}
