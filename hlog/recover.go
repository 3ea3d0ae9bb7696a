package hlog

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/word"
)

// recoverAt makes log and index those of version m; nil is the empty store.
func (s *Store) recoverAt(m *checkpoint.Manifest) error {
	tail := max(uint64(word.FirstAddress), s.logStart())
	begin, logVersion := tail, uint64(1)
	if m != nil {
		logVersion = m.LogVersion + 1
		begin = uint64(logBegin(m))
	}
	s.control.Store(logVersion)
	s.ledger.GoOn(m, tail, 0)
	t, err := s.cold.openTier(coldFilesOf(m), 1)
	if err != nil {
		return err
	}
	old, _ := s.cold.install(t, false)
	old.release() // of an attempt that has failed
	x, err := s.openIndex(s.life.Context(), m, s.indexConfig(), s.tellDisk(m))
	if err != nil {
		return err
	}
	s.table.Store(x.Index)
	s.indexFiles = x.Files
	if !s.opts.NoReadCache {
		s.cache = coldcache.NewEmpty(s.opts.MemoryBytes) // it gets memory when the log spills
		s.cache.Pressed = s.background.sizing.Wake
	}
	s.memory.triples = s.disk.Memory
	hooks := reclog.Hooks{
		FrameBytes: s.memory.frames, Pieces: s.memory.pieces,
		Spilled: s.background.sizing.Wake, Stalled: s.events.stalled, Grown: s.logGrown, Opens: s.mayOpen,
	}
	if s.cache != nil {
		hooks.Leaving = s.leaving
	}
	var sink reclog.Sink
	if s.writable {
		sink = s.disk.NewSink()
	}
	s.log, err = reclog.New(reclog.Config{
		PageBytes: s.opts.PageBytes, RingBytes: s.opts.MemoryBytes, MutableFraction: s.opts.MutableFraction,
		Begin: begin, Tail: tail, Segments: s.segments, Queues: s.queues, Epochs: s.epochs, Pager: s.background.pager, Steps: s.background.work(),
		Hooks: hooks, Sink: sink, Hash: s.hash,
	})
	if err != nil {
		return err
	}
	s.memory.start(s.log.Kick)
	if m != nil {
		s.log.SetTotals(auxTotals(m.Aux))
		s.log.AddLarge(largeRecords(m, tail))
	}
	s.cold.size()
	s.opened.Store(&x.From)
	s.compactor.reset(begin, true)
	return nil
}

func (s *Store) indexConfig() index.Config {
	return index.Config{
		Epoch:    s.epochs,
		MaxBytes: s.memory.indexMax,
		Reserve:  s.reserveIndex,
		Spawn:    func(f func()) { s.background.jobs.Once("growth", step.Other, f) },
		OnFull:   s.indexFull,
		OnGrow:   s.events.indexGrown,
	}
}

// reserveIndex takes memory for the index. The log gives up frames for it.
func (s *Store) reserveIndex(delta int64) bool {
	s.memory.reserve(delta)
	if l := s.log; delta > 0 && l != nil {
		l.Kick()
	}
	return true
}

// openIndex returns the index of version m: its shares, and the log behind those replayed over them (R3). tell, if it is
// not nil, is told of that log.
//
// An index must never tell fewer keys apart than the one that the log was written under: two keys that had a chain
// each there would meet in one entry here, and replay would keep only the newer chain (R1). So it is made to have at
// least as many buckets from the start, and replay never merges hashes (index.Replay).
func (s *Store) openIndex(ctx context.Context, m *checkpoint.Manifest, c index.Config, tell func(from, to uint64, records []index.Logged)) (x shares.Opened, err error) {
	if m == nil {
		x.Index, err = index.New(c)
		return x, err
	}
	c.InitialBits = auxBits(m.Aux)
	if x, err = s.disk.OpenIndex(m, c, s.opts.viewsOnly); err != nil {
		return x, err
	}
	if err := s.replay(ctx, x.Index, m, m.Index.Replay(), tell); err != nil {
		x.Close()
		return shares.Opened{}, err
	}
	return x, nil
}

// tellDisk returns what a replay of version m, from which the store goes on, tells the index on disk.
func (s *Store) tellDisk(m *checkpoint.Manifest) func(from, to uint64, records []index.Logged) {
	if !s.writable || m == nil || !s.disk.Tells(m) {
		return nil
	}
	return func(from, to uint64, records []index.Logged) {
		s.disk.Log(word.Address(from), word.Address(to), records)
	}
}

// logBegin returns where the log of version m begins, its end if it is empty.
func logBegin(m *checkpoint.Manifest) word.Address { return word.Address(ledger.LogBegin(m)) }

// The store's own part of a manifest:
//
//	offset  size  what
//	0       4     bits of the index when the version was cut: it had 2^bits buckets
//	4       8     records that were flushed so far, in all
//	12      8     their bytes
//	20      8     tombstones among them that compaction has not met
//	28      8     address from which on records that do not fit into every page are known; without it none is
//	36      8     each of 9: address of the newest record that needs a page of 32 KiB, 64 KiB, ..., 8 MiB; 0 if none does
func makeAux(bits uint, t reclog.Totals, r reclog.LargeRecords) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(bits))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Records))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Bytes))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.Tombstones))
	b = binary.LittleEndian.AppendUint64(b, r.From)
	for _, a := range r.Last {
		b = binary.LittleEndian.AppendUint64(b, a)
	}
	return b
}

const (
	auxLarge = 28 // where records that do not fit into every page begin
	auxBytes = auxLarge + 8 + 8*reclog.LargeClasses
)

// auxTotals returns the totals of a version; they are zero if it has none.
func auxTotals(aux []byte) (t reclog.Totals) {
	if len(aux) >= auxLarge {
		t.Records = int64(binary.LittleEndian.Uint64(aux[4:]))
		t.Bytes = int64(binary.LittleEndian.Uint64(aux[12:]))
		t.Tombstones = int64(binary.LittleEndian.Uint64(aux[20:]))
	}
	return t
}

func auxBits(aux []byte) uint {
	if len(aux) < 4 {
		return 0
	}
	return uint(min(binary.LittleEndian.Uint32(aux), 40))
}

// warmAfter is how long warming waits for the first operations, which would otherwise share cores and disk with it.
const warmAfter = 50 * time.Millisecond

// warm loads the rest of the index and fills free frames with the newest log, newest first, until the store is as it was
// before it closed.
func (s *Store) warm() {
	if s.background.work() == nil {
		select {
		case <-s.life.Context().Done():
			return
		case <-time.After(warmAfter):
		}
	}
	s.loadRest()
	defer s.warmed.Store(true)
	hold := s.ledger.Hold(0, "warming")
	defer hold.Release()
	m := hold.Parent
	if m == nil || m.PageBytes > s.log.PageBytes() || len(m.Extents) == 0 {
		return
	}
	last := m.Extents[len(m.Extents)-1]
	hold.Narrow(last.Start)
	if err := s.log.Warm(s.life.Context(), last.Start, last.End, s.gap.Start, s.gap.End); err != nil && s.check() == nil {
		s.logger.Warn("warming stopped; the log is read from disk instead", "err", err)
	}
}

// current returns the newest committed version that the store has gone on from, nil before the first.
func (s *Store) current() *checkpoint.Manifest {
	return s.ledger.Lineage().Parent
}
