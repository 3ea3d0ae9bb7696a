// Command feed has a store tell a NATS stream what each of its versions has changed, and keeps a second store equal by what
// the stream says, through rollbacks:
//
//	go run ./example/feed
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/hlog"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "feed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "feed-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	j, stop, err := serve(filepath.Join(dir, "nats"))
	if err != nil {
		return err
	}
	defer stop()
	stream, err := createFeed(ctx, j, "orders")
	if err != nil {
		return err
	}
	first, err := hlog.Open(filepath.Join(dir, "first"), &hlog.Options{MemoryBytes: 16 << 20})
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := hlog.Open(filepath.Join(dir, "second"), &hlog.Options{MemoryBytes: 16 << 20})
	if err != nil {
		return err
	}
	defer second.Close()
	p, err := newPublisher(ctx, j, "orders", first)
	if err != nil {
		return err
	}
	defer func() { p.close() }()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		if err := work(ctx, first, rng); err != nil {
			return err
		}
		if err := publishVersion(ctx, first, p); err != nil {
			return err
		}
	}
	r := newReader(second)
	if err := r.follow(ctx, stream, p.last.Info().Version); err != nil {
		return err
	}
	return same(ctx, p.last, second)
}

// work changes some keys, and sometimes goes back to an older version.
func work(ctx context.Context, s *hlog.Store, rng *rand.Rand) error {
	for range 500 {
		key := fmt.Appendf(nil, "order %d", rng.IntN(3000))
		if rng.IntN(4) == 0 {
			if err := s.Delete(key); err != nil {
				return err
			}
		} else if err := s.Set(key, fmt.Appendf(nil, "state %d", rng.Uint32())); err != nil {
			return err
		}
	}
	versions, err := s.Versions()
	if err != nil || len(versions) < 3 || rng.IntN(4) > 0 {
		return err
	}
	_, err = s.Restore(ctx, versions[rng.IntN(len(versions))].Version)
	return err
}

// publishVersion commits a version and sends what it has changed. The view is pinned from the cut on.
func publishVersion(ctx context.Context, s *hlog.Store, p *publisher) error {
	pending, err := s.BeginCheckpoint()
	if err != nil {
		return err
	}
	w, err := pending.View(ctx)
	if err != nil {
		return err
	}
	if _, err := pending.Wait(ctx); err != nil {
		return errors.Join(err, w.Close())
	}
	return p.publish(ctx, w)
}

// same compares a version with a store that was kept equal to it.
func same(ctx context.Context, w *hlog.View, s *hlog.Store) error {
	read := func(scan func(context.Context, func(key, value []byte) bool) error) (map[string]string, error) {
		all := map[string]string{}
		err := scan(ctx, func(key, value []byte) bool {
			all[string(key)] = string(value)
			return true
		})
		delete(all, string(positionKey))
		return all, err
	}
	want, err := read(w.Scan)
	if err != nil {
		return err
	}
	got, err := read(s.Scan)
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("the store that follows has %d keys, the version %d, and they differ", len(got), len(want))
	}
	fmt.Printf("both stores have the same %d keys\n", len(got))
	return nil
}

// serve starts a NATS server in this process.
func serve(dir string) (jetstream.JetStream, func(), error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true})
	if err != nil {
		return nil, nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, nil, errors.New("the server does not get ready")
	}
	nc, err := nats.Connect(s.ClientURL(), nats.MaxReconnects(-1))
	if err != nil {
		s.Shutdown()
		return nil, nil, err
	}
	stop := func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
	}
	j, err := jetstream.New(nc)
	if err != nil {
		stop()
		return nil, nil, err
	}
	return j, stop, nil
}
