// Command peers measures the store against other Go stores through the same interface, workloads and report as
// ../ measures it against the engines of package compare:
//
//	go run -C bench/peers .            in memory, larger than memory, snapshots, reopening
//	go run -C bench/peers . -experiment beyond    states far larger than memory: small records, and large ones of which a quarter fits
//	go run -C bench/peers . -help
//	go -C bench/peers test -run '^$' -bench Travel .    a state brought to another directory
//
// It is a module of its own, so that nobody who imports the store gets these dependencies.
//
// All are opened on equal terms: the same memory as far as each can be told, checksums as each has them, no sync per
// write. Snapshots are made by each one's own means:
//
//	pebble         Flush and Checkpoint: hard links to its tables
//	pebble-nowal   the same, without a write-ahead log
//	badger         Backup of what changed since the last one
//	bbolt          a copy of the file: it has no incremental means
//	xsync, sharded, otter   maps and a cache in memory: a dump of all, not of one moment
//
// What one write is, is each one's own smallest durable-later write: a Set without sync, or a transaction without sync
// in Badger and bbolt, which have nothing smaller.
package main
