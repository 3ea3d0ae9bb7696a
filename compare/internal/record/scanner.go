package record

import (
	"errors"
	"io"
)

// scanBuffer is how much a Scanner reads at a time: enough that a sequential scan runs at the speed of the device.
const scanBuffer = 256 << 10

// Scanner reads the records of a stretch of a file in order, verifying each. The zero value is not usable.
type Scanner struct {
	r          io.ReaderAt
	next, end  int64 // bytes of the file not read yet
	at         int64 // where the current record begins in the file
	buf        []byte
	unread     []byte // bytes of buf behind the current record
	raw        []byte
	key, value []byte
	err        error
}

// NewScanner returns a scanner over the bytes [start, end) of r.
func NewScanner(r io.ReaderAt, start, end int64) *Scanner {
	return &Scanner{r: r, next: start, end: end, at: start, buf: make([]byte, min(scanBuffer, max(end-start, 0)))}
}

// Next moves to the next record. It reports false at the end and at the first byte that is no whole record.
func (s *Scanner) Next() bool {
	if s.err != nil {
		return false
	}
	s.at += int64(len(s.raw))
	s.raw = nil
	for {
		if len(s.unread) == 0 && s.next == s.end {
			return false
		}
		key, value, size, err := Parse(s.unread)
		if err == nil {
			s.key, s.value, s.raw, s.unread = key, value, s.unread[:size], s.unread[size:]
			return true
		}
		if !errors.Is(err, ErrShort) || s.next == s.end {
			s.err = err
			return false
		}
		if s.err = s.fill(); s.err != nil {
			return false
		}
	}
}

// fill reads on behind the unread bytes, in a longer buffer when one record fills the whole of it.
func (s *Scanner) fill() error {
	if len(s.unread) == len(s.buf) {
		longer := make([]byte, min(max(2*int64(len(s.buf)), 64), int64(len(s.unread))+s.end-s.next))
		copy(longer, s.unread)
		s.buf = longer
	} else {
		copy(s.buf, s.unread)
	}
	have := len(s.unread)
	want := int(min(int64(len(s.buf)-have), s.end-s.next))
	n, err := s.r.ReadAt(s.buf[have:have+want], s.next)
	if n < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = ErrShort
		}
		return err
	}
	s.next += int64(want)
	s.unread = s.buf[:have+want]
	return nil
}

// Key returns the current record's key. It and the other slices are valid until the next call of Next.
func (s *Scanner) Key() []byte { return s.key }

// Value returns the current record's value, empty for a tombstone.
func (s *Scanner) Value() []byte { return s.value }

// Raw returns the current record as it stands in the file.
func (s *Scanner) Raw() []byte { return s.raw }

// Offset returns where in the file the current record begins; after the end, where the scan stopped.
func (s *Scanner) Offset() int64 { return s.at }

// Err returns what stopped the scan before its end: ErrShort, ErrDamaged or a failure to read; nil at the end.
func (s *Scanner) Err() error { return s.err }
