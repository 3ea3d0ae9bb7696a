package sorted

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"
)

// orders returns keys in the orders that a tree splits differently by.
func orders(n int) map[string][]string {
	ascending := make([]string, n)
	for i := range ascending {
		ascending[i] = string(binary.BigEndian.AppendUint32([]byte("same prefix "), uint32(i)))
	}
	descending := slices.Clone(ascending)
	slices.Reverse(descending)
	random := slices.Clone(ascending)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(n, func(i, j int) { random[i], random[j] = random[j], random[i] })
	short := make([]string, n)
	for i := range short {
		short[i] = fmt.Sprintf("%x", r.Uint32N(1<<16)) + string(make([]byte, r.IntN(3)))
	}
	return map[string][]string{"ascending": ascending, "descending": descending, "random": random, "short": short}
}

func TestTable_IsASortedMap(t *testing.T) {
	m := &Table{}
	for name, keys := range orders(20_000) {
		t.Run(name, func(t *testing.T) {
			m.Reset() // and used again
			want := map[string]string{}
			r := rand.New(rand.NewPCG(3, 4))
			for i, k := range keys {
				for _, k := range []string{k, keys[r.IntN(i+1)]} {
					v := fmt.Sprintf("%d%s", i, bytes.Repeat([]byte{'.'}, r.IntN(20)))
					m.Put([]byte(k), []byte(v))
					want[k] = v
				}
			}
			if m.Count() != len(want) {
				t.Fatalf("%d keys, want %d", m.Count(), len(want))
			}
			for k, v := range want {
				if got, ok := m.Get([]byte(k)); !ok || string(got) != v {
					t.Fatalf("key %q is %q (%v), want %q", k, got, ok, v)
				}
				if _, ok := m.Get([]byte(k + "\x00no")); ok {
					t.Fatalf("key %q is there", k+"\x00no")
				}
			}
			sorted := slices.Sorted(maps.Keys(want))
			i := 0
			if err := m.Each(func(k, v []byte) error {
				if string(k) != sorted[i] || string(v) != want[sorted[i]] {
					return fmt.Errorf("place %d has key %q, want %q", i, k, sorted[i])
				}
				i++
				return nil
			}); err != nil || i != len(sorted) {
				t.Fatalf("%d of %d keys in order: %v", i, len(sorted), err)
			}
		})
	}
}

func BenchmarkTable(b *testing.B) {
	const n = 1 << 17
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = binary.BigEndian.AppendUint64(nil, xxh3.HashString(fmt.Sprint(i)))
	}
	m := &Table{}
	value := make([]byte, 100)
	for _, k := range keys {
		m.Put(k, value)
	}
	b.Run("op=update", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			m.Put(keys[i%n], value)
		}
	})
	b.Run("op=get", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			m.Get(keys[i%n])
		}
	})
}
