// Package ledger keeps the books of a store: what its next version is made from, which versions are on their way, and
// what keeps which file on disk. It is the only caller of what changes a checkpoint.Dir. It knows addresses, ids and
// manifests, and sees neither a record nor what an index file says.
//
// # Terms
//
//	lineage         what the next version is made from: the version that the store has gone on from, and where the log
//	                begins that no version has yet ([Lineage])
//	pending version a version that has been begun and has not been answered for yet ([Pending])
//	standing index  the index files that the next version will name ([Standing])
//	keeper          whatever keeps a file from being removed
//	hold            keeps log from an address on, for somebody who reads it ([Hold])
//	claim           keeps index files that are being made, and all that they are made of ([Claim])
//
// # What keeps a file
//
// These are the keepers. A file that none of them names is garbage.
//
//	keeper                    names                                           until
//	a version                 the log and the index files of its manifest     it has been purged, and its manifest is gone
//	a pin on a version        the index files of the manifest that was read   it is taken off; nor is the version purged
//	a fetch from a remote     what the version that comes in will name        that is a version
//	the lineage               the log of the store as it is now               a commit or a restore puts another in its place
//	the standing index        its files                                       Publish or a restore puts others in their place
//	a pending version         the cold files that it was begun with           it is a version, or has failed
//	a manifest being written  the index files that it names                   the call of checkpoint.Dir has returned
//	a hold                    the log from its address on                     Release
//	a claim                   the files it makes, the files it reads, and     Publish or Drop has returned
//	                          the log from its address on
//
// The first three are the business of package checkpoint, which has them under a lock of its own (Dir.Picture); the
// others are here. Versions come and go by the calls of [Ledger] that change the directory: Commit, Amend, SetHead and
// Purge. Two doors lead to the rest: [Ledger.Hold] for those who read log, and [Ledger.Claim] for those who make files.
//
// # Locks
//
//	B1  One lock, mu, guards the lineage, the pending versions, the standing index, holds and claims. It is never held
//	    during I/O nor while anything is waited for; whoever holds it may take the state lock of the Dir, which is such a
//	    lock, too. So nobody who asks or tells the ledger something waits for a disk: no operation, no scan, no
//	    BeginCheckpoint.
//	B2  Another lock, writing, is held by whoever changes manifests, from reading the state under mu, through the I/O
//	    without mu, to writing the state under mu. It is taken before mu. So manifests are written one after the other,
//	    each from what the one before has left. A commit holds it over the sync of its log, too, beside which the manifest
//	    is written (V14), but not while the log is written. Nobody but those who write manifests waits for it, and a
//	    collection before it begins, which makes sure that the directory is still the store's (V11).
//
// # Collection
//
// The collector lists the files, takes a picture of all keepers, and removes the files of the list that are not in the
// picture. While it lists and removes, nobody waits for it but another collection and a fetch.
//
//	B3  Garbage stays garbage. Whoever begins to keep a file takes it over, under mu or the Dir's lock, from a keeper that
//	    names it at that moment; or the file is new, and its id or address was never in use. A fetch, which may come upon
//	    a file that is there and that nothing keeps, waits for the collection that is under way.
//	B4  A file that passes from one keeper to another is named by the new one before it is named no more by the old one.
//	    Where both are here, that happens under mu at once.
//	B5  The picture is taken under mu, that of the Dir included, so that it shows one moment; and after the files were
//	    listed. A file that is removed was there, and was garbage, at a moment after that, hence (B3) is wanted by nobody
//	    for ever. A file that was made later is not in the list.
//
// How B3 holds, keeper by keeper. A hold is taken together with the lineage, under mu: its holder reads log of that
// lineage only, which the lineage names; or log of versions that are there after the hold was taken, and so were before.
// A claim reads standing files, which it learns of under the same mu, and log of the lineage. Files that it makes have
// ids above all that are, or ever were, in use. A version that is committed names log of the lineage and standing
// files. A version that is amended names standing files. A restore goes on from a version that is pinned until the
// lineage and the standing index are that version's.
//
// How B4 holds. A commit first lists the version in the Dir, then moves the lineage. A claim is published under mu. A
// manifest on its way is noted under the mu under which its index files were found standing, and is struck off after the
// Dir has it. A view has its version pinned all the while.
//
// # Versions on their way
//
//	B6  Pending versions stand in the order in which they were begun, and are committed in that order. A phase only moves
//	    forward (see [Phase]), in one place, under mu.
//	B7  Log below the common end is in every version that will be committed, unless the store is taken back: the common
//	    end is the tail, or where the tail was when the oldest version was begun that is neither committed nor has
//	    failed. A version gets its place in the log and in the order under mu.
//	B8  The lineage changes in two ways only: a version whose manifest is durable becomes the parent of the next one, or
//	    a restore puts another in its place after HEAD is durable. A Lineage is immutable; who has it has all of it.
//	B9  A restore ends an era. What was claimed in an era is published in that era or not at all: it was made of a log, and
//	    of files, that the versions to come do not descend from.
package ledger
