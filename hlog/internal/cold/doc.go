// Package cold is the tier below the log: records that nobody has used lately, in files in the order of their hashes, at
// about a byte and a half of memory for each and one read to find one. It knows keys and values, and nothing of the log
// but addresses. It follows SILT (Lim et al., SOSP 2011), and F2 (Kanellis et al., PVLDB 18, 2025) in how it goes with a
// hybrid log; versions are its own.
//
// # Structure
//
// A cold segment is what a demotion has written: the records of a stretch of the log, [From, To), each key once, ascending
// by the order of their hashes ([index.Order]), as share files that divide the hashes. The tier is all segments. They stand
// for the log from its first byte to its begin:
//
//	hashes   0 +----------------------+---------+------+
//	           | share                |  share  |      |        log
//	           +----------------------+         | sh.  |  [ begin ....... tail )
//	           | share                |         |      |
//	           +---------------------++---------+      |
//	           | share               |  share   |      |
//	    2^64-1 +---------------------+----------+------+
//	            oldest segment        newer      newest
//
// Segments are merged as runs of the index are, range by range, by the same scheduler ([index.Shares.NextMerge]); so a list
// of cold files is an [index.Shares], in which Triples counts records. Of one key the newer record stays. A tombstone stays
// as long as anything older may lie below it.
//
// A block is 4 KiB, and a record of up to 512 bytes lies in one. The first order of each block is in memory, so that the
// block of a hash is known without reading. Within a block the keys are compared. A filter says, mostly without reading,
// that a share has no record of a hash: it is in blocks of its own, which come into memory when they are asked for and
// leave when there is no room ([Filters]). Who looks for a key asks the shares that stand for its hash, newest first
// ([Tier.Lookup]); the filter of the oldest is not worth a read, only what is in memory of it is asked,
// except for a delete where all filters fit into memory ([Tier.ReadFilters]).
//
// A block of filter holds up to 3,562 orders as the numbers that they are scaled to evenly, n orders to numbers below n*2^7,
// in the code of Elias and Fano (1974): the lower seven bits of each as they are, and for the upper ones, which ascend from 0
// to n-1, a bit string in which number i sets bit upper(i)+i. That is nine bits for each order, and one of 128 absent orders
// passes.
//
// # Rules
//
//	T21 Whole: for every hash the shares of a tier stand for all of the log below its begin, without a gap. What they say
//	    of a key is what the log there said: its newest record, or nothing.
//	T22 A file never changes once its name is in a tier, and a tier never changes. A file is removed when no tier, no
//	    manifest and no reader has it.
//	T23 Where one share supersedes another, nothing that the other holds counts, be it in the one or not.
//	T24 A tombstone is dropped only by a merge of everything from the first byte on, for the hashes of which it is written.
//	T25 Nothing that came from a file is used before the checksum of its block has matched. An order that is not in a file
//	    follows from the key, and must ascend.
//	T34 A slot of [Filters] is changed while its version is odd. A reader that has seen the version even, and the same
//	    after it has read, has read the block of the share that it asked for.
//	T35 What is remembered of a share's records is remembered under the id of its file, and asked for by a search that has
//	    come to that share. No id is given to two files.
//
// How a store goes with its tier; package fuzz/protocol/tiers explores this, and what happens when a part of it is left out:
//
//	T26 Switch: a demotion copies, of a stretch of log that begins at the begin, each record that is the newest of its key.
//	    When the files are durable it makes the tier with the new begin the one that stands, by one store. It does not do
//	    so while a checkpoint takes its cut or a restore goes back.
//	T27 Look: whoever looks for a key loads the tier once for each stay in the epoch. A chain ends at the begin of that tier;
//	    then, and when there is no entry, the tier is asked. Whoever asks it outside the epoch holds it.
//	T28 Generation: a write that rests on what a tier has said is published only in a stay in the epoch in which the tier
//	    has the generation that it had then. Demotions and restores raise it, merges do not: all tiers of a generation
//	    say the same of a key.
//	T29 Clear: entries that lead below the begin are cleared when everybody has left who was in the epoch at the switch.
//	T30 Version: a version names the tier that stands at its cut, and keeps the log behind its begin.
//	T31 Restore: entries are rewound only if the tier that stands has the generation of the version's. Otherwise the
//	    version's own index is opened, and its tier stands with a generation that none has had.
//	T32 Delete: a delete that finds nothing in the log writes a tombstone unless the tier, looked at in the same stay in the
//	    epoch, has nothing that it would hide.
//	T33 Scan: a scan holds the tier and the log of its beginning. Where a chain has been cut below a key's records it does
//	    not take its end for the end of these records.
//	T39 Depth: a round of demotion begins when fewer than maxColdDepth files are over each hash: it merges files until then.
//	    Only where a merge fails, or a damaged file takes part in none, are there more. Who merges holds no lock that a restore
//	    or the operations wait for, and ends with the store, and between two merges with the context of its caller.
//	T40 Ration: where versions are uploaded, merges of cold files that nobody waits for write no more than those of the index may,
//	    out of one ration for both: it grows with each byte that is logged or demoted, and with each version, up to the
//	    length of one merge, and a merge begins when it is enough, or as much as it ever is. Merges that T39 asks for, or that
//	    manyColdFiles over a hash make urgent, do not wait for it, and count. So what a version uploads of merges is bounded
//	    by that length, a merge, and what was logged and demoted since the version before.
//
// Why the generation (T28). Chains lose their ends: a key that is absent, is written, demoted and cleared has no entry, as
// before, and a compare-and-swap of the entry notices nothing. Addresses never repeat, so nothing else can look as it was.
// By T29 nothing is cleared during the stay in the epoch in which the generation was looked at, whenever the switch is.
//
// Why no switch during a cut (T26, T30). If it came between naming the tier and the cut, the version would have records that
// were linked to entries that had been cleared: with the begin that it names their chains should lead on to older records
// of other keys that share the entry, and do not. If the tier were named later, it could lack what only a record of the next
// version has superseded.
//
// Why a tombstone may go (T23, T24). A merge from the first byte on has for its hashes all that is older. What it has merged is
// superseded there, so that an older record of a share that is still named for other hashes does not count. What comes later
// is newer.
//
// # Share files
//
// All integers are little-endian, lengths within records are those of encoding/binary's Uvarint. Format 1:
//
//	head        0   magic "HLOGCLD\x00"
//	(4096)      8   format, 4 bytes: 1
//	            12  zero
//	blocks      4096 bytes each:
//	            0   xxh3 of the rest, with the seed of the file plus the number of the block as seed
//	            8   number of records that begin in it, 2 bytes
//	            10  where the first of them begins, 2 bytes; 0 if none does
//	            12  where the last record, or what there is of it, ends, 2 bytes
//	            14  zero
//	            16  records, one behind the other; the first bytes may belong to one that began before, which then fills
//	                the blocks that it comes from
//	record      twice the length of the key, plus 1 for a tombstone
//	            length of the value, not for a tombstone
//	            key, value
//	filter      blocks of 4096 bytes:
//	            0   xxh3 of the rest, with the complement of the seed of the file, less the number of the block, as seed
//	            8   number of orders n, 2 bytes
//	            10  width of a lower part, in bits, 1 byte: 7; then zero
//	            16  first and, at 24, last order that it is asked for
//	            32  factor: an order stands for the upper 64 bits of its distance to the first times this; with 0 for the
//	                distance
//	            40  by 8 words of the bit string: how many bits are set before them, 2 bytes each
//	            72  bit string of the upper parts, (2n+63)/64 words
//	                lower parts, 7 bits each, without gaps; zero
//	directory   by block of records, 8 bytes: order of the first record that begins in it, or of the one that goes through
//	            by block of filter, 8 bytes: its first order
//	            by block of records, 1 bit: an earlier block has a record of that order, too
//	            zeros, so that the file is whole blocks
//	trailer     0   magic "HLOGCLDE"
//	(128 bytes) 8   format, 4 bytes: 1
//	            12  zero
//	            16  length of the file
//	            24  id
//	            32  first and, at 40, last order that the file stands for
//	            48  address that the log begins at and, at 56, that it ends at
//	            64  number of blocks of records, 4 bytes, and, at 68, of filter, 4 bytes
//	            72  number of records
//	            80  bytes of those that are no tombstones
//	            88  xxh3 of the directory, with the seed of the file as seed
//	            96  zero
//	            120 xxh3 of bytes 0..119
//
// The seed of a file is the xxh3 of id, first order and beginning of the log, 8 bytes each. A newer format is refused with
// [ErrFormat]: magic and format stay where they are.
package cold
