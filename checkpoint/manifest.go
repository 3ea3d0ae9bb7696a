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

// ImageRef names the index image a recovery starts from.
type ImageRef struct {
	ID         uint64
	Bytes      int64  // size of the file
	ReplayFrom uint64 // log address from which on the log must be replayed over it
}

// RunRef names a run: a file that spares a recovery from replaying a stretch of the log behind the image.
type RunRef struct {
	ID       uint64 // images have ids of the same kind
	Bytes    int64  // size of the file
	From, To uint64 // log addresses: what belongs to the lineage in [From, To)
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
	Image           *ImageRef // nil: the whole lineage is replayed
	Runs            []RunRef  // what is to be replayed over the image, see V10
	Aux             []byte    // the store's own; opaque here
}

// indexFile is a file that m names in images/. Two that are equal have the same content, if they are of one history: an
// id alone may be used again when no version refers to it any more.
type indexFile struct {
	id       uint64
	bytes    int64
	from, to uint64
	run      bool
}

// indexFiles returns the image and the runs of m.
func (m *Manifest) indexFiles() []indexFile {
	var files []indexFile
	if i := m.Image; i != nil {
		files = append(files, indexFile{id: i.ID, bytes: i.Bytes, from: i.ReplayFrom})
	}
	for _, r := range m.Runs {
		files = append(files, indexFile{r.ID, r.Bytes, r.From, r.To, true})
	}
	return files
}

// LogBytes returns the number of log bytes of the lineage.
func (m *Manifest) LogBytes() int64 {
	var n int64
	for _, e := range m.Extents {
		n += int64(e.End - e.Start)
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
	case m.Image != nil && (m.Image.Bytes < 0 || m.Image.ReplayFrom > m.Cut):
		return fmt.Sprintf("image of %d bytes, to be replayed from %d, cut %d", m.Image.Bytes, m.Image.ReplayFrom, m.Cut)
	}
	if bad := m.checkRuns(); bad != "" {
		return bad
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

// checkRuns returns what is wrong with the runs (V10), "" when nothing is.
func (m *Manifest) checkRuns() string {
	if len(m.Runs) > 0 && m.Image == nil {
		return "runs without an image"
	}
	for i, r := range m.Runs {
		if r.Bytes < 0 || r.From >= r.To || r.To > m.Cut {
			return fmt.Sprintf("run %d of %d bytes, [%d, %d), cut %d", i, r.Bytes, r.From, r.To, m.Cut)
		}
		if i == 0 && (r.From > m.Image.ReplayFrom || r.To <= m.Image.ReplayFrom) || i > 0 && r.From != m.Runs[i-1].To {
			return fmt.Sprintf("run %d [%d, %d) does not continue the image or the run before", i, r.From, r.To)
		}
	}
	return ""
}

const (
	extentBytes = 32
	runBytes    = 32

	runsFormat = 2 // of manifests and remote versions that have runs
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
	if len(m.Runs) > 0 {
		b = appendUint64s(b, uint64(len(m.Runs)))
		for _, r := range m.Runs {
			b = appendUint64s(b, r.ID, uint64(r.Bytes), r.From, r.To)
		}
	}
	if len(b)+frameBytes > maxManifest {
		return nil, fmt.Errorf("checkpoint: manifest of version %d: %d bytes, at most %d are allowed",
			m.Version, len(b)+frameBytes, maxManifest)
	}
	return seal(magicManifest, m.format(), b), nil
}

// format returns the lowest format that can express m: a release that knows no runs reads what has none.
func (m *Manifest) format() uint32 {
	if len(m.Runs) > 0 {
		return runsFormat
	}
	return 1
}

// DecodeManifest takes the file of a manifest apart. It is total: any bytes give a valid manifest or an error, and
// no more memory is taken than there are bytes. file is the name used in errors.
func DecodeManifest(file string, b []byte) (*Manifest, error) {
	payload, format, err := unseal(file, magicManifest, runsFormat, b)
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
	if format >= runsFormat {
		m.Runs = make([]RunRef, r.count(runBytes))
		if len(m.Runs) == 0 {
			r.fail("format %d without runs", format)
		}
	}
	for i := range m.Runs {
		m.Runs[i] = RunRef{ID: r.uint64(), Bytes: r.int64(), From: r.uint64(), To: r.uint64()}
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
	c.Runs = slices.Clone(m.Runs)
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
