package hlogstream

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// Tests start servers and workers as processes of their own, so that they can be killed: the test binary again, with a
// role.
const roleEnv = "JETSTREAM_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleEnv); role {
	case "":
		os.Exit(m.Run())
	default:
		var r roleConfig
		err := json.Unmarshal([]byte(os.Getenv("JETSTREAM_TEST_CONFIG")), &r)
		if err == nil && role == "server" {
			err = serve(r)
		} else if err == nil {
			err = workAs(r)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
	}
}

// roleConfig is what a process is told.
type roleConfig struct {
	Dir        string
	Port       int
	Name       string
	Remote     string
	Partitions int
	LeaseTime  time.Duration
}

func serve(r roleConfig) error {
	s, err := startServer(r.Dir, r.Port)
	if err != nil {
		return err
	}
	s.WaitForShutdown()
	return nil
}

func startServer(dir string, port int) (*server.Server, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		return nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		return nil, fmt.Errorf("server on port %d does not get ready", port)
	}
	return s, nil
}

func connect(port int) (*nats.Conn, js.JetStream, error) {
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, nil, err
	}
	j, err := js.New(nc)
	return nc, j, err
}

const bucket = "leases"

// workAs runs a worker until it is told to end.
func workAs(r roleConfig) error {
	nc, j, err := connect(r.Port)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	kv, err := j.KeyValue(ctx, bucket)
	if err != nil {
		return err
	}
	c := counting(j, NewLeases(kv), r)
	c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("worker", r.Name)
	lines := json.NewEncoder(os.Stdout)
	var mu sync.Mutex
	c.Events = func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		lines.Encode(told{e.Partition, e.Kind, e.Took})
	}
	w, err := New(c)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// counting is a worker that counts messages by key, and emits every 16th count.
func counting(j js.JetStream, leases *Leases, r roleConfig) Config {
	return Config{
		Name: r.Name, Dir: r.Dir, Partitions: r.Partitions, LeaseTime: r.LeaseTime,
		Source: FromStreams(j, "events"), Outputs: ToStreams(j, "totals"), Leases: leases,
		Remote: func(p int) (checkpoint.Remote, error) {
			return checkpoint.NewDirRemote(filepath.Join(r.Remote, fmt.Sprint(p)))
		},
		CheckpointEvery: 100 * time.Millisecond,
		Options:         hlog.Options{MemoryBytes: 16 << 20},
		Process:         count,
		Keys: func(m Message, keys [][]byte) [][]byte {
			return append(keys, m.Data[:8])
		},
	}
}

func count(b *Batch) error {
	counts, ok := b.Local.(*hlog.Table[uint64, uint64])
	if !ok {
		var err error
		if counts, err = hlog.NewTable[uint64, uint64](b.Session); err != nil {
			return err
		}
		b.Local = counts
	}
	for _, m := range b.Messages {
		key, n := binary.LittleEndian.Uint64(m.Data), uint64(0)
		if err := counts.Update(key, func(v *uint64, _ bool) { *v++; n = *v }); err != nil {
			return err
		}
		if n%emitEvery == 0 {
			if err := b.Emit(output(key, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

const emitEvery = 16

func output(key, n uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, key), n)
}

// messagesOf returns the n messages of a partition.
func messagesOf(partition, n int) (all [][]byte) {
	rng := rand.New(rand.NewPCG(uint64(partition), 7))
	zipf := rand.NewZipf(rng, 1.1, 8, 1<<20)
	for range n {
		all = append(all, binary.LittleEndian.AppendUint64(nil, zipf.Uint64()))
	}
	return all
}

// serial returns what counting the messages one after the other comes to.
func serial(messages [][]byte) (counts map[uint64]uint64, outputs [][]byte) {
	counts = map[uint64]uint64{}
	for _, m := range messages {
		key := binary.LittleEndian.Uint64(m)
		if counts[key]++; counts[key]%emitEvery == 0 {
			outputs = append(outputs, output(key, counts[key]))
		}
	}
	return counts, outputs
}
