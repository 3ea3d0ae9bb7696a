// Package record holds the one encoding that every baseline engine writes its keys and values in, so that no engine
// wins or loses by its bytes.
//
// A record is length-prefixed and carries its own checksum:
//
//	+----------+--------------+---------------+-----+-------+
//	| checksum | key length   | value length  | key | value |
//	| 4 bytes  | 1..3 bytes   | 1..4 bytes    |     |       |
//	+----------+--------------+---------------+-----+-------+
//
// The checksum is the low half of the xxh3 of everything behind it, little-endian; the lengths are unsigned varints. A
// value length of 0 is a tombstone: the common interface has an empty value delete. A key is never empty, so a run of
// zero bytes is no record.
package record

import (
	"encoding/binary"
	"errors"

	"github.com/zeebo/xxh3"
)

const (
	// MaxKey is the longest key, in bytes.
	MaxKey = 1<<16 - 1
	// MaxValue is the longest value, in bytes.
	MaxValue = 1 << 24
	// MaxSize is the longest record, in bytes.
	MaxSize = sumSize + 3 + 4 + MaxKey + MaxValue

	sumSize = 4
)

var (
	// ErrShort says that the bytes end before the record does.
	ErrShort = errors.New("record: cut short")
	// ErrDamaged says that lengths or checksum cannot be those of a record.
	ErrDamaged = errors.New("record: checksum does not match")
)

// Size returns the bytes that a record with a key and value of these lengths takes.
func Size(key, value int) int { return sumSize + varintLen(key) + varintLen(value) + key + value }

func varintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// Append appends the record of key and value to dst.
func Append(dst, key, value []byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	dst = append(dst, key...)
	dst = append(dst, value...)
	binary.LittleEndian.PutUint32(dst[start:], uint32(xxh3.Hash(dst[start+sumSize:])))
	return dst
}

// Parse verifies the record at the start of b and returns its parts, which alias b, and its size. It fails with
// ErrShort when b may be the beginning of a longer record, and with ErrDamaged when it cannot be a record.
func Parse(b []byte) (key, value []byte, size int, err error) {
	key, value, size, err = Split(b)
	if err == nil && uint32(xxh3.Hash(b[sumSize:size])) != binary.LittleEndian.Uint32(b) {
		return nil, nil, 0, ErrDamaged
	}
	return key, value, size, err
}

// Split is Parse without the checksum, for bytes that Parse has accepted before.
func Split(b []byte) (key, value []byte, size int, err error) {
	if len(b) < sumSize+2 {
		return nil, nil, 0, ErrShort
	}
	at := sumSize
	k, v := uint64(b[at]), uint64(b[at+1])
	if k < 0x80 && v < 0x80 {
		at += 2
	} else {
		var n int
		if k, n = binary.Uvarint(b[at:]); n <= 0 {
			return nil, nil, 0, malformed(n)
		}
		at += n
		if v, n = binary.Uvarint(b[at:]); n <= 0 {
			return nil, nil, 0, malformed(n)
		}
		at += n
	}
	if k == 0 || k > MaxKey || v > MaxValue {
		return nil, nil, 0, ErrDamaged
	}
	end := at + int(k) + int(v)
	if end > len(b) {
		return nil, nil, 0, ErrShort
	}
	mid := at + int(k)
	return b[at:mid:mid], b[mid:end:end], end, nil
}

func malformed(n int) error {
	if n == 0 {
		return ErrShort
	}
	return ErrDamaged
}
