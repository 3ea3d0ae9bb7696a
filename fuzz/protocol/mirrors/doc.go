// Package mirrors explores a model of two stores that write to one remote: every order in which the calls of the remote
// can follow each other, with a pause before each, answers of puts that are lost, deletions that come late, rollbacks, and
// listings that show the past. Like package protocol it is a pure function from a state to the next ones, searched
// breadth first.
//
// # What is modelled
//
// The truth of a remote is a sequence of entries with dense numbers, each made by a put-if-absent: claim, version, head
// (where a rollback went), purge. The rules J1 to J9 of package checkpoint say how it is used; the hint of J10, which
// only tells readers where to begin, is not modelled. Of the five verbs of a remote the model has put-if-absent of an entry,
// get of an entry, put and delete of a piece; and the listing for readers that trust it. Each is a step of its own. A
// put-if-absent may take effect and lose its answer, then it is made again.
//
//	mirrors   two, each with a script of commits, rollbacks, retentions, and openings anew
//	versions  the base, which both have, and those that the scripts commit; each needs a piece of its own and, unless it
//	          has been compacted, its parent's
//	pieces    named by their content and by the number of the claim under which they were put, or of the last purge since
//	copies    mirrors of a directory that is another's: each operation is a process, which may end at any moment; the next one
//	          finds by a listing what pieces it has left, and names those that J6 lets it
//	sweeps    which delete, after a purge entry, the pieces that no version names and that have a lower number
//	trimming  of entries that nobody needs any more, oldest first
//
// A mirror of the model claims anew when it has read a purge of another, one of the code when it has read anything of another.
// Ids of versions never collide in the model; the code refuses another version of the same id. What an entry says about
// the state before it (snapshots) is left out: the model's mirrors remember what they have read.
//
// # What must hold
//
// In every state:
//
//	X1  Every version that stands, and was not purged, has all its pieces.
//	X2  Whoever adds a version or moves the head has moved it last, or has gone to where it was; and a version is put upon
//	    one of its ancestors, if any of them is there.
//	X3  After a claim with a newer epoch no entry of an older one stands.
//	X4  Only ancestors of the head are purged, never the head.
//	X5  What was acknowledged stands in the sequence; an acknowledged rollback had moved the head.
//	X6  A reader finds the end of the sequence.
//
// And in the end everybody has come to the end of the script; a mirror that is alone has met no error.
package mirrors
