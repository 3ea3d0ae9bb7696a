package checkpoint

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

// Format is the number of the newest file format that this release reads. It writes a file in the lowest one that can
// express it.
const Format = 6

const (
	magicBytes    = 8
	headerBytes   = 24
	sumBytes      = 8
	envelopeBytes = headerBytes + sumBytes

	magicStore    = "HLSTORE\n"
	magicHead     = "HLHEAD\n\n"
	magicManifest = "HLVERSN\n"
	magicNone     = "HLNONE\n\n"
)

// wrap puts payload into an envelope (see the package comment).
func wrap(magic string, format uint32, payload []byte) []byte {
	b := make([]byte, 0, envelopeBytes+len(payload))
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, format)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(envelopeBytes+len(payload)))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint64(b, xxh3.Hash(b))
}

// envelopeSum returns the checksum that ends an envelope.
func envelopeSum(envelope []byte) uint64 {
	return binary.LittleEndian.Uint64(envelope[len(envelope)-sumBytes:])
}

// unwrap returns the payload of an envelope, which stays part of b, and its format, newest at most. The checksum is tested before the format, so that a
// damaged format number is reported as damage.
func unwrap(file, magic string, newest uint32, b []byte) (payload []byte, format uint32, err error) {
	if len(b) < envelopeBytes {
		return nil, 0, corrupt(file, len(b), "%d bytes are too few for a header and a checksum", len(b))
	}
	if string(b[:magicBytes]) != magic {
		return nil, 0, corrupt(file, 0, "magic is %q, not %q", b[:magicBytes], magic)
	}
	if n := binary.LittleEndian.Uint64(b[16:]); n != uint64(len(b)) {
		return nil, 0, corrupt(file, 16, "length is %d, the file has %d bytes", n, len(b))
	}
	body := b[:len(b)-sumBytes]
	if want, got := envelopeSum(b), xxh3.Hash(body); got != want {
		return nil, 0, corrupt(file, len(body), "checksum is %016x, the bytes have %016x", want, got)
	}
	switch format = binary.LittleEndian.Uint32(b[8:]); {
	case format > newest:
		return nil, 0, fmt.Errorf("%w: %s has format %d, this release reads up to %d", ErrFormat, file, format, newest)
	case format == 0 || binary.LittleEndian.Uint32(b[12:]) != 0:
		return nil, 0, corrupt(file, 8, "format %d does not exist", format)
	}
	return body[headerBytes:], format, nil
}

// reader takes a payload apart. Its methods return zero values once something was missing; err says what.
type reader struct {
	file string
	rest []byte
	off  int // of rest in the file
	err  error
}

func newReader(file string, payload []byte) *reader {
	return &reader{file: file, rest: payload, off: headerBytes}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = corrupt(r.file, r.off, format, args...)
	}
}

// bytes returns the next n bytes without copying them.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail("%d bytes missing", n-uint64(len(r.rest)))
	}
	if r.err != nil {
		return nil
	}
	b := r.rest[:n:n]
	r.rest, r.off = r.rest[n:], r.off+int(n)
	return b
}

func (r *reader) uint64() uint64 {
	b := r.bytes(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// int64 returns the next number, which must not be negative.
func (r *reader) int64() int64 {
	n := int64(r.uint64())
	if n < 0 {
		r.fail("number out of range")
		return 0
	}
	return n
}

// count returns the number of items that follow, each of the given size, and refuses more than there are bytes for.
func (r *reader) count(size int) int {
	n := r.uint64()
	if n > uint64(len(r.rest)/size) {
		r.fail("%d items of %d bytes do not fit into the %d bytes left", n, size, len(r.rest))
		return 0
	}
	return int(n)
}

// blob returns the next length-prefixed bytes, copied; nil when there are none.
func (r *reader) blob() []byte {
	return append([]byte(nil), r.bytes(r.uint64())...)
}

// done returns the first error; bytes that are left over are one.
func (r *reader) done() error {
	if len(r.rest) > 0 {
		r.fail("%d bytes too many", len(r.rest))
	}
	return r.err
}
