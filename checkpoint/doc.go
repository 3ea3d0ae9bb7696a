// Package checkpoint keeps the versions of a store: which bytes of the log each one consists of, which one the store
// is at, what nothing needs any more, and copies of all that on a remote. It knows bytes, files and addresses, never
// a record or a session; what a log byte means is the business of its callers.
//
// # Terms
//
//	version    a committed checkpoint: an id, its parent's id and a lineage. Ids ascend, gaps are allowed, and an id
//	           is never used twice, not even after its version was purged.
//	log        one linear range of bytes; an address is an offset in it and is never used for two things.
//	extent     a range of the log that belongs to a lineage.
//	lineage    all the extents of a version, ascending: the log that a store at this version consists of.
//	delta      the range of log that a version added to its parent.
//	share      a file that spares a recovery from replaying a stretch of the lineage, for a part of the hashes.
//	old image, old run: files that spare a recovery from replaying the lineage up to some address, and a stretch behind it.
//	current    the version that the directory opens at.
//
// # Directory
//
//	LOCK                   held by whoever has the directory open (the caller's business)
//	STORE                  identity of the store, written once
//	HEAD                   where a rollback went, and the floor below which ids and addresses are used up
//	REMOTE                 how far this directory and its remote knew of each other (J4)
//	versions/NONE          while the store has no version: why that is so
//	versions/%016x.manifest  one version each, by id
//	images/%016x.img       shares, and index images and runs of old, by id
//	log/%012x.seg          segment n holds log bytes [n*SegmentBytes, (n+1)*SegmentBytes)
//
// Numbers in names are lower-case hexadecimal. A file whose name is none of these is somebody else's and is never
// touched.
//
// # Envelope
//
// STORE, HEAD, NONE and manifests share one envelope, which stays as it is in every format to come, so that a newer file is
// told from a damaged one. All numbers are little-endian.
//
//	offset  size  field
//	0       8     magic: "HLSTORE\n", "HLHEAD\n\n", "HLNONE\n\n" or "HLVERSN\n"
//	8       4     format, 1 to 6 today (see below); a whole file with a higher one is ErrFormat and stays as it is
//	12      4     zero
//	16      8     length of the file, checksum included
//	24      n     payload
//	24+n    8     xxh3 of everything before
//
// # Payloads, formats 1 to 6
//
// Manifests are written in format 6. Stores of earlier releases, whose hash seed does not follow from the store id
// ([Identity.OneToOne]), go on with format 4, and with format 5 if there are cold files. Format 3 is that of older ones with
// shares, format 2 of those with runs and none; with neither they had format 1. Each has the lines below up to its own. Releases that do not
// know a format refuse it with ErrFormat. All else has format 1.
//
//	NONE
//	0    8  1 = no version was ever committed; 2 = the versions are on a remote, which the directory is filled from;
//	        3 = a version is being imported
//
//	STORE                          HEAD
//	0   16  store id               0   8  target: the version rolled back to; 0 = none
//	16   8  hash seed              8   8  floor: highest id when that happened
//	24   8  segment bytes          16  8  highest log end ever committed at that time
//
//	manifest
//	0   16  store id
//	16   8  version
//	24   8  parent; 0 = none
//	32   8  checksum of the parent's manifest (its last 8 bytes); 0 = no parent
//	40   8  nonce: random
//	48   8  created, nanoseconds since 1970; 0 = unknown
//	56   8  delta start
//	64   8  cut: end of the delta and of the lineage's log
//	72   8  bytes written for the delta
//	80   8  log version
//	88   8  page bytes
//	96   8  1 when there is an image, else 0 (and then the next three are 0)
//	104  8  image id
//	112  8  image bytes
//	120  8  image: replay the log from here on
//	128  8  number of extents, followed by as many of
//	         8  start   8  end   8  fuzzy   8  log version
//	...  8  length of the cookie, followed by the cookie
//	...  8  length of aux, followed by aux
//	...  8  format 2: number of runs, at least 1 (formats 3 to 6: 0 if there are none), followed by as many of
//	         8  id   8  bytes   8  from   8  to
//	...  8  format 3: replay the log from here on
//	...  8  format 3: number of shares, at least 1 (formats 4 to 6: 0 if there are none), followed by as many of
//	         8  id   8  bytes   8  first and 8  last hash, in the order of shares   8  from   8  to
//	         8  level   8  triples   8  live bytes
//	...  8  format 5: number of cold files, at least 1 (format 6: 0 if there are none), followed by as many of the same
//	...  8  format 4: hash seed of STORE
//	...  8  format 4: segment bytes of STORE
//
// # Rollback and the current version
//
// Versions form a tree by their parents. The newest id is current, unless the store was rolled back after it was
// committed: HEAD says to which version (target) and how far ids had come by then (floor).
//
//	current = the newest id above floor, else target, else none
//
// One write of HEAD is therefore the whole of a rollback, and one new manifest is the whole of a commit.
//
//	id      1 --- 2 --- 3 --- 4            HEAD{target 2, floor 4}: current is 2
//	               \
//	                5 --- 6                both above the floor: current is 6
//
// # What a directory shows
//
// A directory may be what a crash left, or a copy that was made file by file while the store ran, with files of many
// moments and without those that went meanwhile. The two are told apart by what each cannot look like. Before its first
// version a store has NONE, which is written before anything else and removed after the first manifest is in place; a copy
// that has no manifest although there were some has no NONE either, or one beside a HEAD that is not new. So a directory
// with files of a store, without a manifest and without a NONE that explains it, is never opened, and never made anew.
//
// A newest manifest that is missing cannot be told from one that was never written: log beyond the newest version and
// images of it are what a crash leaves, too. Therefore they are kept until the store has committed a version, and addresses
// begin behind them.
//
// With an explicit version (OpenOptions.Version) only the manifest of that version has to be whole: it holds what STORE
// does, and the version stands in for HEAD.
//
// # Fuzzy ends
//
// A checkpoint does not stop the store, so the log between the moment the version number was raised and the cut
// holds records of both versions. An extent says where that stretch begins (Fuzzy): from there on, records written
// in version LogVersion+1 do not belong to the lineage. The next version of the same live store does contain them;
// its lineage has the stretch without the exception ([Extend] with live).
//
// # Copies
//
// A [Mirror] keeps copies of versions on a [Remote]: immutable objects, and a sequence of entries that says which versions
// stand, only what the remote lacks. pieces.go shows the objects and sequence.go the entries, mirror.go the rules M1 to M6
// that make copies safe, Mirror.Pull which side counts as the newer one. Versions of a directory that is another's, and may be in
// use, are copied by a mirror of it that is opened with OpenOptions.Aside: by J4 it adds only to a remote whose head the directory
// has gone on from, or was rolled back from, and a version that went meanwhile gets no entry. It goes on where one was interrupted.
//
// # Remotes that two may meet on
//
// A worker that was paused, and one that has taken over its store, may write to one remote at a time, and listings may show
// the past. So the truth of a remote is a sequence of entries:
//
//	claim     somebody begins to write, with an epoch (MirrorOptions.Epoch)
//	version   a version stands, and the head moves to it if it is the current one of whoever has put it
//	head      the head moves: a rollback
//	purge     versions stand no more
//	snapshot  what all entries before it come to
//
// Readers open at the head. fuzz/protocol/mirrors explores these rules, and what happens without each of them.
//
//	J1  Entries have dense numbers from 1 on. Each is made by a put-if-absent, by somebody who has read all before it. Who
//	    finds the next number taken compares what is there with what he has put, since an answer may have been lost; is it
//	    another's, he reads on, and plans anew what he was about to do. What an entry says is so when it stands, and not
//	    before: only then Upload, MoveHead, Retain and Purge return nil.
//	J2  Nobody finds the end of the sequence, or a version, by a listing: readers probe forward by Get. Where to begin may be
//	    guessed by one (J10).
//	J3  A number that is free is the end only if nothing before it has been removed, else it may have been taken and
//	    removed. So whoever has put an entry, or finds none, looks afterwards whether the entry is there that would have
//	    been removed earlier, and is the one he has read. An entry holds the checksum of the one before it.
//	J4  A mirror changes a remote only while the head is where its directory has put it, or found it: by the mark in
//	    REMOTE, which is written before the head is moved; or, without one, because the local current version descends
//	    from the head. A directory that is another's (OpenOptions.Aside) has no mark: there the head may be any version that
//	    the directory has, too, since it has gone on from it or was rolled back from it; and any at all if the caller says so
//	    (MirrorOptions.Over), who knows that the directory was rolled back from it and has purged it. Anything else is
//	    ErrDiverged.
//	J5  Entries of others that claim a newer epoch, or move the head, stop a mirror: with ErrFenced or ErrDiverged, for
//	    good. To go on, the directory is opened anew, where Mirror.Pull decides.
//	J6  Objects are deleted only after the purge entry stands that makes them garbage. Names of new objects carry the number
//	    of the claim, or of the last purge since, of whoever puts them, and a mirror that has read entries of others claims
//	    anew. So no deletion that comes late, of whomever, meets an object that somebody has put since. An object is named
//	    again only if a version that stands names it, or if it is a piece with a number that no purge entry has come after:
//	    a later one would stand where the version's entry is about to be put, which is planned anew then (J1).
//	J7  A rollback is first that of the directory, then that of the remote: the head moves to the nearest ancestor of the
//	    current version that stands before anything is uploaded.
//	J8  A snapshot is put when many entries have come since the last one, the more versions stand the more, but never many
//	    more than a reader may get at a time. Entries before the last but one are removed, as fast as they come,
//	    from the oldest on, but for those by which readers find the end (sequence_read.go): a reader gets some 8 log n
//	    entries, many at a time, and those since the last snapshot.
//	J9  A remote of an older release has no sequence; its newest version counts as its head. Whoever writes to it first
//	    begins the sequence with what he has found there, and then gives STORE a format that older releases refuse. None
//	    of these may write to it at that time.
//	J10 HINT is no part of the truth. A reader believes what it says of the sequence only if SEQUENCE and the entry that it
//	    ends at are those that it names, with that checksum, and then reads on from there as J3 says. So it is with a listing of
//	    the entries, which tells readers where the end may be if the hint does not: what it shows is got, back to a snapshot.
//	    Where neither is of use a reader searches.
//
// # Reading where it lies
//
// A [RemoteReader] reads versions on a remote without a directory, by ranged gets of the pieces that they consist of, and
// shows them as files of a directory that is nowhere ([RemoteDirectory]). It knows after three
// answers of the remote what a version consists of: STORE and HINT; SEQUENCE and the entries behind the hint; the witness of
// J3, and the version's object. With a hint that is old or missing these are four: the entries that a listing shows come
// before the last one. It changes nothing, and nobody knows of it: a version may be purged under it, which it
// finds out by an object that is missing and a sequence in which the version stands no more.
//
// # Streams
//
// A version travels as one run of bytes: an envelope with the magic "HLSTREA\n" and format 1, and the parts that the envelope
// names, one behind the other. A newer format has the same envelope and is ErrFormat.
//
//	0    8  length of the stream, this envelope included
//	8   16  store id
//	24   8  hash seed
//	32   8  segment bytes
//	40   8  base: the version that the stream continues; 0 = none, all of the version comes along
//	48   8  nonce of the base's manifest; 0 = none
//	56   8  length of the version's manifest file, followed by it
//	...  8  number of stretches of log, ascending, followed by as many of
//	         8  start   8  end
//	...  8  number of index files, followed by as many of
//	         8  id
//
// The parts are the stretches of log, cut where segments end, and then the index files, in the order in which the manifest
// names them. A part comes in chunks of 1 MiB, the last one shorter, each followed by
//
//	8  xxh3 of the chunk, seeded with the checksum of the envelope plus the number of chunks before it
//
// so that a chunk of another stream, or from another place, is no chunk of this one. What a chunk holds is moved as it
// lies: damage that records and index files carry in the source is found where they are read, as it would be there. The
// manifest says with which files its version is whole, so that a new kind of index file comes along by being named there.
//
// While a whole version is being imported, NONE is 3; a directory with that and without a manifest is not opened, and the
// next import clears it away. A delta adds files to a store whose current version is its base, and the manifest last; what other
// versions there have of it is compared, and not written again.
//
// # Invariants
//
//	V1  A manifest that is in place is whole, and everything it refers to was durable before it.
//	V2  Ids ascend in the order of commits. Parents have lower ids than their children.
//	V3  A delta starts at or above the end of everything committed before it: no committed byte is written again.
//	V4  The current version has a manifest; it is never purged.
//	V5  Highest id and highest log end never go down, purges, rollbacks and crashes included.
//	V6  After every crash the directory equals its state before or after the call that was interrupted.
//	V7  A call that reported failure leaves nothing that a later crash could bring to life once any later call has
//	    succeeded: what is in doubt is settled first (see Dir.settle).
//	V8  A file is an orphan only when every manifest could be read and none of them refers to it, nor the manifest that
//	    a pinned version had when it was pinned.
//	V9  Two lineages that hold the same byte of the log in the same way share everything below it: the byte was
//	    written once, by one live store, whose lineage below it was fixed by then.
//	V10 The runs of a version continue its image: the first begins at or below where its replay does and ends above
//	    it, each other where the one before ends, and none ends beyond the cut. Shares stand for what is in neither
//	    (package index, I17), and not for log beyond the cut. [Index.Replay] tells what log a recovery replays.
//	V11 A call that changes the directory finds STORE, HEAD and the manifest of the current version as this process has
//	    read or written them last, or changes nothing: the directory may have been emptied, or filled with other files,
//	    by somebody who does not know that it is open.
//	V12 Nothing that was in a directory when it was opened is changed before TakeOver, which the opener calls when it has
//	    found the version that it opens at whole. Files that no version referred to then stay until this opening has
//	    committed a version, and new log begins behind all log that is there (LogEnd).
//	V13 A store is made only where no file of a store is, or only such as a crash of that leaves. A store without a
//	    manifest is empty only if NONE says so and HEAD was never written again.
//	V14 A manifest is written to a temporary file, and synced, while the log that it refers to is being made durable. It gets
//	    its name, by which alone it is a version, after both have succeeded; then the directory is synced, and then the call
//	    returns nil. So a commit waits for two syncs, one after the other, and not for three. No opening reads a temporary
//	    file; whoever writes that manifest next overwrites it.
package checkpoint
