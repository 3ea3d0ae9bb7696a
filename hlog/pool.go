package hlog

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/internal/lock"
)

// sessionPool lends sessions to the methods of Store. A slot is taken by one compare-and-swap; slots are spread over
// cache lines, and a goroutine begins its search at random.
type sessionPool struct {
	slots []poolSlot
	mask  uint32

	mu    lock.Mutex[lock.Leaf]
	spare []*Session // for when every slot is taken
}

type poolSlot struct {
	taken   atomic.Bool
	session *Session
	_       [48]byte
}

const slotsPerCPU = 4

func (p *sessionPool) init(s *Store) {
	n := 1
	for n < slotsPerCPU*runtime.GOMAXPROCS(0) {
		n *= 2
	}
	p.slots = make([]poolSlot, n)
	p.mask = uint32(n - 1)
	for i := range p.slots {
		p.slots[i].session = s.NewSession()
	}
}

// take returns a session, and its slot unless it is a spare one.
func (p *sessionPool) take(s *Store) (*Session, *poolSlot) {
	start := rand.Uint32()
	for i := range uint32(4) {
		slot := &p.slots[(start+i)&p.mask]
		if !slot.taken.Load() && slot.taken.CompareAndSwap(false, true) {
			return slot.session, slot
		}
	}
	return p.takeSpare(s), nil
}

func (p *sessionPool) takeSpare(s *Store) *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.spare); n > 0 {
		x := p.spare[n-1]
		p.spare = p.spare[:n-1]
		return x
	}
	return s.NewSession()
}

func (p *sessionPool) give(x *Session, slot *poolSlot) {
	if slot != nil {
		slot.taken.Store(false)
		return
	}
	p.mu.Lock()
	p.spare = append(p.spare, x)
	p.mu.Unlock()
}

// Get appends the value of key to dst and returns the extended slice; see Session.Get.
func (s *Store) Get(dst, key []byte) ([]byte, error) {
	x, slot := s.pool.take(s)
	dst, err := x.Get(dst, key)
	s.pool.give(x, slot)
	return dst, err
}

// Set makes value the value of key; see Session.Set.
func (s *Store) Set(key, value []byte) error {
	x, slot := s.pool.take(s)
	err := x.Set(key, value)
	s.pool.give(x, slot)
	return err
}

// Delete removes key; see Session.Delete.
func (s *Store) Delete(key []byte) error {
	x, slot := s.pool.take(s)
	err := x.Delete(key)
	s.pool.give(x, slot)
	return err
}

// RMW replaces the value of key by what fn makes of it; see Session.RMW.
func (s *Store) RMW(key []byte, fn func(old []byte) []byte) error {
	x, slot := s.pool.take(s)
	defer s.pool.give(x, slot) // fn may panic
	return x.RMW(key, fn)
}
