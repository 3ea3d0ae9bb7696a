package cold

import (
	"context"
	"encoding/binary"

	"github.com/hybridlog/hybridlog/internal/mem"
)

// Verify reads the whole file. The error is a *[CorruptError] for the first damage that it comes upon, or that of the file or
// of ctx.
func (s *Share) Verify(ctx context.Context, order func(key []byte) uint64) error {
	b := mem.AlignedBytes(BlockBytes, BlockBytes)
	if err := s.readAt(b, 0); err != nil {
		return err
	}
	head := make([]byte, BlockBytes)
	copy(head, shareMagic)
	binary.LittleEndian.PutUint32(head[8:], shareFormat)
	if string(b) != string(head) {
		return s.corrupt(0, "head of a share")
	}
	for n := range s.first {
		if n%contextRecords == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.readAt(b, blockAt(n)); err != nil {
			return err
		}
		if _, _, _, err := s.checkBlock(b, n); err != nil {
			return err
		}
	}
	for n := range s.filters {
		if err := s.readAt(b, s.filterAt(n)); err != nil {
			return err
		}
		if err := s.checkFilterBlock(b, n); err != nil {
			return err
		}
	}
	return Join(ctx, order, 0, ^uint64(0), []*Share{s}, func(*Record, int64) error { return nil })
}

// checkFilterBlock returns an error unless b is block n of the filter.
func (s *Share) checkFilterBlock(b []byte, n int) error {
	last := s.last
	if n+1 < len(s.filters) {
		last = s.filters[n+1] - 1
	}
	if err := checkFilter(b, s.filters[n], last, ^s.seed-uint64(n)); err != nil {
		return s.corrupt(s.filterAt(n), "%v", err)
	}
	return nil
}
