package main

import (
	"strings"
	"testing"
	"time"
)

// Every worker must count every message once, over messages that wait, that come steadily, and over a move, or what is
// measured is not what it seems.
func TestBench_SmallCountsAreExact(t *testing.T) {
	z := sizes{
		dir: t.TempDir(), rounds: 2, partitions: 3, memory: 48 << 20, every: 100 * time.Millisecond, messages: 6000, keys: 900, rate: 3000, seconds: 0.5, state: 4 << 20,
	}
	all, err := z.run(t.Context()) // compares what was counted with what was published
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range engines {
		if len(all[k.name]) != z.rounds {
			t.Fatalf("%s: %d rounds", k.name, len(all[k.name]))
		}
		for _, f := range all[k.name] {
			for _, what := range order {
				if k.total != nil && !(f[what] > 0) {
					t.Errorf("%s: %s is %v", k.name, what, f[what])
				}
			}
		}
	}
	var table strings.Builder
	report(&table, all)
	if lines := strings.Count(table.String(), "\n"); lines != len(order)+2 {
		t.Fatalf("%d lines:\n%s", lines, table.String())
	}
}
