// Command streamworker is a stream worker in small: it adds up the events of a replayable source per user, keeps the sums
// in a store and next to them how far it has come in each partition of the source. Its process is killed with SIGKILL a
// few times and started again; at the end every sum equals that of a plain map, as if nothing had happened.
//
//	go run ./examples/streamworker
//	go run ./examples/streamworker -events 20000000 -kills 10
//
// What to copy is in worker.go: a batch of events and the offset behind it are one unit (consume), so that they agree in
// every version, and nothing is to be done when the store is opened (open). The rest makes events, kills, and proves.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
)

// config is what one run does. The parent hands it to the working process as JSON.
type config struct {
	Dir        string        // of the store
	Partitions int           // of the source, a goroutine each
	Events     uint64        // in all
	Users      uint64        // about how many different ones
	Every      time.Duration // between checkpoints
	Kills      int           // how often the working process is killed
}

func main() {
	if work := os.Getenv(workEnv); work != "" {
		os.Exit(child(work))
	}
	var c config
	flag.StringVar(&c.Dir, "dir", "", "directory of the store; empty: a temporary one")
	flag.IntVar(&c.Partitions, "partitions", 16, "partitions of the source, a goroutine each")
	flag.Uint64Var(&c.Events, "events", 5_000_000, "events in all")
	flag.Uint64Var(&c.Users, "users", 200_000, "different users")
	flag.DurationVar(&c.Every, "every", 50*time.Millisecond, "time between two checkpoints")
	flag.IntVar(&c.Kills, "kills", 3, "how often the working process is killed")
	flag.Parse()
	if err := run(context.Background(), c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "streamworker:", err)
		os.Exit(1)
	}
}

// run lets working processes live and die until all events are counted, and proves the sums.
func run(ctx context.Context, c config, out io.Writer) error {
	if c.Partitions < 1 || c.Users < 1 || c.Every <= 0 {
		return errors.New("partitions, users and every must be positive")
	}
	if c.Dir == "" {
		dir, err := os.MkdirTemp("", "streamworker-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.Dir = dir
	}
	for n := range c.Kills + 1 {
		if err := live(ctx, c, n < c.Kills, out); err != nil {
			return err
		}
	}
	return prove(c, out)
}

// workEnv holds the config of a working process; it is empty in the parent.
const workEnv = "STREAMWORKER_WORK"

// news is one line from a working process.
type news struct {
	Version uint64   // committed, and durable
	Resumed bool     // this is where the process began
	Offsets []uint64 // when resumed: of the partitions, in that version
}

// durableBeforeKill is how many versions a process commits before it is killed.
const durableBeforeKill = 3

// live starts a working process and, with kill, kills it in the middle of its work.
func live(ctx context.Context, c config, kill bool, out io.Writer) error {
	work, err := json.Marshal(c)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), workEnv+"="+string(work))
	cmd.Stderr = os.Stderr
	lines, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	durable, last := 0, news{}
	for in := bufio.NewScanner(lines); in.Scan(); {
		if err := json.Unmarshal(in.Bytes(), &last); err != nil {
			continue // cut short by the kill
		}
		if last.Resumed {
			fmt.Fprintf(out, "began at version %d, offsets %v\n", last.Version, last.Offsets)
			continue
		}
		if durable++; kill && durable == durableBeforeKill {
			if err := cmd.Process.Kill(); err != nil { // SIGKILL: nothing is cleaned up
				return err
			}
			fmt.Fprintf(out, "killed after version %d\n", last.Version)
			cmd.Wait()
			return nil
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("working process: %w", err)
	}
	if kill {
		return errors.New("the events ran out before the kill: use more of them, or fewer kills")
	}
	fmt.Fprintf(out, "ended at version %d\n", last.Version)
	return nil
}

// child is a working process.
func child(work string) int {
	var c config
	err := json.Unmarshal([]byte(work), &c)
	if err == nil {
		lines := json.NewEncoder(os.Stdout)
		err = workOn(context.Background(), c, func(n news) { lines.Encode(n) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "streamworker:", err)
		return 1
	}
	return 0
}

// prove holds every sum in the store, and the absence of others, against a plain map.
func prove(c config, out io.Writer) (err error) {
	want := map[uint64]sums{}
	batch := make([]event, batchEvents)
	for p := range c.Partitions {
		for at := uint64(0); ; {
			n := newSource(c, p).read(batch, at)
			if n == 0 {
				break
			}
			for _, e := range batch[:n] {
				s := want[e.User]
				s.add(e)
				want[e.User] = s
			}
			at += uint64(n)
		}
	}
	store, err := hlog.Open(c.Dir, &hlog.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	table, err := hlog.NewTable[uint64, sums](store.NewSession())
	if err != nil {
		return err
	}
	for user, w := range want {
		got, ok, err := table.Get(user)
		if err != nil {
			return err
		}
		if !ok || got != w {
			return fmt.Errorf("user %d: the store has %+v (%v), the map %+v", user, got, ok, w)
		}
	}
	found := 0
	if err := store.Scan(context.Background(), func(key, _ []byte) bool {
		if len(key) == 8 {
			found++
		}
		return true
	}); err != nil {
		return err
	}
	if found != len(want) {
		return fmt.Errorf("the store has %d users, the map %d", found, len(want))
	}
	versions, err := store.Versions()
	if err != nil {
		return err
	}
	deltas := make([]int64, 0, len(versions))
	for _, v := range versions {
		deltas = append(deltas, v.DeltaBytes)
	}
	fmt.Fprintf(out, "proven: %d users, %d events, %d versions kept, largest delta %d bytes\n",
		len(want), c.Events, len(versions), slices.Max(deltas))
	return nil
}
