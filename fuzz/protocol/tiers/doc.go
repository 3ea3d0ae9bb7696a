// Package tiers is a model of a log with a cold tier below it (package cold): sessions, demotions, merges of segments, a
// checkpoint, a restore to it and a scan, one access to shared memory at a time, in every order. It looks at the rules T26
// to T33 and leaves out what package protocol has explored already: updates in place, sealing, flushing, eviction.
//
// A state in which nobody has a step left must be explained by some order of all operations, the checkpoint and the
// restore, one after the other; the version must be what the keys held at one moment of such an order; a scan of keys that
// were never absent visits each once. At no step is a segment read that was removed.
//
// Records are never changed, so that a write is one step: it takes the next address and swaps the entry. A demotion looks at
// one record a step; the chain that it follows does not change below the entry that it has loaded. A filter is taken to be
// right always: one that lets pass what is not there costs a read, or a tombstone.
package tiers
