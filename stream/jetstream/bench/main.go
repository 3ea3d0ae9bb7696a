// Program bench compares the worker of stream/jetstream with one that is like it but for the store, which is Pebble, in
// alternation: messages of a stream in a NATS server in this process, each of which adds one to a counter in a record of 96
// bytes, over as many partitions.
//
//	go -C stream/jetstream/bench run .
//
// It measures how many messages a second are applied while more wait than can be; how long a message takes that is published
// at a steady rate, until it is applied, and until it is durable at the remote; and how long a worker with an empty
// directory takes, that has a partition with much state from the remote, until its first message is applied. A worker
// without any state shows what the stream itself takes of the time.
//
// Both workers read the same batches, and every second each makes what it has applied durable and brings it to a directory
// that stands for the remote. That of Pebble commits a batch with its place in the stream, unsynced; a version is a checkpoint, which
// syncs the log, and whose files are copied as far as the remote lacks them (see shelf). It has no leases, and needs none here.
//
// The table has medians over the rounds, the extremes, and HybridLog over the other in the same round with its extremes.
// A partition that moves takes some five times as much disk as it has state.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sizes says how much is measured.
type sizes struct {
	dir        string
	rounds     int
	partitions int
	memory     int64         // of a worker, for all its partitions
	every      time.Duration // between two versions of a partition
	messages   int           // that wait; 0 leaves this part out
	keys       int           // that they are about, of all partitions together
	rate       int           // messages a second that are published steadily
	seconds    float64
	state      int64 // bytes of keys and values in the partition that moves; 0 leaves this part out
}

// engine is a worker with a kind of state.
type engine struct {
	name  string
	start func(s *server, j *job) (worker, error)
	total func(dir string, memory int64) (counts, error) // what a directory holds; nil if it holds nothing
}

// worker works on all partitions of a job until it is stopped, and returns when what it has applied is at the remote.
type worker interface{ stop() error }

var engines = []engine{
	{"hybridlog", startHybridLog, totalHybridLog},
	{"pebble", startPebble, totalPebble},
	{"no state", startNothing, nil},
}

// figures are what a round has measured, by name.
type figures map[string]float64

const (
	applied    = "messages applied, thousands a second"
	median     = "from publish to applied, median, ms"
	late       = "from publish to applied, p99, ms"
	toDurable  = "from publish to durable at the remote, median, ms"
	allDurable = "from publish to durable at the remote, p99, ms"
	first      = "moved partition: first message applied, ms"
	whole      = "moved partition: its effect durable at the remote, ms"
)

var order = []string{applied, median, late, toDurable, allDurable, first, whole}

func main() {
	var z sizes
	flag.StringVar(&z.dir, "dir", "", "where everything is; a temporary directory by default")
	flag.IntVar(&z.rounds, "rounds", 3, "rounds, each with every worker")
	flag.IntVar(&z.partitions, "partitions", 8, "partitions")
	flag.Int64Var(&z.memory, "memory", 256<<20, "bytes of memory of a worker")
	flag.DurationVar(&z.every, "every", time.Second, "time between two versions of a partition")
	flag.IntVar(&z.messages, "messages", 500_000, "messages that wait; 0: no such measurement, nor at a steady rate")
	flag.IntVar(&z.keys, "keys", 200_000, "keys that messages are about")
	flag.IntVar(&z.rate, "rate", 20_000, "messages a second that are published steadily")
	flag.Float64Var(&z.seconds, "seconds", 4, "how long they are")
	flag.Int64Var(&z.state, "state", 1<<30, "bytes of keys and values in the partition that moves; 0: none does")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) // what is on disk is removed
	defer stop()
	all, err := z.run(ctx)
	report(os.Stdout, all)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures all rounds. Nobody is always first.
func (z *sizes) run(ctx context.Context) (all map[string][]figures, err error) {
	dir, err := os.MkdirTemp(z.dir, "stream-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := startServer(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	all = map[string][]figures{}
	homes := map[string]*home{}
	for round := range z.rounds {
		for i := range engines {
			k := engines[(i+round)%len(engines)]
			f := figures{}
			if z.messages > 0 {
				if err := z.flow(s, k, round, f); err != nil {
					return all, fmt.Errorf("%s: %w", k.name, err)
				}
			}
			if z.state > 0 && k.total != nil {
				if homes[k.name] == nil {
					if homes[k.name], err = z.settle(s, k); err != nil {
						return all, fmt.Errorf("%s: state to move: %w", k.name, err)
					}
				}
				if err := homes[k.name].move(f); err != nil {
					return all, fmt.Errorf("%s: move: %w", k.name, err)
				}
			}
			all[k.name] = append(all[k.name], f)
			fmt.Fprintf(os.Stderr, "round %d: %s: %v\n", round+1, k.name, f)
		}
	}
	return all, nil
}

// report prints the table.
func report(w io.Writer, all map[string][]figures) {
	fmt.Fprint(w, "| |")
	for _, k := range engines {
		fmt.Fprintf(w, " %s |", k.name)
	}
	fmt.Fprintf(w, "\n%s\n", strings.Repeat("|---", len(engines)+1)+"|")
	for _, what := range order {
		fmt.Fprintf(w, "| %s |", what)
		for _, k := range engines {
			var v, ratio []float64
			for i, f := range all[k.name] {
				if f[what] == 0 {
					continue
				}
				v = append(v, f[what])
				if own := all[engines[0].name]; k.name != engines[0].name && i < len(own) {
					ratio = append(ratio, own[i][what]/f[what])
				}
			}
			if len(v) > 0 {
				fmt.Fprintf(w, " %s", spread(v, "%.4g", "", "%.4g"))
			}
			if len(ratio) > 0 {
				fmt.Fprintf(w, "; %s", spread(ratio, "%.2f", " ×", "%.2f"))
			}
			fmt.Fprint(w, " |")
		}
		fmt.Fprintln(w)
	}
}

// spread is a median with its extremes.
func spread(v []float64, format, unit, extremes string) string {
	v = slices.Sorted(slices.Values(v))
	return fmt.Sprintf(format+"%s ("+extremes+" to "+extremes+")", v[len(v)/2], unit, v[0], v[len(v)-1])
}

// String prints figures in the order of the table.
func (f figures) String() string {
	var b strings.Builder
	for _, what := range order {
		if slices.Contains(slices.Collect(maps.Keys(f)), what) {
			fmt.Fprintf(&b, "%s: %.4g; ", what, f[what])
		}
	}
	return b.String()
}
