package hlogstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/hlog"
)

// local is a server in this process, with the streams of one partition and a bucket of leases.
func local(t *testing.T) (js.JetStream, js.KeyValue) {
	t.Helper()
	s, err := startServer(t.TempDir(), -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, j, err := connect(s.Addr().(*net.TCPAddr).Port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, name := range []string{"events", "totals"} {
		if err := CreateStreams(t.Context(), j, name, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	kv, err := j.CreateKeyValue(t.Context(), js.KeyValueConfig{Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	return j, kv
}

// one returns a worker on the one partition, whose state stays in dir.
func one(t *testing.T, j js.JetStream, kv js.KeyValue, dir string) Config {
	t.Helper()
	c := counting(j, NewLeases(kv), roleConfig{Name: "w", Dir: dir, Remote: filepath.Join(dir, "remote"), Partitions: 1, LeaseTime: leaseTime})
	c.Remote = nil
	return c
}

// runUntil runs a worker until a version holds a sequence, or it ends by itself.
func runUntil(t *testing.T, c Config, sequence uint64) error {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	reached := false
	c.Events = func(e Event) {
		if e.Kind == Committed && e.Sequence >= sequence {
			reached = true
			stop()
		}
	}
	w, err := New(c)
	if err != nil {
		return err
	}
	if err := w.Run(ctx); err != nil {
		return err
	}
	if !reached {
		return errors.New("the minute is over")
	}
	return nil
}

func produceLocal(t *testing.T, j js.JetStream, messages [][]byte, first uint64) {
	t.Helper()
	for len(messages) > 0 {
		n := min(len(messages), 500)
		if _, err := ToStreams(j, "events").Publish(t.Context(), 0, first, messages[:n]); err != nil {
			t.Fatal(err)
		}
		messages, first = messages[n:], first+uint64(n)
	}
}

// What a stream has lost is refused, at both ends; and so are outputs that are not the partition's.
func TestWorker_RefusesWhatDoesNotFit(t *testing.T) {
	j, kv := local(t)
	dir := t.TempDir()
	messages := messagesOf(0, 3000)
	produceLocal(t, j, messages[:1000], 1)
	c := one(t, j, kv, dir)
	if err := runUntil(t, c, 1000); err != nil {
		t.Fatal(err)
	}
	events, err := j.Stream(t.Context(), "events-0")
	if err != nil {
		t.Fatal(err)
	}

	produceLocal(t, j, messages[1000:2000], 1001)
	if err := events.Purge(t.Context(), js.WithPurgeSequence(1501)); err != nil { // 1001 to 1500 are lost
		t.Fatal(err)
	}
	if err := runUntil(t, c, 2000); !errors.Is(err, ErrSourceGap) {
		t.Fatalf("a gap: %v", err)
	}
	asked := ""
	c.AcceptGap = func(partition int, cookie, first uint64) bool {
		asked = fmt.Sprint(partition, cookie, first)
		return true
	}
	if err := runUntil(t, c, 2000); err != nil || asked != "0 1000 1501" {
		t.Fatalf("a gap that is accepted: %v, asked about %s", err, asked)
	}
	c.AcceptGap = nil

	if err := j.DeleteStream(t.Context(), "events-0"); err != nil {
		t.Fatal(err)
	}
	if err := CreateStreams(t.Context(), j, "events", 1, nil); err != nil {
		t.Fatal(err)
	}
	produceLocal(t, j, messages[:10], 1)
	if err := runUntil(t, c, 2001); !errors.Is(err, ErrSourceShort) {
		t.Fatalf("a stream that is made anew: %v", err)
	}
	produceLocal(t, j, messages[10:2100], 11)
	if _, err := j.Publish(t.Context(), "totals-0", []byte("somebody else's")); err != nil {
		t.Fatal(err)
	}
	if err := runUntil(t, c, 2100); !errors.Is(err, ErrOutput) {
		t.Fatalf("an output of somebody else: %v", err)
	}
}

// A batch that fails leaves nothing behind: the next worker applies its messages once.
func TestWorker_FailedBatchIsUndone(t *testing.T) {
	j, kv := local(t)
	dir := t.TempDir()
	messages := messagesOf(0, 2000)
	produceLocal(t, j, messages, 1)
	c := one(t, j, kv, dir)
	failing := errors.New("no")
	c.BatchMessages = 100
	c.Process = func(b *Batch) error {
		if err := count(b); err != nil {
			return err
		}
		if b.Messages[0].Sequence > 1000 {
			return failing
		}
		return nil
	}
	if err := runUntil(t, c, 2000); !errors.Is(err, failing) || !errors.Is(err, ErrProcess) {
		t.Fatal(err)
	}
	c.Process = count
	if err := runUntil(t, c, 2000); err != nil {
		t.Fatal(err)
	}
	store, err := hlog.Open(c.dir(0), &hlog.Options{ReadOnly: true, MemoryBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	counts, err := hlog.NewTable[uint64, uint64](store.NewSession())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := serial(messages)
	for k, v := range want {
		if got, _, err := counts.Get(k); err != nil || got != v {
			t.Fatalf("key %d: %d (%v), want %d", k, got, err, v)
		}
	}
}

func TestLeases_OneHolder(t *testing.T) {
	_, kv := local(t)
	ctx := t.Context()
	a, b := NewLeases(kv), NewLeases(kv)
	held, err := a.take(ctx, 0, "a", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.take(ctx, 0, "b", time.Hour); !errors.Is(err, errHeld) {
		t.Fatalf("a lease that is held: %v", err)
	}
	if err := held.renew(ctx); err != nil {
		t.Fatal(err)
	}
	if held.revision <= held.epoch {
		t.Fatalf("renewed at %d, taken at %d", held.revision, held.epoch)
	}
	// It expires by the clock of the one who looks.
	if _, err := b.take(ctx, 0, "b", time.Hour); !errors.Is(err, errHeld) {
		t.Fatalf("a lease that was renewed: %v", err)
	}
	second, err := b.take(ctx, 0, "b", time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	if second.epoch <= held.revision {
		t.Fatalf("epoch %d after %d", second.epoch, held.revision)
	}
	if err := held.renew(ctx); !errors.Is(err, errHeld) {
		t.Fatalf("a lease that was lost: %v", err)
	}
	if err := held.release(ctx); err != nil { // it is not the first one's to give back
		t.Fatal(err)
	}
	if err := second.renew(ctx); err != nil {
		t.Fatal(err)
	}
	// The answer to a renewal is lost: the next one finds its own value.
	if _, err := kv.Update(ctx, second.key, second.value, second.revision); err != nil {
		t.Fatal(err)
	}
	if err := second.renew(ctx); err != nil {
		t.Fatal(err)
	}
	if err := second.release(ctx); err != nil {
		t.Fatal(err)
	}
	third, err := a.take(ctx, 0, "a", time.Hour)
	if err != nil || third.epoch <= second.revision {
		t.Fatalf("a lease that was given back: %v", err)
	}
	// A worker that comes back does not wait for its own lease.
	if _, err := NewLeases(kv).take(ctx, 0, "a", time.Hour); err != nil {
		t.Fatal(err)
	}
}

func TestNew_RefusesBadConfig(t *testing.T) {
	j, kv := local(t)
	for name, edit := range map[string]func(*Config){
		"name":       func(c *Config) { c.Name = "a b" },
		"dir":        func(c *Config) { c.Dir = "" },
		"partitions": func(c *Config) { c.Partitions = 0 },
		"source":     func(c *Config) { c.Source = nil },
		"leases":     func(c *Config) { c.Leases = nil },
		"process":    func(c *Config) { c.Process = nil },
		"time":       func(c *Config) { c.LeaseTime = -1 },
		"read-only":  func(c *Config) { c.Options.ReadOnly = true },
	} {
		c := one(t, j, kv, t.TempDir())
		edit(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// endless is a source that always has more: a reader of it is never late.
type endless struct{}

func (endless) Bounds(context.Context, int) (first, last uint64, err error) { return 1, 1 << 40, nil }
func (endless) Open(_ context.Context, _ int, from uint64) (Reader, error) {
	return &endlessReader{from}, nil
}

type endlessReader struct{ next uint64 }

func (r *endlessReader) Read(_ context.Context, dst []Message, most int) ([]Message, error) {
	for range most {
		dst = append(dst, Message{Sequence: r.next, Data: output(r.next%100, 0)})
		r.next++
	}
	return dst, nil
}
func (*endlessReader) Close() error { return nil }

// A worker ends although its source goes on: when it is told to, and when a batch fails, with batches that were read and
// are not applied.
func TestWorker_EndsWhileMessagesCome(t *testing.T) {
	_, kv := local(t)
	c := one(t, nil, kv, t.TempDir())
	c.Source, c.Outputs = endless{}, nil
	c.BatchMessages = 10
	c.Process = func(*Batch) error { return nil }
	if err := runUntil(t, c, 1000); err != nil {
		t.Fatal(err)
	}
	failing := errors.New("no")
	c.Process = func(b *Batch) error {
		time.Sleep(20 * time.Millisecond) // the reader is ahead
		return failing
	}
	if err := runUntil(t, c, 1<<40); !errors.Is(err, failing) {
		t.Fatal(err)
	}
}
