package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// A feed is a stream of what the versions of a store have changed. Its messages have two subjects:
//
//	NAME.changes   keys and what has become of them, as many as fit
//	NAME.version   the end of a batch, which leads from the state of one version to that of another
//
// The headers name the batch that a message belongs to, and the two versions. A batch without an end was cut off by a crash;
// readers drop it, since the one that follows begins at the same version.
const (
	batchHeader = "Hlog-Batch"
	fromHeader  = "Hlog-From" // 0: the empty state
	toHeader    = "Hlog-To"

	messageBytes = 64 << 10
)

// createFeed makes the stream of a feed, if it is not there.
func createFeed(ctx context.Context, j jetstream.JetStream, name string) (jetstream.Stream, error) {
	return j.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"}})
}

// publisher writes a feed. One at a time can: each message demands that it follows the last one that the publisher knows, so
// that of two one gets an error.
type publisher struct {
	j    jetstream.JetStream
	name string
	last *hlog.View // of the version that readers have been led to; nil: none
	seq  uint64     // of the last message
}

// newPublisher goes on where the stream ends. When the store has no longer the version that readers are at, they are led to
// the next one from the empty state.
func newPublisher(ctx context.Context, j jetstream.JetStream, name string, s *hlog.Store) (*publisher, error) {
	stream, err := j.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	p := &publisher{j: j, name: name, seq: info.State.LastSeq}
	end, err := stream.GetLastMsgForSubject(ctx, name+".version")
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	to, err := strconv.ParseUint(end.Header.Get(toHeader), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("message %d: %w", end.Sequence, err)
	}
	p.last, err = s.OpenVersion(ctx, checkpoint.Version(to))
	if err != nil && !errors.Is(err, hlog.ErrVersionNotFound) {
		return nil, err
	}
	return p, nil
}

// close gives up the version that is kept for the next one.
func (p *publisher) close() error {
	if p.last == nil {
		return nil
	}
	return p.last.Close()
}

// publish sends what a version has changed against the one before. The publisher keeps the view: so nobody can purge the
// version before the next one was compared with it, however late that comes.
func (p *publisher) publish(ctx context.Context, now *hlog.View) error {
	h := p.batch(now)
	if err := p.changes(ctx, now, h); err != nil {
		return errors.Join(err, now.Close())
	}
	if err := p.send(ctx, "version", h, nil); err != nil {
		return errors.Join(err, now.Close())
	}
	err := p.close()
	p.last = now
	return err
}

// batch returns the headers of the batch that leads to a version. No other batch begins at the same message.
func (p *publisher) batch(now *hlog.View) nats.Header {
	from := checkpoint.Version(0)
	if p.last != nil {
		from = p.last.Info().Version
	}
	h := nats.Header{}
	h.Set(batchHeader, fmt.Sprint(p.seq))
	h.Set(fromHeader, fmt.Sprint(from))
	h.Set(toHeader, fmt.Sprint(now.Info().Version))
	return h
}

func (p *publisher) changes(ctx context.Context, now *hlog.View, h nats.Header) error {
	var message []byte
	var failed error
	flush := func() bool {
		failed = p.send(ctx, "changes", h, message)
		message = message[:0]
		return failed == nil
	}
	err := now.Changes(ctx, p.last, func(c hlog.Change) bool {
		message = appendChange(message, c)
		return len(message) < messageBytes || flush()
	})
	if err == nil && failed == nil && len(message) > 0 {
		flush()
	}
	return errors.Join(err, failed)
}

func (p *publisher) send(ctx context.Context, kind string, h nats.Header, data []byte) error {
	m := &nats.Msg{Subject: p.name + "." + kind, Header: h, Data: data}
	ack, err := p.j.PublishMsg(ctx, m, jetstream.WithExpectLastSequence(p.seq))
	if err != nil {
		return err
	}
	p.seq = ack.Sequence
	return nil
}

