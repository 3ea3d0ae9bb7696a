//go:build armbe || arm64be || m68k || mips || mips64 || mips64p32 || ppc || ppc64 || s390 || s390x || shbe || sparc || sparc64

package mem

// Words go to disk as they stand in memory, and the formats are little-endian: see the package comment.
var _ = this_machine_is_big_endian_and_not_supported
