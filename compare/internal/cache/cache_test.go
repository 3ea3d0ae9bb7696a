package cache

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

// data returns bytes that tell their key.
func data(k Key, n int) []byte {
	b := make([]byte, 16, max(n, 16))
	binary.LittleEndian.PutUint64(b, k.File)
	binary.LittleEndian.PutUint64(b[8:], uint64(k.Place))
	return b
}

func TestCache_StaysWithinItsBytesAndMixesNothingUp(t *testing.T) {
	const most = 64 << 10
	c := New(most)
	var wg sync.WaitGroup
	for seed := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 1))
			for range 20_000 {
				k := Key{r.Uint64N(4), r.Int64N(500)}
				if got := c.Get(k); got == nil {
					c.Put(k, data(k, 16+r.IntN(300)))
				} else if string(got[:16]) != string(data(k, 16)) {
					t.Errorf("key %v has the bytes of another", k)
					return
				}
				if r.IntN(10) == 0 {
					k := Key{r.Uint64N(4), r.Int64N(500)}
					c.Offer(k, data(k, 16+r.IntN(300)))
				}
				if r.IntN(10) == 0 {
					if got := c.Take(k); got != nil && string(got) != string(data(k, 16)) {
						t.Errorf("key %v has the bytes of another", k)
						return
					}
				}
				if n := c.Bytes(); n > most {
					t.Errorf("%d bytes, at most %d", n, most)
					return
				}
			}
		})
	}
	wg.Wait()
	c.Resize(most / 4)
	if n := c.Bytes(); n > most/4 || n == 0 {
		t.Errorf("%d bytes after it was made smaller", n)
	}
	c.Resize(0)
	if n := c.Bytes(); n != 0 {
		t.Errorf("%d bytes in a cache of none", n)
	}
}

func TestCache_KeepsWhatIsUsed(t *testing.T) {
	c := New(256 << 10)
	hot := Key{1, 1}
	c.Put(hot, data(hot, 100))
	for i := range int64(10_000) {
		c.Put(Key{2, i}, data(Key{2, i}, 100))
		if c.Get(hot) == nil {
			t.Fatalf("what is read all the time was evicted at %d", i)
		}
	}
	if c.Get(Key{2, 0}) != nil {
		t.Error("what was read once, long ago, is still there")
	}
}
