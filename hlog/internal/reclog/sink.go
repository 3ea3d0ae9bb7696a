package reclog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Sink is told of the records that the flusher writes, which has them in its hands to put the checksums in. Its methods are
// called by one goroutine at a time, whoever flushes: the pager or a caller of SyncTo. They must not wait for the log, and
// should be quick: operations wait for the pages that are being written.
type Sink interface {
	// Flushing tells of the published records in [from, to), in ascending order; those whose publication failed are left
	// out. from is where the last call ended, except after Rewind and Abandon. The records are about to be written: when
	// they are, and when they are durable, Durability says. flushed is valid during the call.
	Flushing(from, to uint64, flushed []Flushed)
	// Rewind says that the log is written again from address from on, because a write or a sync has failed: what was told
	// of it is void, and is told again.
	Rewind(from uint64)
}

// Flushed is what a Sink learns of a record.
type Flushed struct {
	At        word.Address
	Hash      uint64 // of the key, by Config.Hash
	KeyBytes  uint32 // of the key
	Size      uint32 // of the record in the log, in bytes
	Version   word.RecordVersion
	Tombstone bool
}

// sinkBatch bounds how many records a Sink is told of at a time: 6 KiB.
const sinkBatch = 256

// teller tells the Sink, in batches. It belongs to flushMu.
type teller struct {
	sink  Sink
	hash  func(key []byte) uint64
	from  uint64 // up to where the sink was told
	n     int    // of batch
	batch *[sinkBatch]Flushed
}

func newTeller(c Config) (t teller) {
	if c.Sink != nil {
		t = teller{sink: c.Sink, hash: c.Hash, from: c.Tail, batch: new([sinkBatch]Flushed)}
	}
	return t
}

// begin says that a flush begins at from.
func (t *teller) begin(from uint64) {
	if from < t.from {
		t.sink.Rewind(from)
	}
	t.from, t.n = from, 0
}

// add tells of the record that stands at a, with its first two words.
func (t *teller) add(a word.Address, rec record.Bytes, k word.Link, st word.State) {
	if st.Invalid() {
		return
	}
	if t.n == sinkBatch {
		t.tell(uint64(a))
	}
	f := &t.batch[t.n]
	t.n++
	key := rec.OnlyKey()
	f.At, f.Hash, f.KeyBytes = a, t.hash(key), uint32(len(key))
	f.Size, f.Version, f.Tombstone = uint32(len(rec)), k.Version(), st.Tombstone()
}

// tell passes on what was added, which is all there is up to address to.
func (t *teller) tell(to uint64) {
	t.sink.Flushing(t.from, to, t.batch[:t.n])
	t.from, t.n = to, 0
}
