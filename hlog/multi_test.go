package hlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// A Multi call that ends early, by an error or a panic of its callback, leaves staged records behind. The next call
// uses their memory again.
func TestMulti_EndsEarlyWithStagedRecords(t *testing.T) {
	o := tiny()
	o.NoReadCache = true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	const keys = 2000
	want := func(i int) string { return fmt.Sprintf("%0*d", 10+i%97, i) }
	for i := range keys {
		must(t, x.Set(key8(i), []byte(want(i))))
	}
	evict(t, s)
	for round := range 40 {
		var batch [][]byte
		for i := range multiWindow {
			batch = append(batch, key8((i*7+round*31)%keys))
		}
		calls := 0
		check := func(i int, v []byte, err error) {
			if n := int(binary.BigEndian.Uint64(batch[i])); err != nil || string(v) != want(n) {
				t.Errorf("round %d: key %d is %q, %v", round, n, v, err)
			}
			calls++
		}
		if round%2 == 0 {
			func() {
				defer func() { recover() }()
				must(t, x.MultiGet(batch, func(i int, v []byte, err error) {
					if check(i, v, err); calls == round {
						panic("enough")
					}
				}))
			}()
			continue
		}
		err := x.MultiRMW(batch, func(i int, old []byte) []byte {
			if check(i, old, nil); calls == round {
				return make([]byte, MinPageBytes)
			}
			return old
		})
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("round %d: a value of a page was taken: %v", round, err)
		}
	}
}
