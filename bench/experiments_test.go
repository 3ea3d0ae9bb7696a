package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

// sampled are the experiments that every test run goes through: one of each kind.
var sampled = []string{"headtohead", "lsm-runs", "recovery", "memory", "checkpoint", "snapshot-static"}

// Every experiment must run to its end and leave a report; at sizes that measure nothing. The main job has a test of its own.
func TestExperiments_EachRunsAndReports(t *testing.T) {
	for _, x := range experiments {
		if x.name == "mainjob" {
			continue
		}
		t.Run(x.name, func(t *testing.T) {
			switch {
			case testkit.SizeOf() == testkit.Long:
			case testing.Short() && x.name != "lsm-runs":
				t.Skip("takes seconds")
			case !contains(sampled, x.name):
				t.Skip("HLOG_FUZZ=long runs all")
			}
			dir := t.TempDir()
			e, err := parseFor(t, "-experiment", x.name, "-scale", "0.02", "-short", "-dir", dir, "-report", filepath.Join(dir, "report"))
			if err != nil {
				t.Fatal(err)
			}
			e.out = io.Discard
			if err := e.runAll(context.Background(), []experiment{x}, nil); err != nil {
				t.Fatal(err)
			}
			if st, err := os.Stat(filepath.Join(dir, "report", "report.html")); err != nil || st.Size() < 5000 {
				t.Errorf("report: %v", err)
			}
			left, err := filepath.Glob(filepath.Join(dir, "bench-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
