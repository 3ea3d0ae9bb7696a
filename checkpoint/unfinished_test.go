package checkpoint_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// However much of STORE was put: who reads is told so, and the store that the remote has completes it. Nobody else touches anything.
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

		empty := newRemote(t) // whoever finds this may be looking at a listing that is late, or not be the only one
		m.ok(empty.Put(ctx, "STORE", part))
		_, err = checkpoint.RemoteIdentity(ctx, empty)
		wantErr(t, err, checkpoint.ErrUnfinished)
		stranger, err = checkpoint.NewMirror(d, empty, fast)
		m.ok(err)
		_, err = stranger.Pull(ctx)
		wantErr(t, err, checkpoint.ErrUnfinished)
	}
}

// slowPut is a remote that one store sees, whose Put of a name waits.
type slowPut struct {
	checkpoint.Remote
	name        string
	begun, goOn chan struct{}
}

func (r *slowPut) Put(ctx context.Context, name string, data []byte) error {
	if name == r.name {
		close(r.begun)
		<-r.goOn
	}
	return r.Remote.Put(ctx, name, data)
}

// Of two new stores that find a part of STORE, and nothing else, not both write there: what one has acknowledged stays (G10).
func TestMirror_StoreWasPutInPartAndTwoStoresCome(t *testing.T) {
	ctx := context.Background()
	r := newRemote(t)
	a := newMachine(t, 1)
	a.commit(1, delta{log: 8192})
	a.ok(r.Put(ctx, "STORE", []byte("HLSTORE")))
	slow := &slowPut{r, "STORE", make(chan struct{}), make(chan struct{})}
	other := checkpoint.Identity{StoreID: [16]byte{1}, HashSeed: 42, SegmentBytes: segmentBytes}
	d, err := checkpoint.OpenDir(newMachine(t, 2).fs, "other", other, false)
	a.ok(err)
	b, err := checkpoint.NewMirror(d, slow, fast)
	a.ok(err)
	pulled := make(chan error, 1)
	go func() { _, err := b.Pull(ctx); pulled <- err }()
	select {
	case <-slow.begun:
	case err := <-pulled:
		pulled <- err
	}
	_, uploaded := a.mirror(r).Upload(ctx, 1)
	close(slow.goOn)
	err = <-pulled
	if id, idErr := checkpoint.RemoteIdentity(ctx, r); uploaded == nil && (idErr != nil || id.StoreID == other.StoreID) {
		t.Errorf("a version was acknowledged, and the remote is that of %x: %v; the other store: %v", id.StoreID, idErr, err)
	}
}
