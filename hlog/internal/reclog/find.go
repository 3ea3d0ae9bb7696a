package reclog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Find follows a chain from a down to the newest record of key at or above stop, which is at or above head. When
// there is none it returns the first address below stop, None at the end of the chain.
func (l *Log) Find(a word.Address, key []byte, stop uint64) (word.Address, mem.Ptr, bool) {
	if len(key) == word.Align {
		return l.findWord(a, mem.Load64(key), stop)
	}
	for uint64(a) >= stop {
		p := l.At(a)
		k := record.LinkAt(p)
		l.checkRecord(a, k)
		if record.HasKey(p, k, key) {
			return a, p, true
		}
		a = k.Prev()
	}
	return a, nil, false
}

// findWord is Find for a key of 8 bytes, the commonest.
func (l *Log) findWord(a word.Address, key uint64, stop uint64) (word.Address, mem.Ptr, bool) {
	for uint64(a) >= stop {
		p := l.At(a)
		if record.IsSmallOfWord(p, key) {
			return a, p, true
		}
		k := record.LinkAt(p)
		l.checkRecord(a, k)
		if record.IsLargeOfWord(p, k, key) {
			return a, p, true
		}
		a = k.Prev()
	}
	return a, nil, false
}
