package hlog

import (
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// The Multi calls of a Table whose key and value are 8 bytes each. They go over windows and groups as each does
// (multi.go), but what a group has found out about its keys is kept for the operations, and those that find their record
// where it was expected do nothing else: one stay in the epoch serves the group. An operation that is anything but plain
// goes the general way, in its turn.

// wordGroup is what a group of keys has found: the entries that lead to their chains, 0 where that takes more than one
// look.
type wordGroup [multiGroup]uint64

// at returns the head of the i-th key's chain, None if it was not found.
func (g *wordGroup) at(i int) word.Address { return word.Entry(g[i]).Address() }

// seekGroup finds the heads of the chains of a group, whose buckets have been asked for, and asks for those that are in
// memory, and for the buckets of the group that comes next. The session is inside the epoch.
func (s *Session) seekGroup(g *wordGroup, hashes []uint64) {
	group, next := ahead(hashes)
	s.store.index().SeekAll(s.log.Ring(), group, next, g[:len(group)])
}

// ahead divides what is left of a window into the group that comes first and the one after it.
func ahead(hashes []uint64) (group, next []uint64) {
	n := min(multiGroup, len(hashes))
	return hashes[:n], hashes[n:min(n+multiGroup, len(hashes))]
}

// enterPlainly begins a stay in the epoch, if nothing is out of the ordinary.
func (s *Session) enterPlainly() (c control, ok bool) {
	if s.phase != usable {
		return 0, false
	}
	s.guard.Enter()
	if c = control(s.store.control.Load()); c&extraordinary != 0 {
		s.guard.Exit()
		return 0, false
	}
	return c, true
}

// windows calls group for every group of keys with the hashes of what is left of its window, window by window.
func (s *Session) windows(keys []uint64, does access, group func(from, to int, hashes []uint64) error) error {
	for from := 0; from < len(keys); from += multiWindow {
		if g := s.stagingFor(does); g != nil {
			return groupsStaged(s, g, wordKeys(keys), from, func(from, to int, hashes []uint64) error {
				s.prefetchBuckets(hashes)
				return group(from, to, hashes)
			})
		}
		to := min(from+multiWindow, len(keys))
		if s.phase == unbound && does != writing {
			askFar(s, wordKeys(keys), from, to)()
		}
		for i, k := range keys[from:to] {
			s.hashes[i] = mix(k, s.store.seed)
		}
		hashes := s.hashes[:to-from]
		s.prefetchBuckets(hashes[:min(multiGroup, len(hashes))])
		for g := from; g < to; g += multiGroup {
			if err := group(g, min(g+multiGroup, to), hashes[g-from:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// prefetchBuckets asks for the buckets of the hashes.
func (s *Session) prefetchBuckets(hashes []uint64) {
	if _, ok := s.enterPlainly(); !ok {
		return
	}
	x := s.store.index()
	for _, h := range hashes {
		x.Prefetch(h)
	}
	s.guard.Exit()
}

// wordKeys are keys of 8 bytes.
type wordKeys []uint64

func (k wordKeys) len() int        { return len(k) }
func (k wordKeys) at(i int) []byte { return mem.AsBytes(&k[i]) }

func (s *Session) multiGetWords(keys, values []uint64, found []bool) error {
	return s.windows(keys, reading, func(from, to int, hashes []uint64) error {
		s.getGroup(keys[from:to], values[from:to], found[from:to], hashes)
		for i := from; i < to; i++ {
			if found[i] {
				continue
			}
			values[i] = 0
			b := mem.AsBytes(&values[i])
			got, err := s.get(b[:0], mem.AsBytes(&keys[i]), hashes[i-from])
			switch {
			case err == ErrNotFound:
				values[i] = 0
				continue
			case err != nil:
				return err
			case len(got) != len(b):
				return ErrValueSize
			}
			found[i] = true
		}
		return nil
	})
}

// getGroup is getWord for a group; found says for which keys it was the answer.
func (s *Session) getGroup(keys, values []uint64, found []bool, hashes []uint64) {
	clear(found)
	if _, ok := s.enterPlainly(); !ok {
		return
	}
	var g wordGroup
	s.seekGroup(&g, hashes)
	l := s.log
	head := l.Head()
	for i, k := range keys {
		a := g.at(i)
		if uint64(a) < head {
			continue
		}
		if x := record.See(a, l.At(a)); x.IsPair(k) {
			values[i], found[i] = x.Word()
			l.Used(x)
		}
	}
	s.guard.Exit()
}

func (s *Session) multiSetWords(keys, values []uint64) error {
	return s.windows(keys, writing, func(from, to int, hashes []uint64) error {
		// Those that come after one that is not plain must not come before it: they go one by one.
		for i := from + s.setGroup(keys[from:to], values[from:to], hashes); i < to; i++ {
			if s.setWord(keys[i], values[i]) {
				continue
			}
			if err := s.set(mem.AsBytes(&keys[i]), mem.AsBytes(&values[i]), hashes[i-from]); err != nil {
				return err
			}
		}
		return nil
	})
}

// setGroup is setWord for a group, up to the first key for which that is not the way. It returns how many it has set.
func (s *Session) setGroup(keys, values []uint64, hashes []uint64) int {
	c, ok := s.enterPlainly()
	if !ok {
		return 0
	}
	var g wordGroup
	s.seekGroup(&g, hashes)
	l := s.log
	// Records that the group has found at or above readOnly may be updated as long as it stays in the epoch (H2), and if
	// they are neither sealed nor dead they are still the newest of their keys (H4).
	d := s.door(c)
	n := 0
	for i, k := range keys {
		a := g.at(i)
		if !d.Mutable(a) {
			break
		}
		x := record.See(a, l.At(a))
		if !x.IsPair(k) {
			break
		}
		r, locked := d.Lock(x)
		if !locked {
			break
		}
		r.SetWord(values[i])
		l.Used(x)
		n++
	}
	s.guard.Exit()
	return n
}

// updateGroup asks for the records of a group. What it has found holds for later stays in the epoch only as far as
// updateWord says.
func (s *Session) updateGroup(g *wordGroup, hashes []uint64) {
	if _, ok := s.enterPlainly(); !ok {
		clear(g[:])
		return
	}
	s.seekGroup(g, hashes)
	s.guard.Exit()
}

// multiUpdateWords is MultiUpdate; general does the i-th update in any case.
func (s *Session) multiUpdateWords(keys []uint64, fn func(i int, v *uint64, existed bool), general func(i int, h uint64) error) error {
	var at int // which key fn is called for
	one := func(v *uint64, existed bool) { fn(at, v, existed) }
	var g wordGroup
	return s.windows(keys, updating, func(from, to int, hashes []uint64) error {
		s.updateGroup(&g, hashes)
		for i := from; i < to; i++ {
			at = i
			if s.updateWord(g.at(i-from), keys[i], one) {
				continue
			}
			if err := general(i, hashes[i-from]); err != nil {
				return err
			}
		}
		return nil
	})
}
