// Package mem is the only place of the project that imports unsafe, and that has assembly: a prefetch, the comparison of
// an index bucket as a whole, and, in the invariants build, which goroutine calls. It hands out memory that the garbage
// collector neither scans nor moves, and the few ways in which that memory may be touched.
//
// # Regions
//
// A [Region] is a piece of zeroed memory: an anonymous mapping, made by mmap-go, on linux private and with huge pages
// advised. Under the race tag it is a slice on the Go heap: the race detector does not see mapped memory, and an atomic
// that lives there makes no happens-before edge, so that users' correct programs would be reported.
//
// # Access
//
// Words that two goroutines may touch at once are read by [Load] and written by [StoreRelease] or through the typed
// atomic that [Word] returns. What they cost and promise:
//
//	              amd64              arm64 and others      race build
//	Load          plain load         load-acquire          atomic, seen by the detector
//	StoreRelease  plain store        store-release         atomic, seen by the detector
//	LoadPlain     plain load         plain load            atomic, seen by the detector
//	StorePlain    plain store        plain store           atomic, seen by the detector
//	CopyOut       memmove            acquire word by word  memmove, first and last word seen
//	CopyOutAll    memmove            acquire word by word  memmove, every word acquired
//	CopyIn        memmove            release word by word  memmove, first and last word seen
//
// The amd64 column is right because that machine orders stores among themselves and loads among themselves (Intel SDM
// volume 3, 9.2: only a load may pass an older store), because an aligned word is read and written whole, and because
// the Go compiler keeps every store, and every atomic load, in program order. What it does not promise is that a load
// waits for an older store: whoever needs that takes a read-modify-write of [Word], or package epoch.
//
// The race build copies by memmove on amd64 only; elsewhere it copies word by word, each atomic. A copy of whole records
// takes CopyOutAll: what orders its reader after the writers are words somewhere in the middle.
//
// CopyOut and CopyOutAll may return a mixture of old and new bytes while somebody writes. It is for readers that check a sequence
// number before and after, see word.State.
//
// # Byte order
//
// A word in memory and the same word on disk are the same bytes, and those are little-endian. The package does not
// compile for a big-endian machine.
package mem
