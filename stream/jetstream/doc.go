// Package hlogstream runs a stateful worker over the partitions of a stream: the state of each partition is a HybridLog
// store, its messages come from NATS JetStream (or another log, see [Source]), and its versions go to a remote, so that any
// worker can take a partition over where the last one left it.
//
//	worker, err := hlogstream.New(hlogstream.Config{
//		Name:       "worker-1",
//		Dir:        "state",
//		Partitions: 8,
//		Source:     hlogstream.FromStreams(js, "events"),
//		Outputs:    hlogstream.ToStreams(js, "totals"),
//		Leases:     leases, // a KV bucket
//		Remote:     func(p int) (checkpoint.Remote, error) { ... },
//		Process:    func(b *hlogstream.Batch) error { ... },
//	})
//	err = worker.Run(ctx)
//
// # Exactly once
//
// Every effect of a message is in the same version as the number of the message: the state that Process changes, what it
// emits, and the cookie with the sequence up to which the source was read. A worker that takes a partition over opens its
// newest version and reads on behind the cookie. So what was done after that version is done again, on the state before it.
//
//	X11  A version holds all effects of the messages up to the sequence in its cookie, and none of later ones: it is cut
//	    between two batches. A partition that ends in the middle of one goes back to its last version, or closes without
//	    another when it cannot.
//	X12  What a batch emits is written to the store, numbered from 1 on (the outbox), and goes out when a version that has
//	    it is durable, on the remote as well. Message n goes to place n of the partition's output stream, by a publish that
//	    demands that n-1 is the last there. So it is there once, whoever publishes it, however often, and whenever: no
//	    window of deduplication has to be long enough.
//	X13  Two workers that take themselves for the owner of a partition (one was paused, its lease has expired) do no harm:
//	    the remote takes versions of the newer lease only (hlog.Options.RemoteEpoch is the revision of the lease), and
//	    nothing goes out that is not in such a version.
//	X14  A stream that has lost messages that were not read, or all that were, is refused: the first sequence is past the
//	    cookie's next, or the last is before the cookie. JetStream itself starts later in the one case and waits for ever
//	    in the other, without an error in either.
//
// # Partitions and leases
//
// A worker has a heartbeat and each partition a lease in one KV bucket. A lease is taken by an update of the revision that
// was seen, and renewed in the same way; it is free when its owner has said so, or when its revision has not changed for
// Config.LeaseTime by the clock of the one who looks. No clock is compared with another's, and no expiry of keys by the
// server is used: the time to live of a key goes with its first update, and over a restart of the server an expired key is
// there for another moment. Workers that live share the partitions evenly; one that has too many gives the rest up, after a
// last version.
//
// A partition is ready for messages before its directory is whole: what is not there yet is read from the remote. Versions, and
// outputs with them, begin when it is.
//
// A worker that loses a lease stops the partition, and drops the local directory if the remote has refused it: what it has
// is not the partition's state any more.
package hlogstream
