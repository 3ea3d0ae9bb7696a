package hlogstream

import (
	"encoding/binary"

	"github.com/hybridlog/hybridlog/hlog"
)

// Batch is some messages of a partition that follow each other. Their effects are in one version together.
type Batch struct {
	Partition int
	Messages  []Message
	// Session is where the partition's state is read and changed. Keys that begin with [ReservedKeys] are the worker's.
	Session *hlog.Session
	// Local is what Process keeps for the partition while this worker has it: tables, for one. It is nil for the first
	// batch after the partition was opened.
	Local any

	outbox *outbox
}

// ReservedKeys is what the keys begin with that a worker keeps for itself in each store.
const ReservedKeys = "\xffhybridlog/stream/"

// Emit appends a message to the partition's output. It goes out when the batch is durable, exactly once. data is copied.
func (b *Batch) Emit(data []byte) error { return b.outbox.add(b.Session, data) }

// outbox is the messages that were emitted and may not have gone out. Message n has a record of its own, from the moment
// that it is emitted until it is known to be out.
type outbox struct {
	last    uint64 // number of the last message emitted
	removed uint64 // those up to it have no record any more
	key     []byte
}

func outboxKey(dst []byte, n uint64) []byte {
	dst = append(dst[:0], ReservedKeys...)
	return binary.BigEndian.AppendUint64(dst, n)
}

func (o *outbox) add(s *hlog.Session, data []byte) error {
	o.key = outboxKey(o.key, o.last+1)
	if err := s.Set(o.key, data); err != nil {
		return err
	}
	o.last++
	return nil
}

// remove removes the records of messages that are out, up to n.
func (o *outbox) remove(s *hlog.Session, n uint64) error {
	for ; o.removed < n; o.removed++ {
		o.key = outboxKey(o.key, o.removed+1)
		if err := s.Delete(o.key); err != nil {
			return err
		}
	}
	return nil
}

// cookie is what each version says of the stream (X11, X12).
//
//	0   sequence of the last message whose effects it holds
//	8   number of the last message emitted
//	16  number of the last message whose record is removed
type cookie struct{ sequence, emitted, removed uint64 }

const cookieBytes = 24

func (c cookie) bytes() []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, cookieBytes), c.sequence)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, c.emitted), c.removed)
}

func parseCookie(b []byte) (c cookie, ok bool) {
	if len(b) != cookieBytes {
		return c, false
	}
	return cookie{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}, true
}
