package appendlog

import (
	"encoding/binary"

	"github.com/hybridlog/hybridlog/compare/internal/fileset"
	"github.com/hybridlog/hybridlog/compare/internal/record"
)

const hintMagic = 0x31_54_4e_49_48_47_4f_4c // "LOGHINT1"

// replay calls fn with every record of a file, oldest first; size is the record's, value its value's.
func replay(f *fileset.File, fn func(key []byte, value int, offset int64, size int)) error {
	if f.Level > 0 {
		return replayHints(f, fn)
	}
	s := record.NewScanner(f, 0, f.Length)
	for s.Next() {
		fn(s.Key(), len(s.Value()), s.Offset(), len(s.Raw()))
	}
	return f.ScanError(s)
}

func replayHints(f *fileset.File, fn func(key []byte, value int, offset int64, size int)) error {
	hints, records, err := f.Index(hintMagic)
	if err != nil {
		return err
	}
	var offset int64
	for len(hints) > 0 {
		k, n := binary.Uvarint(hints)
		v, m := binary.Uvarint(hints[max(n, 0):])
		if n <= 0 || m <= 0 || k == 0 || v > record.MaxValue || k > uint64(len(hints)-n-m) {
			return f.Damaged(records, "hints do not make sense")
		}
		hints = hints[n+m:]
		size := record.Size(int(k), int(v))
		fn(hints[:k], int(v), offset, size)
		offset += int64(size)
		hints = hints[k:]
	}
	if offset != records {
		return f.Damaged(records, "hints do not cover the records")
	}
	return nil
}

// recordsEnd returns where the records of a file end.
func recordsEnd(f *fileset.File) (int64, error) {
	if f.Level == 0 {
		return f.Length, nil
	}
	return f.IndexAt(hintMagic)
}

func appendHint(dst, key []byte, value int) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = binary.AppendUvarint(dst, uint64(value))
	return append(dst, key...)
}
