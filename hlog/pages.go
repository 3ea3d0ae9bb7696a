package hlog

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Compaction moves records, and a page holds a whole record. So a store never goes on from a version whose log has a record
// that is larger than its pages (K5): Open takes larger pages than it would, or refuses and says which options it takes, and
// so does Restore.

const _ = uint(MinPageBytes - reclog.SmallPageBytes) // what fits into every page of a log fits into every page of a store

// largeRecords returns what version m knows of records that do not fit into every page. unknown is where what is known
// begins if m was made by a store that did not take notes.
func largeRecords(m *checkpoint.Manifest, unknown uint64) (r reclog.LargeRecords) {
	if len(m.Aux) < auxBytes {
		r.From = unknown
		return r
	}
	b := m.Aux[auxLarge:]
	r.From = binary.LittleEndian.Uint64(b)
	for i := range r.Last {
		r.Last[i] = binary.LittleEndian.Uint64(b[8*(i+1):])
	}
	return r
}

// pageNeed returns the least page that takes every record in the log of version m, as far as that is known.
func pageNeed(m *checkpoint.Manifest) int { return largeRecords(m, 0).PageBytes(uint64(logBegin(m))) }

// fitPages sees to it that pages take what is in the log of version m, which is about to be opened. Pages whose size nobody
// has asked for are made large enough for the other versions that are kept as well, if memory allows.
func (s *Store) fitPages(m *checkpoint.Manifest) error {
	if m == nil || !s.writable {
		return nil // nothing is moved
	}
	need := pageNeed(m)
	if s.opts.pageChosen {
		all := need
		for _, i := range s.ledger.Versions() {
			if other, err := s.ledger.Manifest(i.Version); err == nil {
				all = max(all, pageNeed(other))
			}
		}
		most := int(min(s.opts.MemoryBytes/8, int64(s.segments.Bytes())))
		if r := largeRecords(m, math.MaxUint64); r.From > uint64(logBegin(m)) {
			all = max(all, m.PageBytes) // nobody has written with larger ones
		}
		switch {
		case all <= most:
			need = all
		case need > most:
			return s.pageError(need, m)
		}
		if need > s.opts.PageBytes {
			s.logger.Debug("pages are larger than MemoryBytes asks for, because of records in the log", "bytes", need)
			s.opts.PageBytes = need
			s.memory.setPage(need)
		}
		return nil
	}
	return s.checkPages(m)
}

// canFitPages returns the error that fitPages would return for version m of a directory with such segments.
func (s *Store) canFitPages(m *checkpoint.Manifest, segmentBytes int64) error {
	if !s.opts.pageChosen {
		return s.checkPages(m)
	}
	if need := pageNeed(m); need > int(min(s.opts.MemoryBytes/8, segmentBytes)) {
		return s.pageError(need, m)
	}
	return nil
}

// checkPages returns an error if the log of version m has records that are larger than the pages (K5).
func (s *Store) checkPages(m *checkpoint.Manifest) error {
	if need := pageNeed(m); need > s.opts.PageBytes {
		return s.pageError(need, m)
	}
	return nil
}

func (s *Store) pageError(need int, m *checkpoint.Manifest) error {
	return optionError("PageBytes", s.opts.PageBytes,
		fmt.Sprintf("at least %d, with MemoryBytes (%d) at least %d: version %d has a record of that size, which compaction moves",
			need, s.opts.MemoryBytes, 8*int64(need), m.Version))
}

// stuckError is the error of a compaction that has come upon a record that fits into no page: one of a directory written by
// a store that took no notes of large records. The next version knows of it.
func (s *Store) stuckError(a word.Address, sh record.Shape) error {
	size := record.ShapeFor(sh.KeyLen, sh.ValueLen, 0).Size
	s.log.FoundLarge(a, size)
	need := reclog.PageFor(size)
	return optionError("PageBytes", s.opts.PageBytes,
		fmt.Sprintf("at least %d, with MemoryBytes (%d) at least %d: the log has a record of %d bytes at %#x, where compaction ends",
			need, s.opts.MemoryBytes, 8*int64(need), size, uint64(a)))
}
