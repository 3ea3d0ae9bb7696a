// Package reclog is the record log: one endless log of records, of which the newest part is in memory, in page frames, and
// all up to there is in segment files. It moves the regions of the log, writes them out, makes them durable and reads them
// back. It knows where a record begins and ends and whether its checksum is right; it does not know which version of the
// store a record belongs to, and it has no index.
//
// # Regions
//
// Addresses are byte offsets. Five of them divide the log; they move in this picture to the right:
//
//	begin            head        safeReadOnly  readOnly             tail   limit
//	  |  on disk       |  read-only    |  fuzzy    |    mutable       |      |
//	  +----------------+---------------+-----------+------------------+------+
//	  read from disk,   copied to the   sealed and   updated in place   open for
//	  outside the epoch tail to change  copied       under their lock   allocation
//
// The frames are a ring of virtual memory: the frame of an address is its low bits. What moves the regions is the pager
// ([Log.Turn]); its file says in which order. An allocation that finds no open page waits for it, outside the epoch, and
// that is all the back-pressure there is.
//
//	H2  A record is changed in place only by an operation that saw it at or above readOnly. safeReadOnly follows
//	    readOnly after every operation that saw the old readOnly has left: below it nothing changes any more, except
//	    that lock and seal bits may still flicker, which no reader of the disk sees.
//	H3  A frame is reused only after its page has been written, head has passed it, and every operation that saw the
//	    old head has left. Memory is touched inside the epoch only.
//
// # To the disk
//
// The flusher copies pieces of log, of a page at most, gives every record its checksum (W3) and writes them to segment
// files of a fixed size, in whole blocks of 4 KiB: segment n holds the bytes [n*size, (n+1)*size) of the log. A large piece
// is written in parts, which end in the middle of records, while the rest of it gets its checksums.
//
//	H8  A log that is made durable ends on a block boundary, and the next record begins a new block: no block that was
//	    made durable for a version is written again.
//	D4  Pieces are counted as flushed in the order of the log, each when it, in all its parts, and all before it have
//	    been written. When a flush returns none is on its way: neither a buffer nor a frame is in use.
//	D5  What lies below [Durability.Durable] was written, then synced, and so were the names of its files after they were
//	    made, by syncs that succeeded.
//	D6  A sync that has failed, of a file or of the names, is never made good by a later one: the system may have dropped
//	    what it was to write, and does not tell again. So all of it is done again before the next sync: what lies above
//	    Durable is written once more, and files that were made since are given their names once more. If some of it is
//	    not in memory any more, it is lost: nothing becomes durable from then on ([ErrNotDurable]), until the owner of the
//	    log abandons it ([Log.Abandon]).
//	D8  A sync that was begun ahead of whoever needs it counts when it has ended, and for what was written before it began. It
//	    has failed if it has for one file; D6 holds for it. Who syncs, and who lets go of files, waits for it first.
//
// # From the disk
//
// A [Reader] reads one record at a time, together with those of other goroutines; a [Fetcher] reads many for one goroutine;
// a [Sweep] reads many that are known beforehand, in the order of their addresses, with fewer reads than records; a [Prober]
// follows many chains by one; a [Walker] goes over a stretch of log, on disk and in memory, and may have a [ReadAhead]. What
// comes back was verified.
//
//	D1  A slot of a Fetcher, with its buffer and a reference to its segment, is taken from submit until the queue has
//	    returned it. A Fetcher whose owner goes away early is drained before somebody else gets it.
//	D2  A single read that has been queued has a leader that will submit it, and one that was submitted has a reaper:
//	    who takes a role over sees under a lock whether somebody has it.
//	D3  A window of a ReadAhead has what was on disk below the head when its read began, and nothing else: what lies
//	    above may not have been written yet. Between Stop and the next read no window has anything.
//	D7  A half of a Sweep's buffer, with the references to its segments, is taken from the submit of its reads until all
//	    of them have ended and their records have been told of. What a read has brought of blocks that nobody wants is
//	    not looked at: it may lie above the head. No half has anything when Read returns.
//
// # Locks
//
// flushMu (one flush or sync at a time) comes before pageMu (one change of regions at a time); package lock has the whole
// order.
package reclog
