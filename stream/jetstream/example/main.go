// Command example counts the words of a text by partition, in two workers of one process, with a NATS server of its own:
//
//	go run ./example
//	go run ./example -url nats://127.0.0.1:4222 -dir state    # beside other workers, on a server that is there
//
// It can be killed and started again at any time: with -dir it goes on where it was, and each total is printed once.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	hlogstream "github.com/hybridlog/hybridlog/stream/jetstream"
)

const partitions = 4

func main() {
	url := flag.String("url", "", "of a NATS server with JetStream; empty: one inside this process")
	dir := flag.String("dir", "", "for all state; empty: a temporary one")
	name := flag.String("name", "a", "of this process, if several work together")
	rounds := flag.Int("rounds", 200, "how often the text is sent, if it has not been yet")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *url, *dir, *name, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url, dir, name string, rounds int) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "words-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	if url == "" {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: filepath.Join(dir, "nats"), NoSigs: true})
		if err != nil {
			return err
		}
		go s.Start()
		defer s.Shutdown()
		if !s.ReadyForConnections(10 * time.Second) {
			return errors.New("the server does not get ready")
		}
		url = s.ClientURL()
	}
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	j, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, group := range []string{"words", "totals"} {
		if err := hlogstream.CreateStreams(ctx, j, group, partitions, nil); err != nil {
			return err
		}
	}
	kv, err := j.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "word-leases"})
	if err != nil {
		return err
	}
	sent, err := produce(ctx, j, rounds)
	if err != nil {
		return err
	}
	return work(ctx, j, kv, dir, name, sent)
}

// produce sends each word to the partition of its hash, as far as that has not been done, and returns how many each has.
func produce(ctx context.Context, j jetstream.JetStream, rounds int) (sent [partitions]uint64, err error) {
	var words [partitions][][]byte
	for range rounds {
		for _, w := range strings.Fields(text) {
			h := fnv.New32a()
			h.Write([]byte(w))
			p := h.Sum32() % partitions
			words[p] = append(words[p], []byte(w))
		}
	}
	to := hlogstream.ToStreams(j, "words")
	for p, all := range words {
		last, err := to.Last(ctx, p)
		if err != nil {
			return sent, err
		}
		for int(last) < len(all) {
			n, err := to.Publish(ctx, p, last+1, all[last:min(len(all), int(last)+500)])
			if err != nil {
				return sent, err
			}
			last += uint64(n)
		}
		sent[p] = last
	}
	return sent, nil
}

// work runs two workers until everything that was sent is counted and durable.
func work(ctx context.Context, j jetstream.JetStream, kv jetstream.KeyValue, dir, name string, sent [partitions]uint64) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var mu sync.Mutex
	left := partitions
	var done [partitions]bool
	var workers sync.WaitGroup
	var failed error
	began := time.Now()
	for i := range 2 {
		c := hlogstream.Config{
			Name:       fmt.Sprintf("%s%d", name, i),
			Dir:        filepath.Join(dir, fmt.Sprintf("%s%d", name, i)),
			Partitions: partitions,
			Source:     hlogstream.FromStreams(j, "words"),
			Outputs:    hlogstream.ToStreams(j, "totals"),
			Leases:     hlogstream.NewLeases(kv),
			Remote: func(p int) (checkpoint.Remote, error) {
				return checkpoint.NewDirRemote(filepath.Join(dir, "remote", fmt.Sprint(p)))
			},
			Options:         hlog.Options{MemoryBytes: 32 << 20},
			CheckpointEvery: 200 * time.Millisecond,
			LeaseTime:       2 * time.Second,
			Process:         count,
			Keys:            func(m hlogstream.Message, keys [][]byte) [][]byte { return append(keys, m.Data) },
			Logger:          slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		}
		c.Events = func(e hlogstream.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e.Kind {
			case hlogstream.Opened:
				fmt.Printf("%s has partition %d at message %d, after %v\n", c.Name, e.Partition, e.Sequence, e.Took.Round(time.Millisecond))
			case hlogstream.Lost, hlogstream.Closed:
				fmt.Printf("%s gives partition %d up\n", c.Name, e.Partition)
			}
			if (e.Kind == hlogstream.Committed || e.Kind == hlogstream.Opened) && e.Sequence >= sent[e.Partition] && !done[e.Partition] {
				done[e.Partition] = true
				if left--; left == 0 {
					stop()
				}
			}
		}
		w, err := hlogstream.New(c)
		if err != nil {
			return err
		}
		workers.Go(func() {
			if err := w.Run(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
				stop()
			}
		})
	}
	workers.Wait()
	total := uint64(0)
	for _, n := range sent {
		total += n
	}
	fmt.Printf("%d words in %v\n", total, time.Since(began).Round(time.Millisecond))
	return failed
}

// count counts the words of a batch, and emits each that has been seen another thousand times.
func count(b *hlogstream.Batch) error {
	for _, m := range b.Messages {
		total := uint64(0)
		err := b.Session.RMW(m.Data, func(old []byte) []byte {
			if old == nil {
				old = make([]byte, 8)
			}
			total = binary.LittleEndian.Uint64(old) + 1
			binary.LittleEndian.PutUint64(old, total)
			return old
		})
		if err != nil {
			return err
		}
		if total%1000 == 0 {
			if err := b.Emit(fmt.Appendf(nil, "%s %d", m.Data, total)); err != nil {
				return err
			}
		}
	}
	return nil
}

const text = `the state of a stream is what its messages have made of it and the place in the stream up to which
they were read if both are in one version then whatever dies the next one goes on from there and what it does again it does
on the state before`
