// Command bench does the project's main job on real input and measures the store against other engines.
//
//	go run ./bench                                the main job, a short head-to-head, the report (two minutes)
//	go run ./bench -experiment list               what can be measured
//	go run ./bench -experiment recovery,dataflow  these experiments
//	go run ./bench -experiment all -scale 10      everything, at ten times the sizes of the thesis
//	go run ./bench -experiment micro -keys 10M    rounds of single and grouped operations against maps, alternating
//	go run ./bench -experiment beyond -short      states far larger than memory, at a tenth; without -short it takes an hour
//	go run ./bench -experiment mainjob -text ~/texts -suffix .txt
//	go test -bench . ./bench                      microbenchmarks for benchstat
//
// The main job counts every token of the Go source tree, and every pair of neighbouring tokens, in a store that has
// less memory than the counters need. A child process does the counting, checkpoints as it goes with the source
// offsets as cookie, and is killed with SIGKILL in the middle; another one recovers, resumes where the cookie says and
// ends; then every count, and the absence of everything else, is proven against a plain Go map.
//
// Everything that was measured is written to the report directory: one HTML page that needs no other file, the figures
// as PNG and SVG, the numbers as CSV.
//
// # How to read the numbers
//
// Machines of this kind are noisy. Engines are measured in alternating rounds, never one after the other, and the
// reports give the median with the lowest and the highest round. A gap below 1.5 times is no result until it was seen again.
// The CPU of an operation, where it is given, hardly depends on the neighbours.
// All engines run on equal terms: the same memory setting, the same policy of syncing (at snapshots, never per write),
// checksums on, through the same interface.
package main
