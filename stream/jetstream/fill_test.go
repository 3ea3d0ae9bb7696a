package hlogstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// gated is a remote whose fill is stopped: it asks for whole stretches of log, and one byte more. What operations ask for, parts of
// them, is not stopped.
type gated struct {
	checkpoint.Remote
	once sync.Once
	open chan struct{} // closed: nothing is stopped
}

func (g *gated) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if strings.Contains(name, "/extents/") {
		all, err := g.Remote.List(ctx, name)
		if err != nil {
			return nil, err
		}
		if len(all) == 1 && off+n > all[0].Size {
			select {
			case <-g.open:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	return g.Remote.Get(ctx, name, off, n)
}

func (g *gated) release() { g.once.Do(func() { close(g.open) }) }

// moving is a partition that a worker has left at its remote after some messages, and the worker that takes it over, whose
// directory is not filled before gate is released.
func moving(t *testing.T, j js.JetStream, kv js.KeyValue, messages [][]byte) (c Config, gate *gated) {
	t.Helper()
	remote, err := checkpoint.NewDirRemote(filepath.Join(t.TempDir(), "remote"))
	if err != nil {
		t.Fatal(err)
	}
	c = one(t, j, kv, t.TempDir())
	c.Remote = func(int) (checkpoint.Remote, error) { return remote, nil }
	produceLocal(t, j, messages, 1)
	if err := runUntil(t, c, uint64(len(messages))); err != nil {
		t.Fatal(err)
	}
	gate = &gated{Remote: remote, open: make(chan struct{})}
	t.Cleanup(gate.release)
	c.Dir = t.TempDir()
	c.Remote = func(int) (checkpoint.Remote, error) { return gate, nil }
	return c, gate
}

// wantCounts demands that a partition's directory has the counts of a serial run.
func wantCounts(t *testing.T, dir string, messages [][]byte) {
	t.Helper()
	store, err := hlog.Open(dir, &hlog.Options{ReadOnly: true, MemoryBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	want, _ := serial(messages)
	found := 0
	err = store.Scan(t.Context(), func(key, value []byte) bool {
		if len(key) != 8 {
			return true // of the outbox
		}
		found++
		if k, v := binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(value); want[k] != v {
			t.Errorf("key %d was counted %d times, want %d", k, v, want[k])
		}
		return true
	})
	if err != nil || found != len(want) {
		t.Fatalf("%d keys, want %d: %v", found, len(want), err)
	}
}

// A worker that takes a partition over applies messages before its directory is whole, however many versions are due
// meanwhile. The first version comes when it is whole.
func TestWorker_MessagesGoOnWhileDirectoryIsFilled(t *testing.T) {
	j, kv := local(t)
	messages := messagesOf(0, 1020)
	c, gate := moving(t, j, kv, messages[:1000])
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done, committed := make(chan uint64, len(messages)), make(chan uint64, len(messages))
	c.CheckpointEvery = time.Millisecond
	c.Process = func(b *Batch) error {
		if err := count(b); err != nil {
			return err
		}
		done <- b.Messages[len(b.Messages)-1].Sequence
		return nil
	}
	c.Events = func(e Event) {
		if e.Kind == Committed {
			committed <- e.Sequence
		}
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	await := func(what string, c chan uint64, n uint64) {
		t.Helper()
		for got := uint64(0); got < n; {
			select {
			case got = <-c:
			case err := <-ended:
				t.Fatalf("%s: the worker has ended: %v", what, err)
			case <-ctx.Done():
				t.Fatalf("%s: message %d of %d", what, got, n)
			}
		}
	}
	for n := uint64(1000); n < 1020; n++ {
		produceLocal(t, j, messages[n:n+1], n+1)
		await("applied", done, n+1)
	}
	select {
	case n := <-committed:
		t.Fatalf("a version of messages up to %d, of a directory that is not whole", n)
	default:
	}
	gate.release()
	await("durable", committed, 1020)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c.dir(0), messages)
}

// A batch that fails while the directory is filled leaves nothing behind either, and does not wait for a remote that is away: the
// rest of the batch is in memory by then, and Close would wait for the remote and commit it.
func TestWorker_FailedBatchWhileDirectoryIsFilled(t *testing.T) {
	j, kv := local(t)
	messages := messagesOf(0, 2000)
	c, gate := moving(t, j, kv, messages[:1000])
	plain := gate.Remote
	produceLocal(t, j, messages[1000:], 1001)
	failing := errors.New("no")
	c.BatchMessages = 100
	c.Process = func(b *Batch) error {
		if err := count(b); err != nil {
			return err
		}
		if b.Messages[0].Sequence > 1500 {
			return failing
		}
		return nil
	}
	if err := runUntil(t, c, 2000); !errors.Is(err, failing) || !errors.Is(err, ErrProcess) {
		t.Fatal(err)
	}
	gate.release()
	c.Process, c.Dir = count, t.TempDir()
	c.Remote = func(int) (checkpoint.Remote, error) { return plain, nil }
	if err := runUntil(t, c, 2000); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c.dir(0), messages)
}

// A worker goes on with a directory that is filled in part when the remote is back: that it cannot be opened alone is not final.
func TestWorker_RemoteIsAwayWhileDirectoryIsFilled(t *testing.T) {
	j, kv := local(t)
	messages := messagesOf(0, 2000)
	c, gate := moving(t, j, kv, messages[:1000])
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c.Events = func(e Event) {
		if e.Kind == Opened {
			stop()
		}
	}
	w, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := hlog.Open(c.dir(0), nil); !errors.Is(err, checkpoint.ErrFilling) {
		t.Fatalf("the directory that was left: %v", err)
	}
	produceLocal(t, j, messages[1000:], 1001)
	remote := &away{Remote: gate.Remote}
	c.Remote = func(int) (checkpoint.Remote, error) { return remote, nil }
	c.Logger = slog.New(listening{slog.DiscardHandler, "partition has stopped", func() { remote.back.Store(true) }})
	if err := runUntil(t, c, 2000); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, c.dir(0), messages)
}

// away is a remote that cannot be read before it is back.
type away struct {
	checkpoint.Remote
	back atomic.Bool
}

func (a *away) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if !a.back.Load() {
		return nil, errors.New("away")
	}
	return a.Remote.Get(ctx, name, off, n)
}

// listening is a log that calls a function at messages that begin in some way.
type listening struct {
	slog.Handler
	prefix string
	then   func()
}

func (listening) Enabled(context.Context, slog.Level) bool { return true }

func (l listening) Handle(_ context.Context, record slog.Record) error {
	if strings.HasPrefix(record.Message, l.prefix) {
		l.then()
	}
	return nil
}
