package hlog

import (
	"fmt"
	"reflect"

	"github.com/hybridlog/hybridlog/internal/mem"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Table is a typed view of a session's key space for fixed-size, pointer-free keys and values: the bytes of K are
// the key, the bytes of V the value, both little-endian as they lie in memory, with nothing encoded or copied twice.
// Session.Get with the bytes of a K sees what Table.Set wrote.
//
// Keys that are equal in Go are one key: padding and blank fields do not count, and -0 is 0. NaNs with the same bits
// are one key, too. Like its session, a Table is for one goroutine at a time.
type Table[K comparable, V any] struct {
	s         *Session
	canonical []canonicalRange // of K; nil when every byte of K counts as it is
	words     bool             // K and V are 8 bytes each, and every bit of K counts: see words.go
	key       K                // a key in its canonical form
	value     V                // what an update works on
}

// NewTable returns a typed view of the session's store. ErrOptions when K or V holds pointers (or strings, slices, maps,
// interfaces), or when K has no bytes; ErrTooLarge when K and V do not fit into one log page.
func NewTable[K comparable, V any](s *Session) (*Table[K, V], error) {
	kt, vt := reflect.TypeFor[K](), reflect.TypeFor[V]()
	for _, t := range []reflect.Type{kt, vt} {
		if at := pointerIn(t); at != "" {
			return nil, fmt.Errorf("%w: table type %v holds pointers (%s)", ErrOptions, t, at)
		}
	}
	if kt.Size() == 0 {
		return nil, fmt.Errorf("%w: table key type %v has no bytes", ErrOptions, kt)
	}
	if kt.Size() >= 1<<16 || !s.fits(int(kt.Size()), int(vt.Size())) {
		return nil, fmt.Errorf("%w: table of %v to %v", ErrTooLarge, kt, vt)
	}
	t := &Table[K, V]{s: s, canonical: canonicalRanges(kt)}
	t.words = kt.Size() == word.Align && vt.Size() == word.Align && t.canonical == nil
	return t, nil
}

// bytes returns the key's bytes in canonical form: of *k itself where that is possible.
func (t *Table[K, V]) bytes(k *K) []byte {
	b := mem.AsBytes(k)
	if t.canonical == nil {
		return b
	}
	c := mem.AsBytes(&t.key)
	clear(c)
	canonicalise(c, b, t.canonical)
	return c
}

// Get returns the value of k and whether it has one; an absent key is no error. ErrValueSize when the value has another
// size than V, ErrCorrupt when its record on disk is damaged; ErrClosed; or an error of the disk.
func (t *Table[K, V]) Get(k K) (V, bool, error) {
	t.s.count(opGet, 1)
	if t.words {
		if value, ok := t.s.getWord(mem.AsWord(&k)); ok {
			return mem.FromWord[V](value), true, nil
		}
	}
	var v V
	ok, err := t.getAny(&v, &k)
	return v, ok, err
}

// getAny is Get in every case. It is not part of Get so that the case that decides the speed has a small frame.
func (t *Table[K, V]) getAny(v *V, k *K) (bool, error) {
	key, b := t.bytes(k), mem.AsBytes(v)
	if got, ok := t.s.getFast(b[:0:len(b)], key, t.s.store.hash(key)); ok && len(got) == len(b) {
		return true, nil
	}
	return t.getInto(v, key)
}

func (t *Table[K, V]) getInto(v *V, key []byte) (bool, error) {
	b := mem.AsBytes(v)
	got, err := t.s.get(b[:0], key, t.s.store.hash(key))
	switch {
	case err == nil && len(got) == len(b):
		return true, nil
	case err == nil:
		err = ErrValueSize
	case err == ErrNotFound:
		err = nil
	}
	clear(b) // a read that was disturbed has left something behind
	return false, err
}

// Set makes v the value of k. ErrReadOnly; ErrClosed; or an error of the disk, when the log has to be written and cannot
// be. In each case nothing has changed.
func (t *Table[K, V]) Set(k K, v V) error {
	t.s.count(opSet, 1)
	if t.words && t.s.setWord(mem.AsWord(&k), mem.AsWord(&v)) {
		return nil
	}
	return t.setAny(&k, &v)
}

func (t *Table[K, V]) setAny(k *K, v *V) error {
	key, value := t.bytes(k), mem.AsBytes(v)
	h := t.s.store.hash(key)
	if t.s.setFast(key, value, h) {
		return nil
	}
	if !t.s.store.writable {
		return ErrReadOnly
	}
	return t.s.set(key, value, h)
}

// Delete removes k. Deleting what is absent succeeds. The errors are those of Set.
func (t *Table[K, V]) Delete(k K) error {
	t.s.count(opDelete, 1)
	if !t.s.store.writable {
		return ErrReadOnly
	}
	key := t.bytes(&k)
	return t.s.remove(key, t.s.store.hash(key))
}

// Update lets fn change the value of k, atomically; *v is zero when existed is false. fn runs with no lock held, and
// again when the value has been changed by somebody else meanwhile: it must have no other effect. If it panics the value
// is unchanged. It must not keep v, nor use the session. The errors are those of Get and Set.
func (t *Table[K, V]) Update(k K, fn func(v *V, existed bool)) error {
	t.s.count(opUpdate, 1)
	if t.words && t.s.updateWord(word.None, mem.AsWord(&k), mem.OnWord(fn)) {
		return nil
	}
	key := t.bytes(&k)
	return t.updateAny(key, t.s.store.hash(key), callback[V]{one: fn})
}

// callback is the function of an Update, or that of a MultiUpdate and which of its keys it is called for.
type callback[V any] struct {
	one  func(v *V, existed bool)
	many func(i int, v *V, existed bool)
	i    int
}

func (f callback[V]) call(v *V, existed bool) {
	if f.many != nil {
		f.many(f.i, v, existed)
	} else {
		f.one(v, existed)
	}
}

func (t *Table[K, V]) updateAny(key []byte, h uint64, fn callback[V]) error {
	b, m := mem.AsBytes(&t.value), &t.s.rmw
	if old, x, c, final := t.s.glimpse(key, h, b); old != nil && len(old) == len(b) {
		fn.call(&t.value, true)
		if t.s.replace(x, c, b) {
			return nil
		}
		*m = modification{c: c, seen: x, final: final, existed: true}
		if ok, err := t.s.writeUpdate(m, key, h, b, false, 0); ok || err != nil {
			return err
		}
	}
	if !t.s.store.writable {
		return ErrReadOnly
	}
	if t.s.phase == unbound {
		if err, served := t.s.updateEarly(key, func(old []byte) ([]byte, error) {
			existed, err := t.unload(old)
			if err == nil {
				fn.call(&t.value, existed)
			}
			return b, err
		}); served {
			return err
		}
	}
	for tries := 0; ; tries++ {
		existed, err := t.load(key, h)
		if err != nil {
			return err
		}
		fn.call(&t.value, existed)
		ok, err := t.s.writeUpdate(m, key, h, b, false, tries)
		if ok || err != nil {
			return err
		}
	}
}

// load reads the value to be updated into t.value.
func (t *Table[K, V]) load(key []byte, h uint64) (existed bool, err error) {
	old, err := t.s.readForUpdate(&t.s.rmw, key, h)
	if err != nil {
		return false, err
	}
	return t.unload(old)
}

// unload makes a value, nil if there is none, the one that an update works on.
func (t *Table[K, V]) unload(old []byte) (existed bool, err error) {
	b := mem.AsBytes(&t.value)
	switch {
	case old == nil:
		clear(b)
		return false, nil
	case len(old) != len(b):
		return false, ErrValueSize
	}
	copy(b, old)
	return true, nil
}
