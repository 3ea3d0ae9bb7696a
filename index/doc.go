// Package index is the hash index of the store: it says for the hash of a key at which address of the log the newest
// record of that hash's chain begins. It never sees a key. It follows the index of FASTER (Chandramouli et al.,
// SIGMOD 2018, section 3), with tags that make growing possible without reading a record, and with a form on disk, a
// log-structured merge of its own (O'Neil et al., 1996), that is loaded piece by piece.
//
// # Structure
//
// A table of 2^k buckets lies off the heap. A bucket is one cache line: seven entries ([word.Entry]) and a link to an
// overflow bucket of the same shape. The low k bits of a hash name its bucket; the tag of a fresh entry holds the 17
// bits above them.
//
//	hash      63                      k+17 k+16                k k-1            0
//	         +----------------------------+---------------------+----------------+
//	         |            unused          |      fresh tag      |     bucket     |
//	         +----------------------------+---------------------+----------------+
//
//	table     bucket 0   | e0 | e1 | e2 | e3 | e4 | e5 | e6 | link |
//	          bucket 1   | e0 | e1 | e2 | e3 | e4 | e5 | e6 | link ------> overflow bucket | e0 ... e6 | link |
//	          ...
//	          bucket 2^k-1
//
// An entry is specific when its tag holds at least one bit, and a catch-all when it holds none; it then matches every
// hash of its bucket. The owner of a hash is the specific entry of its bucket that matches it; if there is none, the
// catch-all; if there is none either, the hash has no owner. All records of a hash are reached from its owner's
// address along previous addresses. Other hashes may share the owner, so a reader of the chain compares keys.
//
// # Operations
//
// [Index.Find] compares all seven tags at once, and looks further only where none matches: one cache miss. It takes no
// lock and allocates nothing. [Index.Seek] is the first half of it, for callers that have a slower way anyway.
//
// [Index.FindOrCreate] makes an entry in two phases. It claims a free slot with a tentative entry, looks through the
// whole chain for another entry that matches, and makes its own final only if there is none. Of two that claim at the
// same time at least one sees the other: the one that comes later in the chain withdraws, the earlier one waits for
// that (I2). Whoever meets a tentative entry that matches waits; this takes no longer than looking through a chain.
//
// Memory is taken neither by Find nor by FindOrCreate, since taking it may have to wait and they run inside an epoch.
// When room is missing, FindOrCreate returns [NeedLoad]; the caller leaves the epoch, calls [Index.Load], and comes
// back. This happens about once per doubling.
//
// # Growth
//
// When more than a tenth as many overflow buckets as buckets are in use, the table doubles while everything goes on.
// A table with an old one behind it is published; each bucket b of the old one is moved, once, by the first who needs
// it, to the buckets b and b + 2^k:
//
//	old link word         . . 0 ---- claim ----> claimed ------------- moved
//	old entries           e  e  e  0 ....        Frozen Frozen ...     Frozen Frozen ...
//	new b, b + 2^k        untouched              written by the mover  in use
//
// The mover replaces each entry by [word.Frozen], whereby every compare-and-swap of somebody who still holds a [Slot]
// of the bucket fails and is retried, and divides the entries by the bit that moves from the tag into the bucket
// number ([word.Tag.Split]). No record is read for this. Whoever needs a bucket that is just being moved waits for it.
// Besides, the background job and each operation that makes an entry move a span of buckets, so that growth ends even
// if the background never runs. When all are moved the old table goes back to the system after the epoch drained.
//
// # Without memory for growth
//
// When Config.MaxBytes allows neither a doubled table nor another chunk of overflow buckets, a full bucket gets a
// catch-all: the entry in its first slot keeps its chain and takes in every hash that has no specific entry (I3). The
// store stays right and becomes slower. Splitting copies a catch-all into both halves; the two chains then share
// their older part.
//
// # Invariants
//
//	I1   Owner: every record of a hash is reached from its owner. A record is published by a compare-and-swap on the
//	     owner's slot, and nothing the index does by itself changes the set of chains that a hash's owner leads to.
//	I2   Antichain: no two specific entries of a bucket match one hash, that is, no tag is a prefix (low bits first)
//	     of another. A fresh tag is never shorter than any tag of the table, and it is made only where no entry
//	     matches it, so that it neither extends nor is extended by another. Taking the first bit off all tags
//	     that begin with it preserves this.
//	I3   Catch-all: there is at most one per bucket, in the first slot of the main bucket. Where there is one, no entry
//	     is made. It is never cleared. Every scan reads the first slot first.
//	I4   Tentative: a tentative entry has no address. Only who made it makes it final or withdraws it; only a mover
//	     may remove it besides, and then making it final fails.
//	I5   Moved: a slot of a claimed bucket becomes Frozen, and never changes again. The two buckets of the new table
//	     are untouched until the old one is marked as moved, and the old one is not looked at by anybody who sees
//	     the mark.
//	I6   Chains of overflow buckets only grow, at their end, and not at all once the bucket is claimed.
//	I7   Moving a bucket takes no more overflow buckets than its chain has.
//	I8   Memory is taken and given back only outside the epoch, and counted by Config.Reserve before it is taken.
//	I9   Granularity: a table into which records are replayed is at least as fine as the one they were written with.
//	I10  A bucket of an image of old with a catch-all keeps every specific entry, with its address or without.
//	I11  Steady: what the hot path looks at, Index.steady, is the newest table's buckets or, while that table has an old
//	     one behind it or blocks to load, nowhere. An operation that has read it before a growth began may still find
//	     entries in the old buckets: those that nobody has frozen yet, which are as they were (I5).
//
//	I12  Order: triples ascend by bit-reversed hash, beginning with the bits that name a block of buckets. Those of a
//	     block, of however many buckets the table has, are neighbours. What shares and runs say of a block is replayed
//	     into it before anybody else sees it.
//	I13  Whole: for every hash that the log of a version has a record of, the shares that the version names, and a replay
//	     of the log behind them, tell the address of its newest record. That is all that a table of any size needs.
//	I14  Hiding: a triple hides another one only if both are of the same 64 bits of hash and its own record is newer.
//	I15  A tombstone is a triple like any other. It goes when the log that it lies in does, never before.
//	I16  Shares may overlap, in hashes and in log, and may be replayed in any order: a replay only raises addresses.
//	I17  No gaps: whatever the hash, the shares that stand for it follow each other in the log without a gap, from its
//	     first byte to where the replay begins. A share is superseded, and left out, where another one stands for the
//	     same hashes and all of its log, and was merged from it.
//	I18  A version names triples only of records that belong to it. A run has a share for the records that all versions to
//	     come will have, and one more for each later version that has begun; a version names those up to its own, as
//	     being of the log up to its cut, whatever they were written for: log beyond a cut may be written again after a
//	     crash, with other records.
//	I19  What is flushed again replaces what was told of it before. What is in a run already is the same: nothing that is
//	     flushed changes any more.
//	I20  Only shares of records that every version to come will have are merged. What was handed out to be written before
//	     a restore is of no use after it.
//	I21  Known keys: a share says that its triples' keys are known by their hashes only if that was told of all records that it
//	     was made from ([Logged].Own), by flushes or by a replay: a merge says so if all that it has merged did. Then a record
//	     of which the same is known is dead if the share has a newer one of its hash ([Answers]), tombstone or not.
//	I22  One request: what a block of buckets takes of a share that lies far away, and is not open yet, is read at once where it
//	     ought to lie. Blocks that were read without the directory are believed if they are those of the file at that place, by
//	     their sums, and their first orders leave no room for others in between; else the share is opened. So that all is known
//	     that this takes, a share is named with the range that it was written for, as long as anything is left of it. What came
//	     is used where it is, and not read again: whoever is behind the files need not keep it.
//
// Why catch-alls lose nothing (I1, I3). Converting: the hashes that the entry's old tag matched had it as owner, and
// still have, since no other specific entry matches them (I2); every other hash without an owner had no record. An
// inserter that claimed its slot before the conversion may finish: whoever sees the catch-all scanned the first slot
// after the conversion, reads the claimed slot later still, and therefore sees the claim and waits for its outcome.
// One that claims after the conversion sees the catch-all when it looks through the chain, and withdraws. Splitting:
// both halves get the catch-all, so that every hash keeps its owner. A tag of one bit that loses it becomes a
// catch-all by itself; by I2 it was the only specific entry of its half and owned all of the half's hashes, so the
// copy of the older catch-all owns none there and is left out (its chain lives on in the other half).
//
// Why moving does not run out of overflow buckets (I7). n entries take c(n) = max(0, ceil(n/7)-1) overflow buckets.
// Splitting makes n+1 of n entries if there is a catch-all, else n. If one half gets all entries the other gets at
// most one: c(n) suffices. Otherwise write the halves as 7a+r and 7b+s with r, s from 1 to 7: they take a+b, and n is
// at least 7(a+b)+r+s-1 > 7(a+b), for which c(n) is at least a+b. A new table sets aside as many overflow buckets as
// the old one has.
//
// Why granularity matters (I9). Two hashes that agree in the k+17 bits a fresh entry knows share a chain. If the
// table had grown to k' > k when the records were written, they may have had a chain each; replayed with k, their one
// entry keeps the newer of the two addresses and the other chain is lost. The other direction is harmless: a chain
// may be reached from more owners than it needs. So [Index.Bits] belongs into what is remembered with a log, as it is
// after the last of its records was written; Config.InitialBits and [Index.Grow] bring it back. For the same reason
// [Index.Replay] makes no catch-all (it takes memory instead), and I10 holds: a replayed hash must not fall into a
// catch-all that it was not in. Lastly [Slot.Clear] asks for something: see there.
//
// # The index on disk
//
// The table is not written to disk. What a flush writes of the log is told to [Disk], record by record: a triple of hash,
// address and size ([Triple]). Triples are sorted by hash and written to share files, each of a range of hashes and a
// stretch of log; shares are merged, file to file, and what a version names is a list of them ([Shares]).
//
//	log        [ first byte ............................. | ..... | ..... | ..... | .. ] tail
//	           |                                          |       |       |       |replayed
//	hashes   0 +--------------------------------------+   |       |       |       |
//	           | share of the image                   |   |  run  |  run  |  run  |
//	           +------------------------------------+-+   |       |       |       |
//	           | share of the image                 |     |       |       |       |
//	           +------------------------------------+--+  |       |       |       |
//	           | share of the image                    |  |       |       |       |
//	    2^64-1 +---------------------------------------+  |       |       |       |
//
// What begins with the first byte is the image, the others are runs. Runs come out of the log a few megabytes at a time,
// one share over all hashes each. [Shares.NextMerge] says what is to be merged next: a range of the image with what the
// runs hold of it, when that is a fourth as much as the image has of it, or as what of that is live; or some runs with each
// other, when they have become many. Either is bounded: a share that would become too long is divided, by merging only a
// part of its range, for the rest of which it goes on to be named. So one merge writes, and one version uploads, some
// megabytes, however large the index is; how often is bounded by how much is logged (DiskConfig.MergePace).
//
// Neither the table nor the chains are looked at for any of this. Who wants to open, commit or close waits for no merge, unless
// shares are far away from readers and have become too many ([Disk.TakeShallower]).
//
// [Open] reads nothing. A block of buckets is filled when a hash of it is first asked for, from all shares that stand for
// its hashes; [Index.LoadAll] goes over all of them once, side by side. While blocks are missing the table does not grow.
//
// Why the newest address of each hash is enough (I13, I14). Let C be the hashes that agree in the k+17 bits that a
// fresh entry knows in the table that is being filled, which has 2^k buckets. By I9 no table in which their records were
// written was finer, so that at each moment all of C had one owner, or none had. Let r be the newest record of C. When it
// was published its link was set to the owner's address, from which all records of C were reached (I1), and its hash was
// one of C: from r all of C is reached. The address of r is the greatest of those that the triples of C tell, and this is
// what replaying them makes the address of C's entry. Two hashes that differ do not hide each other, even if they shared
// an owner in every table so far: a finer table may give each an entry of its own, and the newer of the two does not lead
// to what is yet to be written of the older one. Two keys may have one hash: then they are one to the index, and their
// chain leads on.
//
// Why tombstones stay (I15). Let h and g share an owner, and let the log have, in this order: a value of h, a record of g,
// a tombstone of h. Without the triple of the tombstone their entry would lead to the record of g, and from there to
// the value. Only when the log with the value is gone does the tombstone hide nothing; the tombstone lies above it, and
// goes with the log that it is in.
//
// Why a piece may claim more than it holds (I17). Runs are merged with each other range by range, and a range of the image
// may have been merged with some of them already: those are superseded there, and not read again. What comes of it stands
// for the whole stretch together with that share of the image, which only gives way to one that stands for more.
//
// A record is live as long as no other of its hash hides it, which merges find out; each share counts, segment by segment
// of log, the bytes of the records that its triples lead to. What a segment has more is dead ([Disk.Live]). Keys that share
// an entry do not matter for this; two keys of one hash, of which one is counted as dead, are too rare to.
//
// # Share files
//
// All integers are little-endian. Format 1:
//
//	head        0   magic "HLOGSHR\x00"
//	(16 bytes)  8   format, 4 bytes: 1
//	            12  zero
//	blocks      4096 bytes each:
//	            0   xxh3 of the rest, with the seed of the file plus the number of the block as seed
//	            8   number of triples n, 2 bytes
//	            10  width of an order o, of an offset a and of a kind k, in bytes, 1 byte each; then 3 zero
//	            16  first order: that of the first triple
//	            24  least offset: an address divided by 8
//	            32  least kind: the low bit is set for a tombstone, the others are the size as in word.Site
//	            40  n triples, ascending by order: order less first order (o bytes), offset less least offset (a bytes),
//	                kind less least kind (k bytes)
//	directory   per block 8 bytes: its first order
//	            per segment of log with records 16 bytes: number of the segment (4), bytes of records (6) and of
//	            tombstones (6) that triples of the file lead to
//	trailer     0   magic "HLOGSHRE"
//	(128 bytes) 8   format, 4 bytes: 1
//	            12  s, 4 bytes: a segment is 2^s bytes of log
//	            16  length of the file
//	            24  id
//	            32  first and, at 40, last order that the file stands for
//	            48  address that the log begins at and, at 56, that it ends at
//	            64  number of blocks, 4 bytes, and, at 68, of segments, 4 bytes
//	            72  number of triples
//	            80  bytes of records that they lead to, without tombstones
//	            88  xxh3 of the directory, with the seed of the file as seed
//	            96  number of the triples that are of tombstones; 0 if the writer did not count them, as early ones did
//	            104 1 if each key that a triple is of is known by its hash (I21), else 0, as early writers had it
//	            105 zero
//	            120 xxh3 of bytes 0..119
//
// An order is a hash of which the lowest ten bits were moved above the others, bit-reversed. The seed of the file is the
// xxh3 of id, first order and beginning of the log, 8 bytes each: a block of another file, or at another place, does not
// verify. [OpenShare] reads directory and trailer, and the head only if the trailer is none. Blocks may be read without either
// (I22): a format with other blocks has another seed.
//
// # Images and runs of old
//
// Directories that were written before there were shares have an image of the table, and runs without sizes. They are read,
// and not written any more.
//
// An image is the table as it was at some moment. Format 1:
//
//	header      0  magic "HLOGIDX\x00"
//	(64 bytes)  8  format, 4 bytes: 1
//	            12 k, 4 bytes: the table has 2^k buckets
//	            16 zero
//	            56 xxh3 of bytes 0..55
//	blocks      min(2^k, 1024) buckets each, 64 bytes per bucket as in memory, followed by the overflow buckets of
//	            that block in the order in which the chains use them. A link is the number of the overflow bucket in
//	            its block plus 1, and 0 at the end of a chain. No entry is tentative.
//	directory   per block 24 bytes: offset, length, xxh3
//	trailer     0  magic "HLOGIDXE"
//	(64 bytes)  8  length of the whole image
//	            16 offset of the directory
//	            24 number of blocks
//	            32 number of entries
//	            40 xxh3 of the directory
//	            48 xxh3 of the header
//	            56 xxh3 of bytes 0..55
//
// [OpenImage] reads header, trailer and directory and nothing else; a block is read and verified when a hash of it is
// first asked for.
//
// A run holds what a replay of a stretch of log would be told, sorted, so that it does not have to be replayed when
// an image is opened: what concerns a block is replayed when that is loaded. Format 1:
//
//	header      0  magic "HLOGRUN\x00"
//	(64 bytes)  8  format, 4 bytes: 1
//	            12 p, 4 bytes: the entries are divided into 2^p parts
//	            16 address that the log begins at, and 24 that it ends at
//	            32 number of entries
//	            40 length of the whole run
//	            48 zero
//	            56 xxh3 of bytes 0..55
//	directory   pieces that describe 128 parts each, or all if there are fewer:
//	            8 number of entries before the piece
//	            per part 16 bytes: number of entries up to its end, and the xxh3 of its entries
//	            8 xxh3 of the piece so far, with the header's checksum plus the number of the piece as seed
//	entries     8 bit-reversed hash, the lowest bit that names a block first; its first p bits are the number of the part
//	            4 address less that of the run, in units of 8
//
// [OpenRun] reads the header only. A part has about 256 entries; it and the piece that describes it are read and verified
// when a block needs them.
//
// A newer format of any of these is refused with [ErrFormat]: magic and format stay where they are.
package index
