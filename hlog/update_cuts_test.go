package hlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// An update whose callback takes longer than the time between two checkpoints comes to an end: each call of the callback sees a
// checkpoint begin.
func TestUpdate_SlowerThanCheckpoints(t *testing.T) {
	const enough = 10 * patience // calls
	for _, where := range []string{"in memory", "on disk", "in the tier", "absent"} {
		t.Run(where, func(t *testing.T) {
			s := mustOpen(t, t.TempDir(), tiny())
			x := s.NewSession()
			word, err := NewTable[uint64, uint64](x)
			must(t, err)
			pair, err := NewTable[uint64, [2]uint64](x)
			must(t, err)
			want := uint64(1)
			if where != "absent" {
				must(t, x.Set([]byte("bytes"), []byte("value")))
				must(t, word.Set(1, 41))
				must(t, pair.Set(2, [2]uint64{41, 41}))
				want = 42
			}
			switch where {
			case "on disk":
				evict(t, s)
			case "in the tier":
				evict(t, s)
				must(t, s.demoteTo(context.Background(), uint64(s.log.Head())))
			}
			calls := 0
			checkpoints := func() {
				if calls++; calls > enough {
					t.Fatalf("the callback has been called %d times", calls)
				}
				must(t, s.Set([]byte("other"), fmt.Append(nil, calls)))
				commit(t, s)
			}
			must(t, x.RMW([]byte("bytes"), func(old []byte) []byte {
				checkpoints()
				return append(old, '!')
			}))
			calls = 0
			must(t, word.Update(1, func(v *uint64, existed bool) {
				checkpoints()
				*v++
			}))
			calls = 0
			must(t, pair.Update(2, func(v *[2]uint64, existed bool) {
				checkpoints()
				v[0]++
			}))
			if got, err := x.Get(nil, []byte("bytes")); err != nil || len(got) == 0 || got[len(got)-1] != '!' || where != "absent" && string(got) != "value!" {
				t.Errorf("the value is %q, %v", got, err)
			}
			if got, _, err := word.Get(1); err != nil || got != want {
				t.Errorf("the word is %d, %v, want %d", got, err, want)
			}
			if got, _, err := pair.Get(2); err != nil || got[0] != want {
				t.Errorf("the pair is %d, %v, want %d", got, err, want)
			}
		})
	}
}

// An update that takes precedence is not written over a state that was restored since it read: neither where the restore has
// changed the value, nor where that looks as it did.
func TestUpdate_RestoredAllTheTime(t *testing.T) {
	s := mustOpen(t, t.TempDir(), tiny())
	x := s.NewSession()
	var versions []checkpoint.Version
	for i := range 2 {
		must(t, x.Set([]byte("key"), fmt.Append(nil, "version ", i)))
		must(t, x.Set([]byte("other"), fmt.Append(nil, i)))
		versions = append(versions, commit(t, s))
	}
	calls := 0
	must(t, x.RMW([]byte("key"), func(old []byte) []byte {
		if calls++; calls < patience+10 {
			_, err := s.Restore(context.Background(), versions[calls/2%2])
			must(t, err)
		}
		return append(old, '!')
	}))
	now, err := x.Get(nil, []byte("other"))
	must(t, err)
	if got, err := x.Get(nil, []byte("key")); err != nil || string(got) != "version "+string(now)+"!" {
		t.Errorf("the key is %q, %v, in a state of version %s", got, err, now)
	}
	if calls != patience+10 {
		t.Errorf("%d calls, want one for each restore, and one", calls)
	}
}
