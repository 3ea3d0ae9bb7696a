package hlog

import (
	"context"
	"testing"
)

// A key written twice since the version that is restored, and a growth that begins while the entries are rewound.
func TestRestore_WhileTheIndexGrows(t *testing.T) {
	s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	s.Set(k8(1), k8(1))
	s.Set(k8(1), make([]byte, 100)) // does not fit: a second record
	m, err := s.restoreTarget(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := &rewinder{follower: s.newFollower(m), s: s, index: s.index()}
	defer r.guard.Release()
	all := []rewind{{hash: s.hash(k8(1))}, {hash: s.hash(k8(1))}} // as planRewind makes them: one per record
	within(t, "the rewind, with the store paused,", func() {
		r.plan = all[:1]
		r.apply()
		s.index().Grow(ctx, s.index().Bits()+1)
		r.plan = all[1:]
		r.apply()
	})
	s.Close()
}
