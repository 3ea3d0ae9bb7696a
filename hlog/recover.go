package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
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
	s.images.init(s.opts.MemoryBytes)
	x, err := s.openIndex(s.life.Context(), m, s.indexConfig())
	if err != nil {
		return err
	}
	s.table.Store(x.Index)
	s.indexFiles = x.files
	if !s.opts.NoReadCache {
		s.cache = coldcache.NewEmpty(s.opts.MemoryBytes) // it gets memory when the log spills
		s.cache.Pressed = s.background.sizing.Wake
	}
	hooks := reclog.Hooks{FrameBytes: s.memory.frames, Spilled: s.background.sizing.Wake, Stalled: s.events.stalled, Grown: s.kickRuns}
	if s.cache != nil {
		hooks.Leaving = s.leaving
	}
	s.log, err = reclog.New(reclog.Config{
		PageBytes: s.opts.PageBytes, RingBytes: s.opts.MemoryBytes, MutableFraction: s.opts.MutableFraction,
		Begin: begin, Tail: tail, Segments: s.segments, Queues: s.queues, Epochs: s.epochs, Pager: s.background.pager, Steps: s.background.work(),
		Hooks: hooks,
	})
	if err != nil {
		return err
	}
	s.memory.join(s.log.Kick)
	if m != nil {
		s.log.SetTotals(auxTotals(m.Aux))
		s.log.AddLarge(largeRecords(m, tail))
	}
	s.ledger.GoOn(m, tail, 0)
	s.images.opened(m)
	s.compactor.reset(begin, true)
	s.control.Store(logVersion)
	return nil
}

func (s *Store) indexConfig() index.Config {
	return index.Config{
		Epoch:    s.epochs,
		MaxBytes: s.memory.indexMax,
		Reserve:  s.reserveIndex,
		Spawn:    func(f func()) { s.background.jobs.Once("growth", step.Other, f) },
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

// openIndex returns the index of version m: its image and its runs, and the log behind those replayed over them (R3).
//
// An index must never tell fewer keys apart than the one that the log was written under: two keys that had a chain
// each there would meet in one entry here, and replay would keep only the newer chain (R1). So it is made to have at
// least as many buckets from the start, and replay never merges hashes (index.Replay).
func (s *Store) openIndex(ctx context.Context, m *checkpoint.Manifest, c index.Config) (x openedIndex, err error) {
	if m == nil {
		x.Index, err = index.New(c)
		return x, err
	}
	from := uint64(0)
	c.InitialBits = auxBits(m.Aux)
	if m.Image != nil {
		from = m.Image.ReplayFrom
		if n := len(m.Runs); n > 0 {
			from = m.Runs[n-1].To
		}
		x, err = s.openImage(m, c)
	} else {
		x.Index, err = index.New(c)
	}
	if err != nil {
		return openedIndex{}, err
	}
	if err := s.replay(ctx, x.Index, m, from); err != nil {
		x.Close()
		return openedIndex{}, err
	}
	return x, nil
}

// openedIndex is an index with the files that it may still have to read from.
type openedIndex struct {
	*index.Index
	files []fsx.File
}

// Close gives all up.
func (x openedIndex) Close() {
	x.Index.Close()
	closeAll(x.files)
}

func closeAll(files []fsx.File) {
	for _, f := range files {
		f.Close()
	}
}

// openImage opens the image and the runs of version m. The index reads from the files as it goes, and keeps them open.
func (s *Store) openImage(m *checkpoint.Manifest, c index.Config) (openedIndex, error) {
	name := s.ledger.ImagePath(m.Image.ID)
	f, err := s.root.Open(name, fsx.Read)
	if errors.Is(err, fs.ErrNotExist) {
		return openedIndex{}, &CorruptionError{File: name, Reason: "index image is missing"}
	}
	if err != nil {
		return openedIndex{}, err
	}
	files := []fsx.File{f}
	var runs []*index.Run
	for _, ref := range m.Runs {
		run, f, err := s.openRun(ref)
		if err != nil {
			closeAll(files)
			return openedIndex{}, err
		}
		runs, files = append(runs, run), append(files, f)
	}
	x, err := index.OpenImage(c, f, m.Image.Bytes, logBegin(m), runs...)
	if err != nil {
		closeAll(files)
		return openedIndex{}, imageError(name, err)
	}
	return openedIndex{x, files}, nil
}

// logBegin returns where the log of version m begins, its end if it is empty.
func logBegin(m *checkpoint.Manifest) word.Address { return word.Address(ledger.LogBegin(m)) }

// recordSkip returns which records of an extent are not of its lineage: those written past the version's cut (C4).
func recordSkip(e checkpoint.Extent) func(word.Address, record.Bytes) bool {
	after := word.MakeRecordVersion(e.LogVersion + 1)
	return func(a word.Address, rec record.Bytes) bool {
		return uint64(a) >= e.Fuzzy && rec.Link().Version() == after
	}
}

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
