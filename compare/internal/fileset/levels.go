package fileset

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"
)

// Full says which files tiering merges next, of levels that are those of the files from the newest to the oldest: the n
// newest become one file of the level returned; none when n is 0. A level that has most files is full. When the file that
// comes out of it fills the next level too, the files of that one go into the same merge, so that no record is written
// twice.
func Full(levels []int, most int) (n, level int) {
	for ; ; level++ {
		have := 0
		for n+have < len(levels) && levels[n+have] == level {
			have++
		}
		full := have
		if level > 0 {
			full++ // what comes in from above
		}
		if full < most {
			return n, level
		}
		n += have
	}
}

// footerSize is that of an indexed file: where the index begins, the xxh3 of the index, a number that tells what
// it is, and the xxh3 of these (8 bytes each).
const footerSize = 32

// FinishIndexed writes an index behind what was appended and finishes the file.
func (w *Writer) FinishIndexed(level int, index []byte, magic uint64) (*File, error) {
	footer := binary.LittleEndian.AppendUint64(nil, uint64(w.Length()))
	footer = binary.LittleEndian.AppendUint64(footer, xxh3.Hash(index))
	footer = binary.LittleEndian.AppendUint64(footer, magic)
	footer = binary.LittleEndian.AppendUint64(footer, xxh3.Hash(footer))
	for _, part := range [][]byte{index, footer} {
		if _, err := w.Append(part); err != nil {
			return nil, err
		}
	}
	return w.Finish(level)
}

// IndexAt returns where the index of an indexed file begins, which is where its records end.
func (f *File) IndexAt(magic uint64) (int64, error) {
	at, _, err := f.footer(magic)
	return at, err
}

// Index returns an indexed file's index and where it begins.
func (f *File) Index(magic uint64) (index []byte, at int64, err error) {
	at, sum, err := f.footer(magic)
	if err != nil {
		return nil, 0, err
	}
	if index, err = f.Read(at, f.Length-footerSize-at); err != nil {
		return nil, 0, err
	}
	if xxh3.Hash(index) != sum {
		return nil, 0, f.Damaged(at, "index does not match its checksum")
	}
	return index, at, nil
}

func (f *File) footer(magic uint64) (at int64, sum uint64, err error) {
	footer, err := f.Read(f.Length-footerSize, footerSize)
	if err != nil {
		return 0, 0, err
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(footer[8*i:]) }
	if word(2) != magic || word(3) != xxh3.Hash(footer[:24]) || word(0) > uint64(f.Length-footerSize) {
		return 0, 0, f.Damaged(f.Length-footerSize, "footer does not match its checksum")
	}
	return int64(word(0)), word(1), nil
}