// appendChange appends a change: 1 if the key was deleted, the length of the key, the key, and the same of the value.
func appendChange(b []byte, c hlog.Change) []byte {
	deleted := byte(0)
	if c.Deleted {
		deleted = 1
	}
	b = append(binary.AppendUvarint(append(b, deleted), uint64(len(c.Key))), c.Key...)
	return append(binary.AppendUvarint(b, uint64(len(c.Value))), c.Value...)
}

// cutChange returns the first change of a message, and the rest.
func cutChange(b []byte) (c hlog.Change, rest []byte, err error) {
	piece := func() (p []byte) {
		n, size := binary.Uvarint(b)
		if size <= 0 || uint64(len(b)-size) < n {
			err = errors.New("a change is cut off")
			return nil
		}
		p, b = b[size:size+int(n)], b[size+int(n):]
		return p
	}
	c.Deleted, b = b[0] == 1, b[1:]
	if c.Key = piece(); err == nil {
		c.Value = piece()
	}
	return c, b, err
}

// positionKey is that of the record with the sequence of the message that a reader has come to.
var positionKey = []byte("\x00position in the feed")

// reader keeps a store of its own equal to the one that the feed is of. The changes of a batch, and how far the feed has been
// read, are one unit: a version of the reader's store holds both or neither, and after a crash the reader goes on from there.
type reader struct {
	store   *hlog.Store
	session *hlog.Session
	batch   string
	changes []hlog.Change // of batch
}

func newReader(s *hlog.Store) *reader { return &reader{store: s, session: s.NewSession()} }

// position returns the sequence of the message that was applied last.
func (r *reader) position() (uint64, error) {
	b, err := r.session.Get(nil, positionKey)
	if errors.Is(err, hlog.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// follow applies the feed until it has come to a version.
func (r *reader) follow(ctx context.Context, stream jetstream.Stream, until checkpoint.Version) error {
	at, err := r.position()
	if err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: at + 1,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		to, err := r.apply(ctx, m)
		if err != nil || to == until {
			return err
		}
	}
}

// apply takes a message, and returns the version that the store has come to with it, 0 if the batch goes on.
func (r *reader) apply(ctx context.Context, m jetstream.Msg) (checkpoint.Version, error) {
	h := m.Headers()
	if b := h.Get(batchHeader); b != r.batch {
		r.batch, r.changes = b, nil // what was read of another batch has no end
	}
	for data := bytes.Clone(m.Data()); len(data) > 0; {
		c, rest, err := cutChange(data)
		if err != nil {
			return 0, err
		}
		r.changes, data = append(r.changes, c), rest
	}
	meta, err := m.Metadata()
	if err != nil || m.Subject() != meta.Stream+".version" {
		return 0, err
	}
	if h.Get(fromHeader) == "0" {
		if err := r.dropOthers(ctx); err != nil {
			return 0, err
		}
	}
	err = r.session.Unit(func() error {
		for _, c := range r.changes {
			if err := r.change(c); err != nil {
				return err
			}
		}
		return r.session.Set(positionKey, binary.LittleEndian.AppendUint64(nil, meta.Sequence.Stream))
	})
	if err != nil {
		return 0, err // the store has a part of the batch, but its position is still before it
	}
	to, err := strconv.ParseUint(h.Get(toHeader), 10, 64)
	return checkpoint.Version(to), err
}

func (r *reader) change(c hlog.Change) error {
	if c.Deleted {
		return r.session.Delete(c.Key)
	}
	return r.session.Set(c.Key, c.Value)
}

// dropOthers makes deletions of the keys that a batch from the empty state does not have.
func (r *reader) dropOthers(ctx context.Context) error {
	stays := map[string]bool{string(positionKey): true}
	for _, c := range r.changes {
		stays[string(c.Key)] = true
	}
	return r.store.Scan(ctx, func(key, _ []byte) bool {
		if !stays[string(key)] {
			r.changes = append(r.changes, hlog.Change{Key: bytes.Clone(key), Deleted: true})
		}
		return true
	})
}
