package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// A clock that is decades late is named by the real server, and so by New.
func TestNew_ClockIsLate(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	synctest.Test(t, func(t *testing.T) { // where it is the year 2000
		o.Transport = &http.Transport{DisableKeepAlives: true}
		_, err := New(t.Context(), o)
		wantConfigError(t, err, "RequestTimeTooSkewed")
	})
}

// stops stops a server when so many bytes were written.
type stops struct {
	io.Writer
	g    *gateway
	left int
}

func (s *stops) Write(p []byte) (int, error) {
	if s.left -= len(p); s.left < 0 {
		s.g.kill()
	}
	return s.Writer.Write(p)
}

// The server is killed while a version is read from it as a stream: that is ErrRemote, what the stream was imported into is no
// store, and both work when the server is back. A stream that ends early by itself is ErrCorrupt, and leaves as little.
func TestView_ServerIsKilledDuringAStream(t *testing.T) {
	g := startGateway(t)
	r := g.remote(t)
	m := openModel(t, r)
	value := bytes.Repeat([]byte("value "), 2_000)
	for i := range 1_000 {
		k := string(rune('a'+i%26)) + string(rune('0'+i))
		must(t, m.store.Set([]byte(k), value))
		m.now[k] = string(value)
	}
	if !m.checkpoint() {
		t.Fatal("nothing fails, and a checkpoint is not acknowledged")
	}
	v, err := hlog.OpenRemote(t.Context(), r, 0, &hlog.Options{MemoryBytes: hlog.MinMemoryBytes})
	must(t, err)
	defer v.Close()
	dir := filepath.Join(t.TempDir(), "copy")
	move := func(through func(io.Writer) io.Writer) (out, in error) {
		from, to := io.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := v.WriteTo(through(to))
			to.CloseWithError(err)
			done <- err
		}()
		_, in = hlog.Import(soon(t), dir, from)
		from.CloseWithError(in)
		return <-done, in
	}
	out, in := move(func(w io.Writer) io.Writer { return &stops{w, g, int(v.Size() / 2)} })
	if !errors.Is(out, hlog.ErrRemote) || in == nil {
		t.Errorf("the server was killed: %v; the import: %v", out, in)
	}
	if s, err := hlog.Open(dir, &hlog.Options{ReadOnly: true}); err == nil {
		t.Error("what was imported in part is a store")
		s.Close()
	}
	must(t, g.start())
	var part bytes.Buffer
	_, err = v.WriteTo(&part)
	must(t, err)
	if _, err := hlog.Import(soon(t), dir, bytes.NewReader(part.Bytes()[:part.Len()*2/3])); !errors.Is(err, hlog.ErrCorrupt) {
		t.Errorf("a stream without its end: %v", err)
	}
	out, in = move(func(w io.Writer) io.Writer { return w })
	must(t, errors.Join(out, in))
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 8 << 20})
	must(t, err)
	defer s.Close()
	got := map[string]string{}
	must(t, s.Scan(soon(t), func(k, value []byte) bool {
		got[string(k)] = string(value)
		return true
	}))
	if !maps.Equal(got, m.now) {
		t.Errorf("the copy has %d keys, want %d", len(got), len(m.now))
	}
}

// A follower whose server is killed says so, goes on reading what it has, and moves on when the server is back.
func TestFollower_ServerIsKilled(t *testing.T) {
	g := startGateway(t)
	r := g.remote(t)
	m := openModel(t, r)
	m.change()
	if !m.checkpoint() {
		t.Fatal("nothing fails, and a checkpoint is not acknowledged")
	}
	f, err := hlog.OpenFollower(t.Context(), r, &hlog.Options{MemoryBytes: 8 << 20})
	must(t, err)
	defer f.Close()
	first := f.Version()
	wantAll := func(v checkpoint.Version) {
		t.Helper()
		got := map[string]string{}
		must(t, f.Scan(soon(t), func(k, value []byte) bool {
			got[string(k)] = string(value)
			return true
		}))
		if f.Version() != v || !maps.Equal(got, m.at[v]) {
			t.Errorf("version %d with %d keys, want %d with %d", f.Version(), len(got), v, len(m.at[v]))
		}
	}
	wantAll(first)
	m.change()
	if !m.checkpoint() {
		t.Fatal("nothing fails, and a checkpoint is not acknowledged")
	}
	g.kill()
	if moved, err := f.Poll(soon(t)); moved || !errors.Is(err, hlog.ErrRemote) {
		t.Errorf("the server is down: %v, %v", moved, err)
	}
	wantAll(first)
	must(t, g.start())
	moved, err := f.Poll(soon(t))
	must(t, err)
	if !moved {
		t.Error("it has not moved on")
	}
	wantAll(m.acked)
}

// A server that has crashed in the middle of a put has left a part of what says whose the bucket is, and whoever has emptied a
// part of it has taken the hint away: readers are told, the store that writes there completes it, and nothing is lost.
func TestStore_IdentityWasPutInPart(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	r, err := New(t.Context(), o)
	must(t, err)
	m, dir := openModel(t, r), t.TempDir()
	must(t, m.store.Close())
	defer func() { _ = m.store.Close() }()
	open := func() {
		m.store, err = hlog.Open(dir, &hlog.Options{MemoryBytes: 8 << 20, Remote: r, KeepVersions: 100})
		must(t, err)
	}
	open()
	m.change()
	if !m.checkpoint() {
		t.Fatal("nothing fails, and a checkpoint is not acknowledged")
	}
	must(t, m.store.Close())
	must(t, os.Truncate(filepath.Join(g.folder, o.Bucket, filepath.FromSlash(o.Prefix), "STORE"), 30))
	must(t, r.Delete(t.Context(), "HINT"))
	if _, err := hlog.OpenRemote(soon(t), r, 0, nil); !errors.Is(err, checkpoint.ErrUnfinished) {
		t.Errorf("read from elsewhere: %v", err)
	}
	if err := m.openedFrom(r, t.TempDir()); !errors.Is(err, checkpoint.ErrUnfinished) {
		t.Errorf("opened on an empty machine: %v", err)
	}
	open()
	m.change()
	if !m.checkpoint() {
		t.Error("the store has not completed it")
	}
	must(t, r.Delete(context.Background(), "HINT"))
	m.wantOnEmptyMachine(r)
}
