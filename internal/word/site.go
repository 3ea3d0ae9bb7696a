package word

// Site says of a record where it lies, how long it is, and whether it deletes its key. The index on disk keeps one for
// each record that an entry may lead to.
//
//	63          62                    45 44                     0
//	+-----------+-----------------------+------------------------+
//	| tombstone |         size          |   address >> 3         |
//	+-----------+-----------------------+------------------------+
//
// The size is in units of 8 bytes up to 1 MiB. Beyond it is in units of 128 bytes, rounded up, and has its highest bit
// set:
//
//	62     61        45
//	+------+-----------+
//	|coarse|   units   |
//	+------+-----------+
type Site uint64

const (
	siteSizeBits    = 18
	siteSizeMask    = 1<<siteSizeBits - 1
	siteCoarse      = 1 << (siteSizeBits - 1)
	siteTombstone   = 1 << 63
	fineUnitShift   = 3
	coarseUnitShift = 7
	maxFineSize     = siteCoarse << fineUnitShift
	maxSiteSize     = (siteCoarse - 1) << coarseUnitShift
)

// The three fields fill the word exactly, and a record that fills the largest page can be told.
const (
	_ = uint(64-(1+siteSizeBits+packedBits)) + uint((1+siteSizeBits+packedBits)-64)
	_ = uint(maxSiteSize - 1<<MaxPageBits)
)

// MakeSite returns the site of a record of size bytes at a.
func MakeSite(a Address, size int, tombstone bool) Site {
	n := uint64(size+1<<fineUnitShift-1) >> fineUnitShift
	if size >= maxFineSize {
		n = siteCoarse | min(uint64(size+1<<coarseUnitShift-1)>>coarseUnitShift, siteCoarse-1)
	}
	s := Site(n<<packedBits | a.pack())
	if tombstone {
		s |= siteTombstone
	}
	return s
}

// JoinSite returns the site with the given offset, in units of [Align], and kind.
func JoinSite(offset, kind uint64) Site {
	return Site(kind&1<<63 | kind>>1<<packedBits | offset&packedMask)
}

// Address returns where the record lies.
func (s Site) Address() Address { return unpack(uint64(s)) }

// Size returns how long it is, in bytes, rounded up beyond 1 MiB.
func (s Site) Size() int64 {
	n := int64(s >> packedBits & siteSizeMask)
	if n&siteCoarse != 0 {
		return n &^ siteCoarse << coarseUnitShift
	}
	return n << fineUnitShift
}

// Tombstone reports whether the record deletes its key.
func (s Site) Tombstone() bool { return s&siteTombstone != 0 }

// Offset returns the address in units of [Align].
func (s Site) Offset() uint64 { return uint64(s) & packedMask }

// Kind returns size and tombstone as one number below 2^[SiteKindBits], small for small records.
func (s Site) Kind() uint64 { return uint64(s)>>packedBits&siteSizeMask<<1 | uint64(s)>>63 }

// SiteKindBits is the width of a kind.
const SiteKindBits = siteSizeBits + 1
