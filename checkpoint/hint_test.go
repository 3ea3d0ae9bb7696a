package checkpoint_test

import (
	"context"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Whatever HINT says, a reader finds what stands (J10): a hint that is old, of another remote, damaged or missing costs time.
func TestRemoteReader_HintIsNoTruth(t *testing.T) {
	ctx := context.Background()
	r, other := newRemote(t), newRemote(t)
	m, o := newMachine(t, 1), newMachine(t, 1) // of the same store id
	mirror, foreign := m.mirror(r), o.mirror(other)
	var hints [][]byte
	backup := newRemote(t)
	var then []checkpoint.Version // what stood when backup was made
	for v := checkpoint.Version(1); v <= 120; v++ {
		m.commit(v, delta{log: 4096})
		_, err := mirror.Upload(ctx, v)
		m.ok(err)
		_, err = mirror.Retain(ctx, 3)
		m.ok(err)
		if v == 5 || v%17 == 0 {
			m.ok(mirror.PutHint(ctx))
			hints = append(hints, getObject(t, r, "HINT"))
		}
		if v == 4 {
			then = mirror.Known()
			for _, name := range objects(t, r) {
				m.ok(backup.Put(ctx, name, getObject(t, r, name)))
			}
		}
	}
	for v := checkpoint.Version(1); v <= 60; v++ {
		o.commit(v, delta{log: 4096})
		_, err := foreign.Upload(ctx, v)
		m.ok(err)
	}
	m.ok(foreign.PutHint(ctx))
	newest := hints[len(hints)-1]
	flipped := slices.Clone(newest)
	flipped[60] ^= 1
	hints = append(hints, getObject(t, other, "HINT"), flipped, newest[:len(newest)-9], nil)
	for i, hint := range hints {
		m.ok(r.Put(ctx, "HINT", hint))
		if hint == nil {
			m.ok(r.Delete(ctx, "HINT"))
		}
		reader, err := checkpoint.NewRemoteReader(ctx, r, checkpoint.RemoteReaderOptions{})
		m.ok(err)
		if got := reader.Versions(); !slices.Equal(got, mirror.Known()) || reader.Head() != 120 {
			t.Errorf("hint %d: versions %v with head %d, want %v", i, got, reader.Head(), mirror.Known())
		}
		reader.Close()
	}
	// A copy of all objects that was made earlier than that of the hint.
	for i, hint := range hints[:len(hints)-1] {
		m.ok(backup.Put(ctx, "HINT", hint))
		reader, err := checkpoint.NewRemoteReader(ctx, backup, checkpoint.RemoteReaderOptions{})
		m.ok(err)
		if got := reader.Versions(); !slices.Equal(got, then) || reader.Head() != 4 {
			t.Errorf("hint %d beside an older sequence: versions %v with head %d, want %v", i, got, reader.Head(), then)
		}
		reader.Close()
	}
}
