package hlog

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// A hot set that comes back is read by its blocks: single gets and updates, Multi calls and Prefetch read from disk far less
// often than there are keys.
func TestGuests_ComeWithWhatIsRead(t *testing.T) {
	const keys, set, value = 32_000, 2_000, 100
	for _, x := range []struct {
		name string
		read func(t *testing.T, s *Session, batch [][]byte)
	}{
		{"get", func(t *testing.T, s *Session, batch [][]byte) {
			for _, k := range batch {
				v, err := s.Get(nil, k)
				must(t, err)
				checkGuest(t, k, v)
			}
		}},
		{"rmw", func(t *testing.T, s *Session, batch [][]byte) {
			for _, k := range batch {
				must(t, s.RMW(k, func(old []byte) []byte {
					checkGuest(t, k, old)
					return old
				}))
			}
		}},
		{"multi", func(t *testing.T, s *Session, batch [][]byte) {
			must(t, s.MultiGet(batch, func(i int, v []byte, err error) {
				must(t, err)
				checkGuest(t, batch[i], v)
			}))
		}},
		{"prefetch", func(t *testing.T, s *Session, batch [][]byte) {
			s.Prefetch(batch)
			for _, k := range batch {
				v, err := s.Get(nil, k)
				must(t, err)
				checkGuest(t, k, v)
			}
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			if testkit.Race && x.name != "get" {
				t.Skip("the store has to see many operations to find out how to share memory: one door takes long enough")
			}
			s, w := guestStore(t, keys, value)
			var before Metrics
			const turns = 3 * keys / set
			for turn := range turns {
				if turn == turns/3 { // it has been found out how to share memory, and what guests are worth
					before = s.Metrics()
				}
				var batch [][]byte
				for i := range uint64(set) {
					k := uint64(turn*set)%keys + i*1_597%set // in another order than they were written in
					batch = append(batch, binary.BigEndian.AppendUint64(nil, k))
				}
				for len(batch) > 0 {
					n := min(250, len(batch))
					x.read(t, w, batch[:n])
					batch = batch[n:]
				}
			}
			d := s.Metrics().Sub(before)
			reads, ops := int(d.ColdReadCount), (turns-turns/3)*set
			t.Logf("%d reads of %d operations", reads, ops)
			if reads > ops/5 || reads == 0 {
				t.Errorf("%d reads of %d operations", reads, ops)
			}
		})
	}
}

// guestStore returns a store with far more records than memory, whose value begins with the key, and a session of it.
func guestStore(t *testing.T, keys, value int) (*Store, *Session) {
	t.Helper()
	s := mustOpen(t, "/db", &Options{MemoryBytes: MinMemoryBytes, NoCompaction: true, FS: fsx.NewCrash(fsx.CrashOptions{Direct: true})})
	w := s.NewSession()
	t.Cleanup(func() { w.Close() })
	var key [8]byte
	v := make([]byte, value)
	for k := range uint64(keys) {
		binary.BigEndian.PutUint64(key[:], k)
		binary.BigEndian.PutUint64(v, k)
		must(t, w.Set(key[:], v))
	}
	return s, w
}

// Guests that several goroutines bring in, find and replace at the same time are whole, and those of their own keys.
func TestGuests_OfManyReaders(t *testing.T) {
	const keys, value, set = 32_000, 100, 1_200
	s, _ := guestStore(t, keys, value)
	before := s.Metrics()
	var readers sync.WaitGroup
	for r := range uint64(4) {
		readers.Go(func() {
			x := s.NewSession()
			defer x.Close()
			for turn := range uint64(3) {
				for i := range uint64(set) {
					k := binary.BigEndian.AppendUint64(nil, turn*set+(i*1_597+r)%set)
					var got []byte
					var err error
					if r > 1 && i%4 == 0 {
						err = x.RMW(k, func(old []byte) []byte {
							got = bytes.Clone(old)
							return old
						})
					} else {
						got, err = x.Get(nil, k)
					}
					if err != nil || len(got) != value || !bytes.HasPrefix(got, k) {
						t.Errorf("key %x has %x, %v", k, got, err)
						return
					}
				}
			}
		})
	}
	readers.Wait()
	if reads := s.Metrics().Sub(before).ColdReadCount; reads == 0 || reads > 4*3*set/2 {
		t.Errorf("%d reads of %d operations", reads, 4*3*set)
	}
}

func checkGuest(t *testing.T, key, value []byte) {
	t.Helper()
	if len(value) != 100 || string(value[:8]) != string(key) {
		t.Fatalf("key %x has %x", key, value)
	}
}
