package checkpoint

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

const (
	// MaxCookie is the largest cookie, in bytes.
	MaxCookie = 16 << 20
	// maxAux bounds what the store keeps for itself in a manifest.
	maxAux = 16 << 20
	// maxManifest bounds a manifest file; a longer one is refused before it is read.
	maxManifest = 64 << 20
	// maxLog is the end of the address space: addresses have 48 bits.
	maxLog = 1 << 48
)

// Extent is a range of log bytes that belongs to a lineage: [Start, End), of which [Fuzzy, End) only in part.
// Records at Fuzzy or above that were written in version LogVersion+1 were past the version's cut and do not belong.
// Start < End and Start <= Fuzzy <= End; Fuzzy == End means that all of it belongs.
type Extent struct {
	Start, End, Fuzzy uint64
	LogVersion        uint64
}

// Manifest describes one version. It is immutable once it was committed: what Dir returns must not be changed.
type Manifest struct {
	StoreID         [16]byte
	Version, Parent Version
	ParentSum       uint64 // checksum of the parent's manifest, which makes ancestry provable; Commit sets it
	Nonce           uint64 // random, so that no two commits anywhere make equal manifests; Commit sets it
	Created         time.Time
	Cookie          []byte // at most MaxCookie bytes

	Extents         []Extent // the whole lineage, ascending and disjoint; see Extend
	DeltaStart, Cut uint64   // the log written for this version; Cut is the end of everything it refers to
	DeltaBytes      int64    // bytes that this took
	LogVersion      uint64   // the store's own version counter; versions on different branches may have the same
	PageBytes       int
	Index                  // what spares a recovery from replaying the lineage
	Aux             []byte // the store's own; opaque here

	// HashSeed and SegmentBytes are those of the store's Identity, so that no version is lost with the file STORE.
	// Commit sets them. 0 segment bytes: the manifest was written by a release that did not keep them.
	HashSeed     uint64
	SegmentBytes int64
}

// identity returns the identity of the store that m is a version of, if m holds it.
func (m *Manifest) identity() (id Identity, ok bool) {
	return Identity{StoreID: m.StoreID, HashSeed: m.HashSeed, SegmentBytes: m.SegmentBytes}, m.SegmentBytes != 0
}

// oneToOne is Identity.OneToOne of the store that m is a version of.
func (m *Manifest) oneToOne() bool {
	id, ok := m.identity()
	return ok && id.OneToOne()
}

// LogBytes returns the number of log bytes of the lineage.
func (m *Manifest) LogBytes() int64 {
	var n int64
	for _, e := range m.Extents {
		n += int64(e.End - e.Start)
	}
	return n
}

// Bytes returns the size of all that the version consists of: its log and its index files.
func (m *Manifest) Bytes() int64 {
	n := m.LogBytes()
	for _, f := range m.Index.files() {
		n += f.bytes
	}
	return n
}

// check returns what is wrong with m as a sentence, "" when nothing is.
func (m *Manifest) check() string {
	switch {
	case m.Version == 0:
		return "version 0 does not exist"
	case m.Parent >= m.Version:
		return fmt.Sprintf("parent %d is not below version %d", m.Parent, m.Version)
	case m.DeltaStart > m.Cut || m.Cut > maxLog:
		return fmt.Sprintf("delta [%d, %d) is no range of the log", m.DeltaStart, m.Cut)
	case m.DeltaBytes < 0 || m.PageBytes < 0:
		return "negative size"
	case len(m.Cookie) > MaxCookie:
		return fmt.Sprintf("cookie of %d bytes, at most %d are allowed", len(m.Cookie), MaxCookie)
	case len(m.Aux) > maxAux:
		return fmt.Sprintf("aux of %d bytes, at most %d are allowed", len(m.Aux), maxAux)
	case m.SegmentBytes == 0 && m.HashSeed != 0:
		return "a hash seed without a segment size"
	}
	if bad := m.Index.check(m.Cut); bad != "" {
		return bad
	}
	if id, ok := m.identity(); ok {
		if err := id.validate(); err != nil {
			return err.Error()
		}
	}
	var end uint64
	for i, e := range m.Extents {
		if e.Start < end || e.Start >= e.End || e.Fuzzy < e.Start || e.Fuzzy > e.End || e.End > m.Cut {
			return fmt.Sprintf("extent %d [%d, %d) fuzzy %d after %d, cut %d", i, e.Start, e.End, e.Fuzzy, end, m.Cut)
		}
		end = e.End
	}
	return ""
}

const (
	extentBytes = 32

	runsFormat     = 2 // of manifests and remote versions that have runs
	sharesFormat   = 3 // of those that have shares
	identityFormat = 4 // of those that hold the store's identity
	coldFormat     = 5 // of those that have cold files, too
	hashFormat     = 6 // of those of stores whose hash tells keys of 8 bytes apart, with cold files or without
)

