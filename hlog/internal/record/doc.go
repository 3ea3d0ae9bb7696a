// Package record is one record of the log: where its words are, how it is read, written and changed in memory, and what
// it looks like on disk. The package sees a pointer into memory, or bytes from disk; it knows neither the log nor the
// index nor the version of the store.
//
// A record is a header of two words, of three when the key or the value is large, then the key and the value, each
// padded to whole words (package word has the bits):
//
//	byte  0   Link     previous address, version, form          never changes once the record is published
//	      8   State    lock, seal, tombstone, lengths, sequence  what a change in place changes
//	     16   Sizes    lengths of a large record                only if Link says large
//	  16/24   key      padded with zeros to a multiple of 8 bytes
//	    ...   value    valueLen bytes of the capacity, which is a multiple of 8
//
// A record is small if its key has at most [word.MaxSmallKey] bytes and its value at most [word.MaxSmallValue] bytes of
// capacity; a key and a value of 8 bytes take 32. A filler is one word that covers a gap, before a page's end or a cut.
//
// Readers and writers of one record meet in its State word:
//
//	    read                     change in place              replace by a copy
//	s = State                s = State                     s = State
//	s locked: again          s locked or sealed: again     s locked or sealed: again
//	copy the value           CAS(s, s + lock): else again  CAS(s, s + seal): else again
//	State == s: else again   write the value               publish the copy, or store s again
//	                         store s + 1, unlocked
//
// The sequence in State counts the changes, so that s never comes back while somebody could still compare with it: that
// takes 2^32 changes of one record between two loads of a reader.
//
// In code the first line of each column is [See], and what it returns, a [Seen], is the only thing that the rest can be
// done with: it reads, [Door.Lock] makes of it the [Locked] that changes it, and [Seen.Seal] the [Sealed].
//
//	W1  A value that was read in place counts only if State was unlocked before it was read, and is the same after.
//	W2  An allocation whose publication failed is marked invalid and never used again. It stays a well-formed record,
//	    which no chain reaches.
//	W3  On disk every record and filler carries a checksum over its address and its bytes, so that neither a changed bit
//	    nor a whole record in the wrong place goes unnoticed. Nothing is used before it has been verified.
//	W4  A sealed record is not changed in place. Whoever has sealed it either publishes a record that supersedes it, or
//	    gives the state back that it has found.
//	W5  A published record is changed through a [Door] only, which tests where it is, which version it is of, and its
//	    state. No other package makes a State or writes to a frame; internal/lint is a test that holds them to it.
package record
