package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
)

// TestMain makes the test binary a working process when it is started as one.
func TestMain(m *testing.M) {
	if work := os.Getenv(workEnv); work != "" {
		os.Exit(child(work))
	}
	os.Exit(m.Run())
}

func TestRun_KilledAndResumed(t *testing.T) {
	c := config{Dir: t.TempDir(), Partitions: 3, Events: 1_000_001, Users: 30_000, Every: 5 * time.Millisecond, Kills: 3}
	if testing.Short() {
		c.Events, c.Users, c.Kills = 200_001, 20_000, 1
	}
	var out bytes.Buffer
	if err := run(context.Background(), c, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	// The first process begins with an empty store and says nothing of it.
	if n := strings.Count(out.String(), "killed after version"); n != c.Kills {
		t.Errorf("killed %d times, not %d:\n%s", n, c.Kills, &out)
	}
	if n := strings.Count(out.String(), "began at version"); n != c.Kills {
		t.Errorf("resumed %d times, not %d:\n%s", n, c.Kills, &out)
	}
	if !strings.Contains(out.String(), "proven: ") {
		t.Errorf("nothing was proven:\n%s", &out)
	}
	t.Logf("\n%s", &out)
}

// A worker that is stopped in the middle leaves a version when it closes its store, from which the next one goes on.
func TestResume_GoesOnFromWhatCloseCommitted(t *testing.T) {
	ctx := context.Background()
	c := config{Dir: t.TempDir(), Partitions: 2, Events: 60_000, Users: 5_000, Every: time.Hour}
	w, err := open(c, func(news) {})
	if err != nil {
		t.Fatal(err)
	}
	half := newSource(c, 0)
	half.events = 10_000
	if err := w.consume(ctx, 0, half); err != nil {
		t.Fatal(err)
	}
	if err := w.commit(ctx); err != nil {
		t.Fatal(err)
	}
	half.events = 20_000
	if err := w.consume(ctx, 0, half); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}

	var began []uint64
	if err := workOn(ctx, c, func(n news) {
		if n.Resumed {
			began = n.Offsets
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(began) != 2 || began[0] != 20_000 || began[1] != 0 {
		t.Errorf("went on from %v, not from [20000 0]", began)
	}
	var out bytes.Buffer
	if err := prove(c, &out); err != nil {
		t.Error(err)
	}
}

func TestProve_NoticesAWrongSum(t *testing.T) {
	ctx := context.Background()
	c := config{Dir: t.TempDir(), Partitions: 1, Events: 5_000, Users: 100, Every: time.Hour}
	if err := workOn(ctx, c, func(news) {}); err != nil {
		t.Fatal(err)
	}
	if err := prove(c, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	store, err := hlog.Open(c.Dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	table, err := hlog.NewTable[uint64, sums](store.NewSession())
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Update(7, func(s *sums, existed bool) { s.Amount++ }); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if prove(c, &bytes.Buffer{}) == nil {
		t.Error("a sum that is off by one was proven")
	}
}
