package hlog

import (
	"encoding/binary"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// A hot set that comes back is read by its blocks: single gets and updates, Multi calls and Prefetch read from disk far less
// often than there are keys.
func TestGuests_ComeWithWhatIsRead(t *testing.T) {
	if testkit.Race {
		t.Skip("it counts what one goroutine does, and does much of it")
	}
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
			s := mustOpen(t, "/db", &Options{MemoryBytes: MinMemoryBytes, NoCompaction: true, FS: fsx.NewCrash(fsx.CrashOptions{Direct: true})})
			w := s.NewSession()
			defer w.Close()
			var key [8]byte
			v := make([]byte, value)
			for k := range uint64(keys) {
				binary.BigEndian.PutUint64(key[:], k)
				binary.BigEndian.PutUint64(v, k)
				must(t, w.Set(key[:], v))
			}
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

func checkGuest(t *testing.T, key, value []byte) {
	t.Helper()
	if len(value) != 100 || string(value[:8]) != string(key) {
		t.Fatalf("key %x has %x", key, value)
	}
}
