// Package workload makes the loads that the benchmarks put on a store and measures what comes back.
//
// Nothing here is computed inside a timed loop: the keys that will be picked ([Dist]) and the kinds of operation
// ([Mix]) are drawn beforehand into arrays that the loop walks, so that a run measures the store and not the random
// number generator.
//
// # Distributions
//
//	uniform   every key equally likely
//	zipf      rank r with weight 1/r^0.99, in the form of YCSB (Gray et al., SIGMOD 1994), ranks scattered over the keys
//	hotset    90 % of the picks in a window of a fifth of the keys, which moves on by its own width every so many picks
//	trace     picks that were recorded, such as the tokens of a text ([Trace])
//
// # Two ways to drive
//
// [Run] with no rate is a closed loop: each goroutine issues its next operation when the last has returned. It
// measures throughput; its latencies leave out the operations that a stall kept from being issued. With a rate it is
// an open loop: operation i is due at a fixed time, whatever the store does, and its latency counts from then, so that
// a stall of 100 ms at 10,000 operations a second is a thousand late operations and not a single one.
package workload
