package checkpoint

import (
	"fmt"
	"strconv"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Version is the id of a checkpoint. 0 is never one: it stands for "no parent", and as an argument for "the current
// one".
type Version uint64

// String returns the id in decimal.
func (v Version) String() string { return strconv.FormatUint(uint64(v), 10) }

// Info describes a committed version.
type Info struct {
	Version Version
	Parent  Version   // the version it was made from; 0 = none
	Created time.Time // when its cut was taken, by the clock of the machine; UTC
	Cookie  []byte    // the caller's bytes; not to be changed

	DeltaBytes     int64 // bytes of log that it added to its parent, without those that only moved what was there
	LogBytes       int64 // bytes of log that it consists of, its parent's included
	ImageBytes     int64 // size of the index image and the runs it uses, which it may share; 0 = none
	ExclusiveBytes int64 // bytes of log, image and runs that no other version here uses: what purging it would free
	Current        bool  // the directory opens at this version
	Place          Place // where it lies
}

// Place says where a version lies: Here, OnRemote, or both of them together.
type Place uint8

const (
	// Here: in the directory.
	Here Place = 1 << iota
	// OnRemote: on the remote, as far as that was seen.
	OnRemote
)

// String returns "here", "remote" or "both".
func (p Place) String() string {
	return [...]string{"nowhere", "here", "remote", "both"}[p&(Here|OnRemote)]
}

// Identity is what a store keeps for life. It is written when its directory is made, and is the same in every copy of
// it.
type Identity struct {
	StoreID      [16]byte // random
	HashSeed     uint64   // of key hashes; index images depend on it
	SegmentBytes int64    // bytes of log per segment file; a positive multiple of 4096
}

const identityBytes = 32

// OneToOne reports whether the store's hash tells all keys of 8 bytes apart. Stores that were made by earlier releases, whose
// seed is random, have another hash. That a random seed is the one that SeedOf returns is as likely as that damage goes
// unnoticed by a checksum.
func (id Identity) OneToOne() bool { return id.HashSeed == SeedOf(id.StoreID) }

// SeedOf returns the hash seed of a store that OneToOne is true of. It is as random as the id.
func SeedOf(storeID [16]byte) uint64 { return xxh3.HashSeed(storeID[:], oneToOneSeed) }

const oneToOneSeed = 0x656e6f6f74656e6f

func (id Identity) validate() error {
	if id.SegmentBytes <= 0 || id.SegmentBytes%fsx.BlockSize != 0 || id.SegmentBytes > maxLog {
		return fmt.Errorf("checkpoint: segment size %d is not a positive multiple of %d", id.SegmentBytes, fsx.BlockSize)
	}
	return nil
}

func encodeIdentity(id Identity) []byte {
	b := append(make([]byte, 0, identityBytes), id.StoreID[:]...)
	b = appendUint64s(b, id.HashSeed, uint64(id.SegmentBytes))
	return wrap(magicStore, 1, b)
}

// sequenceFormat is the format of STORE on a remote that has a sequence of entries. Its payload is that of format 1; older
// releases keep away from it.
const sequenceFormat = 2

func encodeRemoteIdentity(id Identity) []byte {
	b := append(make([]byte, 0, identityBytes), id.StoreID[:]...)
	return wrap(magicStore, sequenceFormat, appendUint64s(b, id.HashSeed, uint64(id.SegmentBytes)))
}

func decodeIdentity(file string, b []byte) (id Identity, err error) {
	id, _, err = decodeIdentityIn(file, 1, b)
	return id, err
}

// decodeIdentityIn decodes the identity of a file, or object, of a format up to newest.
func decodeIdentityIn(file string, newest uint32, b []byte) (id Identity, format uint32, err error) {
	payload, format, err := unwrap(file, magicStore, newest, b)
	if err != nil {
		return id, 0, err
	}
	r := newReader(file, payload)
	copy(id.StoreID[:], r.bytes(uint64(len(id.StoreID))))
	id.HashSeed, id.SegmentBytes = r.uint64(), r.int64()
	if err := r.done(); err != nil {
		return id, 0, err
	}
	if err := id.validate(); err != nil {
		return id, 0, corrupt(file, headerBytes, "%v", err)
	}
	return id, format, nil
}
