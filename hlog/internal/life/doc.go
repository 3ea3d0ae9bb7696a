// Package life has the phases of a store, from the beginning of Open to the end of Close.
//
//	Opening -------------> Open ---> Closing ---> Closed
//	    |  \               ^           ^
//	    |   +--> Filling --+-----------+
//	    |           |
//	    +-----------+----> Failed
//
//	Opening  Open has the store to itself and recovers it
//	Filling  Open has returned, and the directory is being filled from a remote: reads go there, writes are kept in memory, and all
//	         else waits. It is closed from here when log and index are there, and those writes could not be moved into them
//	Open     operations, checkpoints, restores and the background run
//	Closing  no operation begins; those under way end, or find the store closed; the background ends; the last version
//	         is committed, unless Abort has closed the store
//	Closed   memory, queues and files are given back
//	Failed   the same, of a store that could not be opened, or was closed before it was filled
//
// Everything that has to know asks the one [Life] of its store:
//
//	an operation                    Closing: does not begin (it asks the control word, which moves with the phase)
//	a session that was made in      Filling: reads on the remote, writes to memory, or waits
//	that phase
//	who waits outside, for a page   Closing: stops waiting
//	a call of the API               Closing: is refused
//	a walk over frames              Closing: touches no frame; it asks inside the epoch, which Close drains afterwards
//	who uses the index outside      Closing: loads nothing; it asks under the lock that Close takes afterwards
//	a round of background work      Closing: its context ends
//	a read of a file                Closed: opens none, and is not queued with others
//
//	Y1  The phase moves along the arrows only, in [Life.Move]. Of two who would move it to the same phase one does.
//	Y2  Who asks does so under a lock or inside the epoch, and whoever moved the phase takes that lock, or drains the
//	    epoch, before he relies on the answer.
package life
