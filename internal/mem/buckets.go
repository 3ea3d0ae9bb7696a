package mem

// Buckets says where the buckets of an index are: 1<<Bits of them, 64 bytes each, Mask being one less than their number.
// It is here for the sake of FindTag, which is assembly; package index has the layout of a bucket.
type Buckets struct {
	Base Ptr
	Mask uint64
	Bits uint
}

// Ring says where the circular log is in memory: address a is at Base + a & Mask.
type Ring struct {
	Base Ptr
	Mask uint64
}
