// Package view reads a committed version while the store goes on: it finds the newest record of a key, visits all keys that have
// a value, tells what has changed against another version, and verifies. It knows what log, index files and cold files belong to
// a version (its manifest, package checkpoint), and reads them where they lie. It does not know the index that operations use,
// what keeps the files meanwhile, nor whether they lie in a directory or on a remote: that is for who makes a [Version].
//
// # Records of a version
//
// The log of a version is its extents, but for records past its cut that lie in the fuzzy end of an extent (C4 of package hlog):
// [Skip] is true of those, and [Walk] leaves them out.
//
// # Scan
//
// A scan follows no chain and loads no index. It reads the shares of the version, then its log, both in their order on disk
// (scan.go), in memory that follows neither the length of the log nor the number of keys.
//
//	Z4  The shares, and the log behind them, name the newest record of each hash (I13). A bit for each 16 bytes of log, less
//	    than any record takes, says whether the record that begins there is one of them: then it is the newest of its key. Where
//	    there is no memory for so many bits, the log is walked in stretches, and the shares are read for each.
//	Z5  A value whose bit is not set is older than a record of its hash, but two keys may have one hash, though hardly ever.
//	    So its key is owed another record, which has to come later in the walk. Keys are told apart by 64 bits of a second hash,
//	    whose seed nobody but the scan knows. The last record of a key that is still owed one when the log ends is its newest.
//	Z6  When there is no room for more keys that are owed a record, another walk goes to the end of the log, and gives those
//	    that there are what they are owed; then there is room.
//	Z7  A key of the tier is visited at once if no record of the log has its hash. Else it is owed a record, as if it had
//	    come before the log began, and is visited at the end if none has come.
//	Z8  Every bit that is set is met by a record of the version: else the index is damaged, which is an error, and no key is
//	    left out in silence.
//
// A version that was written before there were shares, or has much log that none stands for, is scanned along its chains
// (chains.go).
//
// # Changes
//
// A key that has changed has a newest record in each version, or in one of them. They are not the same record, and at least
// one is in the log of its version only:
//
//	Z1  If both versions had both records, the newer one would be the newest in both. If one version has none, it has not
//	    got the other's either: a tombstone that would hide it is dropped by compaction only together with what it hides
//	    (K3). So whoever looks at all records that only one version has comes upon every key that has changed, and
//	    deletions need no tombstone to be found.
//	Z2  Of each key that has changed one record answers for it: its newest in the new version, if only that has it; else its newest in
//	    the old one, which the new one has not got then. So each key is reported once, and nobody has to remember which ones were.
//
// What a version says of a key of which its log has nothing is what its cold files say:
//
//	Z3  A key that has changed and of which one log or both have a record has its newest record in a log that only that
//	    version has: if both logs had it, nothing would have changed. So that record answers, compared with what the other
//	    version says, be it in its log or below. A key of which neither log has anything has changed only if the tiers say
//	    different things of it, and is in a cold file that only one of them has (cold.Differ), which answers then.
package view
