package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// home is a partition with much state, which no worker has at the moment: it is at its remote.
type home struct {
	z       *sizes
	s       *server
	k       engine
	name    string
	records uint64
	read    int // messages that were applied
	moves   int
}

// keysOfMake is how many records a message makes.
const keysOfMake = 100

// settle has a worker make the state, and takes away all that is not at the remote.
func (z *sizes) settle(s *server, k engine) (*home, error) {
	h := &home{z: z, s: s, k: k, name: "move-" + k.name}
	messages := max(1, int(z.state/(keyBytes+recordBytes)/keysOfMake))
	h.records = uint64(messages * keysOfMake)
	if err := s.streams(h.name, 1); err != nil {
		return nil, err
	}
	for i := range messages {
		if err := s.publish(h.name, 0, makeMessage(uint64(i*keysOfMake), keysOfMake)); err != nil {
			return nil, err
		}
	}
	seldom := *z // the state in few versions, or compactions are most of what is copied
	seldom.every *= 5
	h.z = &seldom
	defer func() { h.z = z }()
	return h, h.work(messages, func(*meter) {})
}

// work has a worker with an empty directory go on until so many more messages are durable at the remote, and measure.
func (h *home) work(more int, measured func(m *meter)) error {
	if err := h.s.published(); err != nil {
		return err
	}
	h.moves++
	dir := filepath.Join(h.s.dir, h.name)
	m := newMeter(1)
	m.parts[0].durable = uint64(h.read)
	j := h.z.job(m, h.name, filepath.Join(dir, fmt.Sprint("state-", h.moves)), filepath.Join(dir, "remote"))
	w, err := h.k.start(h.s, j)
	if err != nil {
		return err
	}
	h.read += more
	err = m.applied.await(h.s.ctx, more)
	if err == nil {
		err = m.durable.await(h.s.ctx, more)
	}
	if err = errors.Join(err, w.stop()); err != nil {
		return err
	}
	measured(m)
	if h.moves > 1 {
		got, err := h.k.total(j.place(0), h.z.memory)
		if want := (counts{h.records, uint64(h.moves - 1)}); err != nil || got != want {
			return fmt.Errorf("move %d: %+v, want %+v: %w", h.moves-1, got, want, err)
		}
	}
	return os.RemoveAll(j.dir)
}

// move has another worker take the partition over, for which a message waits.
func (h *home) move(f figures) error {
	key := uint64(h.moves) * 7919 % h.records
	if err := h.s.publish(h.name, 0, countMessage(key, false)); err != nil {
		return err
	}
	return h.work(1, func(m *meter) {
		f[first] = float64(m.applied.first.Sub(m.leased).Microseconds()) / 1000
		f[whole] = float64(m.durable.first.Sub(m.leased).Microseconds()) / 1000
	})
}
