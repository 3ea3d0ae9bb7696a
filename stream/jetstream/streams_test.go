package hlogstream

import (
	"errors"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
)

// steady has another message whenever it is asked, up to so many.
type steady struct {
	js.MessagesContext
	given, most uint64
}

func (s *steady) Next(...js.NextOpt) (js.Msg, error) {
	if s.given == s.most {
		return nil, errors.New("the batch never ends")
	}
	s.given++
	return numbered{sequence: s.given}, nil
}

type numbered struct {
	js.Msg
	sequence uint64
}

func (n numbered) Metadata() (*js.MsgMetadata, error) {
	return &js.MsgMetadata{Sequence: js.SequencePair{Stream: n.sequence}, Timestamp: time.Now()}, nil
}
func (numbered) Subject() string { return "events-0" }
func (numbered) Data() []byte    { return nil }

// A batch ends although messages go on coming without a lull: their first would wait for a batch that may be long in filling.
func TestReader_BatchEndsWhileMessagesCome(t *testing.T) {
	all := &steady{most: 10_000_000}
	r := &reader{messages: all, next: 1}
	got := make([]Message, 0, 1000)
	for range 3 {
		after := r.next
		var err error
		if got, err = r.Read(t.Context(), got[:0], 1<<40); err != nil {
			t.Fatal(err)
		}
		for i, m := range got {
			if m.Sequence != after+uint64(i) {
				t.Fatalf("message %d of a batch behind %d is %d", i, after-1, m.Sequence)
			}
		}
		if r.next == after {
			t.Fatal("a batch without a message")
		}
	}
	if all.given != r.next-1 {
		t.Fatalf("%d messages were taken, %d returned", all.given, r.next-1)
	}
}
