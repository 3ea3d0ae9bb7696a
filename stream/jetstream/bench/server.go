package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	hlogstream "github.com/hybridlog/hybridlog/stream/jetstream"
)

// server is a NATS server in this process, with a connection of those who publish.
type server struct {
	ctx  context.Context // ends with the first failure, which is its cause
	fail context.CancelCauseFunc
	s    *natsserver.Server
	nc   *nats.Conn
	js   js.JetStream
	dir  string
}

func startServer(ctx context.Context, dir string) (_ *server, err error) {
	s := &server{dir: dir}
	s.ctx, s.fail = context.WithCancelCause(ctx)
	o := &natsserver.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(dir, "nats"), NoSigs: true, NoLog: true}
	if s.s, err = natsserver.NewServer(o); err != nil {
		return nil, err
	}
	go s.s.Start()
	if !s.s.ReadyForConnections(30 * time.Second) {
		err = errors.New("the server does not get ready")
	} else if s.nc, err = nats.Connect(s.s.ClientURL()); err == nil {
		s.js, err = js.New(s.nc, js.WithPublishAsyncMaxPending(4096), js.WithPublishAsyncErrHandler(func(_ js.JetStream, _ *nats.Msg, err error) { s.fail(err) }))
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) stop() {
	if s.nc != nil {
		s.nc.Close()
	}
	s.s.Shutdown()
	s.s.WaitForShutdown()
}

// connect returns a connection of a worker.
func (s *server) connect() (*nats.Conn, js.JetStream, error) {
	nc, err := nats.Connect(s.s.ClientURL())
	if err != nil {
		return nil, nil, err
	}
	j, err := js.New(nc)
	return nc, j, err
}

// A message adds one to the counter of a key, and says when it was published; or it makes records of a range of keys.
//
//	0   key, or the first of them
//	8   when it was published, after start, in nanoseconds; 0: that is not measured
//	16  number of keys; without it the message counts
const (
	countBytes = 16
	makeBytes  = 24
)

var start = time.Now()

func countMessage(key uint64, timed bool) []byte {
	m := binary.LittleEndian.AppendUint64(make([]byte, 0, countBytes), key)
	at := uint64(0)
	if timed {
		at = uint64(time.Since(start))
	}
	return binary.LittleEndian.AppendUint64(m, at)
}

func makeMessage(first, n uint64) []byte {
	m := binary.LittleEndian.AppendUint64(make([]byte, 0, makeBytes), first)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(m, 0), n)
}

// record is what there is of a key: how often it was counted, and what stands for the rest.
type record [12]uint64

const keyBytes, recordBytes = 8, 96

// begin makes the record of a key, of which nothing can be compressed.
func (r *record) begin(key uint64) {
	rng := rand.NewPCG(key, 3)
	r[0] = 0
	for i := range r[1:] {
		r[i+1] = rng.Uint64()
	}
}

// changes are the keys of messages, in their order, and what is added to the counter of each.
type changes struct{ keys, add []uint64 }

func (c *changes) of(messages []hlogstream.Message) {
	c.keys, c.add = c.keys[:0], c.add[:0]
	for _, m := range messages {
		key := binary.LittleEndian.Uint64(m.Data)
		if len(m.Data) == countBytes {
			c.keys, c.add = append(c.keys, key), append(c.add, 1)
			continue
		}
		for i := range binary.LittleEndian.Uint64(m.Data[16:]) {
			c.keys, c.add = append(c.keys, key+i), append(c.add, 0)
		}
	}
}

// counts is what a directory holds.
type counts struct{ records, total uint64 }

func (c *counts) add(key, value []byte) error {
	if len(key) != keyBytes {
		return nil // of the worker itself
	}
	if len(value) != recordBytes {
		return fmt.Errorf("record of %d bytes", len(value))
	}
	c.records++
	c.total += binary.LittleEndian.Uint64(value)
	return nil
}

func (s *server) streams(group string, partitions int) error {
	return hlogstream.CreateStreams(s.ctx, s.js, group, partitions, nil)
}

func (s *server) drop(group string, partitions int) (err error) {
	for p := range partitions {
		err = errors.Join(err, s.js.DeleteStream(s.ctx, hlogstream.StreamOf(group, p)))
	}
	return err
}

// publish sends a message, of which the server will tell later whether it has it.
func (s *server) publish(group string, partition int, message []byte) error {
	if err := context.Cause(s.ctx); err != nil {
		return err
	}
	_, err := s.js.PublishAsync(hlogstream.StreamOf(group, partition), message)
	return err
}

// published waits until the server has all messages.
func (s *server) published() error {
	select {
	case <-s.js.PublishAsyncComplete():
		return context.Cause(s.ctx)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}
