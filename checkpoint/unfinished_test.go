package checkpoint_test

import (
	"context"
	"io/fs"
	"reflect"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// However much of STORE was put: who reads is told so, the store that the remote has completes it, and so does any store where
// nothing else lies there. Nobody else touches anything.
func TestMirror_StoreWasPutInPart(t *testing.T) {
	ctx := context.Background()
	m, full := newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 8192, image: 3000})
	m.upload(full, 1)
	whole := getObject(t, full, "STORE")
	for n := range whole {
		part := whole[:n]

		r := newRemote(t)
		for _, name := range objects(t, full) {
			m.ok(r.Put(ctx, name, getObject(t, full, name)))
		}
		m.ok(r.Put(ctx, "STORE", part))
		before := objects(t, r)
		_, err := checkpoint.RemoteIdentity(ctx, r)
		wantErr(t, err, checkpoint.ErrUnfinished)
		wantErr(t, err, checkpoint.ErrCorrupt)
		_, err = checkpoint.NewRemoteReader(ctx, r, checkpoint.RemoteReaderOptions{Attempts: 1})
		wantErr(t, err, checkpoint.ErrUnfinished)
		other := checkpoint.Identity{StoreID: [16]byte{1}, HashSeed: 42, SegmentBytes: segmentBytes}
		d, err := checkpoint.OpenDir(newMachine(t, 2).fs, "other", other, false)
		m.ok(err)
		stranger, err := checkpoint.NewMirror(d, r, fast)
		m.ok(err)
		_, err = stranger.Pull(ctx)
		wantErr(t, err, checkpoint.ErrUnfinished)
		if after := objects(t, r); !reflect.DeepEqual(after, before) || len(getObject(t, r, "STORE")) != n {
			t.Fatalf("%d bytes of STORE: another store has changed the remote", n)
		}
		again := m.copyOf(3)
		again.commit(2, delta{log: 4096})
		again.upload(r, 2)
		wholeAt(t, again, r, 2)

		empty := newRemote(t)
		m.ok(empty.Put(ctx, "STORE", part))
		_, err = checkpoint.RemoteIdentity(ctx, empty)
		wantErr(t, err, fs.ErrNotExist)
		stranger, err = checkpoint.NewMirror(d, empty, fast)
		m.ok(err)
		_, err = stranger.Pull(ctx)
		m.ok(err)
		if id, err := checkpoint.RemoteIdentity(ctx, empty); id != other || err != nil {
			t.Errorf("%d bytes of STORE and nothing else: %v, %v", n, id, err)
		}
	}
}
