package hlogstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// StreamOf returns the name of the stream of a partition in a group of streams, which is its subject as well.
func StreamOf(group string, partition int) string { return fmt.Sprintf("%s-%d", group, partition) }

// CreateStreams makes the streams of a group that are not there yet, one for each partition, with the subject of that name.
// edit may change the configuration of each before it is made; nil leaves it as it is: on disk, without limits.
func CreateStreams(ctx context.Context, j js.JetStream, group string, partitions int, edit func(*js.StreamConfig)) error {
	for p := range partitions {
		c := js.StreamConfig{Name: StreamOf(group, p), Subjects: []string{StreamOf(group, p)}, Storage: js.FileStorage}
		if edit != nil {
			edit(&c)
		}
		if _, err := j.CreateStream(ctx, c); err != nil && !errors.Is(err, js.ErrStreamNameAlreadyInUse) {
			return fmt.Errorf("hlogstream: stream %s: %w", c.Name, err)
		}
	}
	return nil
}

type streams struct {
	j     js.JetStream
	group string
}

// FromStreams is a [Source] of the streams of a group, see [StreamOf].
func FromStreams(j js.JetStream, group string) Source { return streams{j, group} }

// ToStreams are [Outputs] to the streams of a group, see [StreamOf]. Nobody else may write to them: the place of a message
// in its stream is its number.
func ToStreams(j js.JetStream, group string) Outputs { return streams{j, group} }

func (s streams) state(ctx context.Context, partition int) (js.StreamState, error) {
	stream, err := s.j.Stream(ctx, StreamOf(s.group, partition))
	if err != nil {
		return js.StreamState{}, fmt.Errorf("hlogstream: stream %s: %w", StreamOf(s.group, partition), err)
	}
	return stream.CachedInfo().State, nil
}

func (s streams) Bounds(ctx context.Context, partition int) (first, last uint64, err error) {
	state, err := s.state(ctx, partition)
	if err != nil {
		return 0, 0, err
	}
	return max(state.FirstSeq, 1), state.LastSeq, nil
}

func (s streams) Last(ctx context.Context, partition int) (uint64, error) {
	state, err := s.state(ctx, partition)
	return state.LastSeq, err
}

// pullMessages is how many messages a reader asks the server for at a time.
const pullMessages = 4096

func (s streams) Open(ctx context.Context, partition int, from uint64) (Reader, error) {
	c, err := s.j.OrderedConsumer(ctx, StreamOf(s.group, partition), js.OrderedConsumerConfig{
		DeliverPolicy: js.DeliverByStartSequencePolicy, OptStartSeq: from,
	})
	if err != nil {
		return nil, err
	}
	messages, err := c.Messages(js.PullMaxMessages(pullMessages))
	if err != nil {
		return nil, err
	}
	return &reader{messages: messages, next: from}, nil
}

// reader reads an ordered consumer.
type reader struct {
	messages js.MessagesContext
	next     uint64 // no message before it has been read
}

// A batch that has a message takes the next ones for as long as they come within a lull of each other, and waits for them
// no longer than gathering in all. Messages that come one by one, but steadily, would otherwise wait until the batch is full.
const (
	lull      = time.Millisecond
	gathering = 4 * time.Millisecond
)

func (r *reader) Read(ctx context.Context, dst []Message, most int) ([]Message, error) {
	var until time.Time // when a batch that has a message ends
	for n := 0; n < most; {
		wait := js.NextContext(ctx)
		if n > 0 {
			rest := time.Until(until)
			if rest <= 0 {
				return dst, nil
			}
			wait = js.NextMaxWait(min(lull, rest))
		}
		m, err := r.messages.Next(wait)
		switch {
		case err == nil:
		case ctx.Err() != nil, n > 0 && errors.Is(err, nats.ErrTimeout):
			return dst, nil
		case errors.Is(err, js.ErrNoHeartbeat): // the server is away: the consumer is made anew when it is back
			continue
		default:
			return dst, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return dst, err
		}
		if meta.Sequence.Stream < r.next {
			continue // a consumer that was made anew may begin at its start
		}
		r.next = meta.Sequence.Stream + 1
		dst = append(dst, Message{Sequence: meta.Sequence.Stream, Time: meta.Timestamp, Subject: m.Subject(), Data: m.Data()})
		if n++; n == 1 {
			until = time.Now().Add(gathering)
		}
	}
	return dst, nil
}

func (r *reader) Close() error {
	r.messages.Stop()
	return nil
}

// Publish demands of each message that the one before is the last of the stream, and waits for no answer before it sends
// the next: when one is refused those behind it are, too.
func (s streams) Publish(ctx context.Context, partition int, first uint64, messages [][]byte) (sent int, err error) {
	subject := StreamOf(s.group, partition)
	acks := make([]js.PubAckFuture, 0, len(messages))
	for i, m := range messages {
		ack, err := s.j.PublishAsync(subject, m, js.WithExpectLastSequence(first+uint64(i)-1))
		if err != nil {
			break // what was sent counts
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		select {
		case a := <-ack.Ok():
			if a.Sequence != first+uint64(i) {
				return sent, fmt.Errorf("%w: message %d of %s came to place %d", ErrOutput, first+uint64(i), subject, a.Sequence)
			}
			sent++
		case err := <-ack.Err():
			return sent, err
		case <-ctx.Done():
			return sent, ctx.Err()
		}
	}
	if sent < len(messages) {
		return sent, fmt.Errorf("hlogstream: %d of %d messages were sent to %s", sent, len(messages), subject)
	}
	return sent, nil
}