// EncodeManifest returns the bytes of m's file, or an error that says which field of m is out of range.
func EncodeManifest(m *Manifest) ([]byte, error) {
	if bad := m.check(); bad != "" {
		return nil, fmt.Errorf("checkpoint: manifest of version %d: %s", m.Version, bad)
	}
	var created, hasImage uint64
	if !m.Created.IsZero() {
		created = uint64(m.Created.UnixNano())
	}
	var image ImageRef
	if m.Image != nil {
		hasImage, image = 1, *m.Image
	}
	b := append([]byte(nil), m.StoreID[:]...)
	b = appendUint64s(b, uint64(m.Version), uint64(m.Parent), m.ParentSum, m.Nonce, created, m.DeltaStart, m.Cut,
		uint64(m.DeltaBytes), m.LogVersion, uint64(m.PageBytes), hasImage, image.ID, uint64(image.Bytes), image.ReplayFrom)
	b = appendUint64s(b, uint64(len(m.Extents)))
	for _, e := range m.Extents {
		b = appendUint64s(b, e.Start, e.End, e.Fuzzy, e.LogVersion)
	}
	b = append(appendUint64s(b, uint64(len(m.Cookie))), m.Cookie...)
	b = append(appendUint64s(b, uint64(len(m.Aux))), m.Aux...)
	format := m.format()
	b = m.Index.append(b, format)
	if format >= identityFormat {
		b = appendUint64s(b, m.HashSeed, uint64(m.SegmentBytes))
	}
	if len(b)+envelopeBytes > maxManifest {
		return nil, fmt.Errorf("checkpoint: manifest of version %d: %d bytes, at most %d are allowed",
			m.Version, len(b)+envelopeBytes, maxManifest)
	}
	return wrap(magicManifest, format, b), nil
}

// format returns the lowest format that can express m.
func (m *Manifest) format() uint32 {
	switch {
	case m.oneToOne():
		return hashFormat
	case len(m.Cold) > 0:
		return coldFormat
	case m.SegmentBytes != 0:
		return identityFormat
	}
	return m.Index.format()
}

// DecodeManifest takes the file of a manifest apart. It is total: any bytes give a valid manifest or an error, and
// no more memory is taken than there are bytes. file is the name used in errors.
func DecodeManifest(file string, b []byte) (*Manifest, error) {
	payload, format, err := unwrap(file, magicManifest, Format, b)
	if err != nil {
		return nil, err
	}
	r := newReader(file, payload)
	m := new(Manifest)
	copy(m.StoreID[:], r.bytes(uint64(len(m.StoreID))))
	m.Version, m.Parent, m.ParentSum, m.Nonce = Version(r.uint64()), Version(r.uint64()), r.uint64(), r.uint64()
	if created := int64(r.uint64()); created != 0 {
		m.Created = time.Unix(0, created).UTC()
	}
	m.DeltaStart, m.Cut, m.DeltaBytes = r.uint64(), r.uint64(), r.int64()
	m.LogVersion, m.PageBytes = r.uint64(), int(r.int64())
	hasImage, image := r.uint64(), ImageRef{ID: r.uint64(), Bytes: r.int64(), ReplayFrom: r.uint64()}
	switch {
	case hasImage == 1:
		m.Image = &image
	case hasImage > 1 || image != ImageRef{}:
		r.fail("image %v with flag %d", image, hasImage)
	}
	if n := r.count(extentBytes); n > 0 {
		m.Extents = make([]Extent, n)
	}
	for i := range m.Extents {
		m.Extents[i] = Extent{Start: r.uint64(), End: r.uint64(), Fuzzy: r.uint64(), LogVersion: r.uint64()}
	}
	m.Cookie, m.Aux = r.blob(), r.blob()
	m.Index.read(r, format)
	if format >= identityFormat {
		if m.HashSeed, m.SegmentBytes = r.uint64(), r.int64(); m.SegmentBytes == 0 {
			r.fail("format %d without a segment size", format)
		}
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if bad := m.check(); bad != "" {
		return nil, corrupt(file, headerBytes, "%s", bad)
	}
	return m, nil
}

// Clone returns a copy that shares nothing with m.
func (m *Manifest) Clone() *Manifest {
	c := *m
	c.Runs, c.Shares, c.Cold = slices.Clone(m.Runs), slices.Clone(m.Shares), slices.Clone(m.Cold)
	c.Extents, c.Cookie, c.Aux = slices.Clone(m.Extents), slices.Clone(m.Cookie), slices.Clone(m.Aux)
	if m.Image != nil {
		image := *m.Image
		c.Image = &image
	}
	return &c
}

func appendUint64s(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}
