// Package fsx is the seam through which every durable byte of the store passes: a small file system interface, the
// operating system behind it, and two doubles that misbehave on request.
//
//	[OS]       files of the operating system: O_DIRECT, fdatasync, fallocate, directory sync, flock
//	[CrashFS]  in memory; knows what was synced and what was not, and clones the disk as a power loss would leave it
//	[ErrFS]    around another file system; fails, shortens or holds the calls that a test names
//
// # What is durable when
//
// The doubles hold a store to the weakest reading of POSIX, and the code above relies on nothing stronger:
//
//	F1  Written bytes are durable after a Sync of that file returned nil that began after the write returned.
//	    Before that, every 512-byte sector of every write may or may not be on disk, each on its own.
//	F2  A file's size (grown by a write or by Allocate, set by Truncate) is a fact apart from its bytes, durable after
//	    the same Sync. Bytes that are not durable inside a size that is read as zero, or as what was there before.
//	F3  A name (created, renamed, removed, a directory made) is durable after a SyncDir of the directory that holds it.
//	    Sync of a file says nothing about its name, SyncDir of a directory nothing about the bytes in its files.
//	F4  A rename within one directory is atomic. One across directories is a link in one and an unlink in the other.
//	F5  After a Sync that returned an error, nothing written since the last good Sync may be believed durable, and a
//	    later Sync that returns nil does not change that: the kernel has dropped the dirty pages. The bytes must be
//	    written again. The same holds for SyncDir and names, which [Names] gives once more.
//
// Files of [OS] share the descriptors that the process may have: see F8 and F9 at descriptors.
//
// [Queue] has many reads, writes and syncs under way at a time; F6, F7 and F10, about what is in use meanwhile, stand
// there. The queues of a process share an [AIO].
//
// # Names
//
// Names are paths as package os takes them. [CrashFS] has one root: "a/b" and "/a/b" are the same file there.
package fsx
