// Package fileset keeps versions of a set of immutable files: what every baseline engine stands on.
//
// An engine writes files once, from front to back, and finishes them. A version is a manifest: a small file that lists the
// files that make up the state. Committing a version writes only the files that are new and one manifest; restoring one
// reads the files it lists. Nothing that a manifest lists is ever written again.
//
// # Files
//
//	L<level>.<number>-<checksum>   an immutable file; the checksum is the xxh3 of all its bytes, so that a name never
//	                               stands for two contents, here or on a remote
//	L<level>.<number>.open         a file that is still being written; worthless after a crash
//	v<version>.manifest            a committed version
//	HEAD.manifest                  a committed state that has no version number: a new store, a close, a restore
//
// A manifest is text:
//
//	hybridlog-compare lsm 1        engine and format; another engine or a higher format is ErrFormat, nothing touched
//	sequence 7                     the manifest with the highest sequence is what the store opens at
//	version 12                     0 in HEAD
//	parent 9                       the version that this state grew from, 0 = none
//	highest 12                     no version up to this one may be used again
//	file L1.000003-0f1e… 4096      name and length, in the engine's order
//	xxh3 0123456789abcdef          of everything above
//
// # Invariants
//
//	S1  A manifest is written after every file in it, and their names, are durable (unless Options.NoSync).
//	S2  A file that a kept manifest lists, or may list after a write that failed half way, is not removed.
//	S3  A manifest's removal is durable before a file that it listed is removed.
//	S4  The directory always has at least one manifest: data without a manifest is damage, never an empty store.
//	S5  A file whose sync failed becomes part of a version only after its bytes were verified and written again: a later
//	    sync that succeeds says nothing about them.
//	S6  On a remote, objects precede the manifest that lists them, and follow it when they go.
//	S7  A version number is used at most once, also when its commit failed.
//
// # Remote
//
// A file is there in pieces of at most 8 MiB, L<level>.<number>-<checksum>.<piece>; a HEAD is HEAD-<sequence>.manifest, so
// that no object ever changes. A commit uploads the files that the remote lacks, then the manifest; then what retention dropped goes from the remote
// too. If that fails, the commit reports it, the local version stands and the next commit catches up. Opened with a
// remote that has versions, the set is at the newest of them: local versions that the remote does not have, or
// has with other content, are dropped after it has been fetched and verified whole.
package fileset
