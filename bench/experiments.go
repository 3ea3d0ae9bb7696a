package main

import (
	"context"

	"github.com/hybridlog/hybridlog/bench/internal/report"
)

// experiments are all that can be run by name, in the order of -experiment all.
var experiments = func() []experiment {
	out := []experiment{
		{"mainjob", "count the tokens of the Go source with too little memory, killed in the middle, every count proven", runMainJob},
		{"headtohead", "short comparison of all engines, state in memory", runHeadToHead},
		{"micro", "single and grouped operations in memory against xsync.MapOf and a sharded map", runMicro},
		{"mixes", "every mix and distribution on all engines, state in memory", runMixes},
		{"tokens", "the main job's token stream as a load for all engines, memory for less than the state", runTokens},
		{"larger", "memory for a quarter of the data", runLarger},
		{"beyond", "states far larger than memory: small records in less memory than their index needs, larger ones in a quarter", runBeyond},
		{"stalls", "latency at a fixed rate while a snapshot is taken every second", runStalls},
		{"recovery", "recovery time over bytes written", runRecovery},
		{"recovery-keys", "recovery time over the number of keys", runRecoveryKeys},
		{"memory", "resident memory over the number of keys", runMemory},
		{"snapshot-growing", "snapshots of a growing state with a slow remote", runSnapshotGrowing},
		{"snapshot-static", "snapshots of a large state after small updates", runSnapshotStatic},
		{"dataflow", "four workers, transactions, aligned snapshots, one worker killed", runDataflow},
		{"checkpoint", "delta, duration and throughput of the store's checkpoints", runCheckpoint},
		{"open", "opening the store over its size, after a close and after a crash", runOpen},
		{"restore", "rollback of the live store over what changed", runRestore},
		{"coldread", "cold point reads against the device's own rate", runColdRead},
	}
	var sweeps []sweep
	sweeps = append(sweeps, thesisSweeps()...)
	sweeps = append(sweeps, regionSweeps()...)
	sweeps = append(sweeps, latencySweeps()...)
	for _, w := range sweeps {
		out = append(out, experiment{w.name, w.title, func(ctx context.Context, e *env) (*report.Section, error) {
			return w.chosen(e).run(ctx, e)
		}})
	}
	return out
}()
