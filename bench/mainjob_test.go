package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
)

// smallTexts writes files of words that repeat as words do.
func smallTexts(t *testing.T, files, words int) string {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(1, 2))
	for f := range files {
		var b strings.Builder
		for range words {
			n := r.IntN(1 + r.IntN(1+r.IntN(20_000)))
			fmt.Fprintf(&b, "word%d ", n)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("t%03d.txt", f)), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// childOf is a counting process within this one.
func childOf(j *mainJob, out io.Writer) *counter {
	return &counter{spec: j.spec, enc: json.NewEncoder(out), began: time.Now()}
}

func jobEnv(t *testing.T, texts string) *env {
	t.Helper()
	e, err := parseFor(t, "-text", texts, "-suffix", ".txt", "-memory", "4MiB", "-every", "20k", "-dir", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e.out = io.Discard
	return e
}

// The whole job: a child killed in the middle, another that resumes, every count proven.
func TestMainJob_KilledAndResumedCountsExactly(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	e := jobEnv(t, smallTexts(t, 60, 3000))
	s, err := runMainJob(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	var proven, killed string
	for _, row := range s.Tables[0].Rows {
		switch row[0] {
		case "counts proven equal":
			proven = row[1]
		case "killed at update":
			killed = row[1]
		}
	}
	if proven == "" || proven == "0" {
		t.Errorf("nothing proven: %v", s.Tables[0].Rows)
	}
	t.Logf("killed at update %s, %s counts proven", killed, proven)
}

// The proof must fail when the store is wrong in any of the ways it can be.
func TestMainJob_ProofNoticesWhatIsWrong(t *testing.T) {
	e := jobEnv(t, smallTexts(t, 4, 2000))
	e.kills = 0
	for name, spoil := range map[string]func(*hlog.Store, string) error{
		"count too high": func(s *hlog.Store, k string) error { return s.RMW([]byte(k), addOne) },
		"key lost":       func(s *hlog.Store, k string) error { return s.Delete([]byte(k)) },
		"key too many":   func(s *hlog.Store, _ string) error { return s.Set([]byte("never_in_the_text"), one) },
		"value cut":      func(s *hlog.Store, k string) error { return s.Set([]byte(k), one[:4]) },
	} {
		t.Run(name, func(t *testing.T) {
			j := &mainJob{env: e}
			if err := j.prepare(); err != nil {
				t.Fatal(err)
			}
			if err := j.countIndependently(context.Background()); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			c := childOf(j, &out)
			if err := c.run(); err != nil {
				t.Fatal(err)
			}
			if _, err := j.prove(context.Background()); err != nil {
				t.Fatalf("before anything is spoilt: %v", err)
			}
			s, err := hlog.Open(j.spec.Dir, &hlog.Options{MemoryBytes: j.spec.Memory})
			if err != nil {
				t.Fatal(err)
			}
			var some string
			for k := range j.counted.number {
				some = k
				break
			}
			if err := spoil(s, some); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := j.prove(context.Background()); err == nil || !strings.Contains(err.Error(), "wrong") {
				t.Errorf("the proof says %v", err)
			}
		})
	}
}
