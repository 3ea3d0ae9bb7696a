package checkpoint

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"
)

// testManifest returns a manifest that uses every field.
func testManifest() *Manifest {
	return &Manifest{
		StoreID: [16]byte{1, 2, 3}, Version: 7, Parent: 5, ParentSum: 99, Nonce: 77,
		Created: time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC), Cookie: []byte("offset 12"),
		Extents:    []Extent{{4096, 8192, 8000, 3}, {12288, 20480, 20480, 6}},
		DeltaStart: 16384, Cut: 20480, DeltaBytes: 4096, LogVersion: 6, PageBytes: 1 << 16,
		Aux: []byte{0, 1},
		Index: Index{
			Image: &ImageRef{ID: 4, Bytes: 1 << 20, ReplayFrom: 12288},
			Runs:  []RunRef{{ID: 5, Bytes: 700, From: 8192, To: 16384}, {ID: 9, Bytes: 900, From: 16384, To: 17000}},
			Shares: []ShareRef{
				{ID: 12, Bytes: 600, First: 0, Last: 1 << 63, From: 0, To: 17000, Level: 3, Triples: 20, Live: 640},
				{ID: 11, Bytes: 800, First: 0, Last: math.MaxUint64, From: 17000, To: 20472, Triples: 30, Live: 960},
			},
			ReplayFrom: 20472,
		},
		HashSeed: 42, SegmentBytes: 8192,
	}
}

func TestManifest_RoundTrip(t *testing.T) {
	for name, m := range map[string]*Manifest{
		"full":      testManifest(),
		"smallest":  {Version: 1},
		"no index":  without(noShares, noRuns),
		"no image":  without(noImage),
		"format 3":  without(noIdentity),
		"format 2":  without(noIdentity, noShares),
		"format 1":  without(noIdentity, noShares, noRuns),
		"no image3": without(noIdentity, noImage),
	} {
		b, err := EncodeManifest(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := DecodeManifest("f", b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: got %+v, want %+v", name, got, m)
		}
		if c := m.Clone(); !reflect.DeepEqual(c, m) {
			t.Errorf("%s: clone is %+v, want %+v", name, c, m)
		}
	}
}

// without returns testManifest without some of what it has.
func without(parts ...func(m *Manifest)) *Manifest {
	m := testManifest()
	for _, takeOut := range parts {
		takeOut(m)
	}
	return m
}

func noIdentity(m *Manifest) { m.HashSeed, m.SegmentBytes = 0, 0 }
func noShares(m *Manifest)   { m.Shares, m.ReplayFrom = nil, 0 }
func noRuns(m *Manifest)     { m.Runs = nil }
func noImage(m *Manifest)    { m.Image, m.Runs = nil, nil }

// A release that does not know the newest format reads what has nothing of it, and refuses the rest.
func TestManifest_FormatIsTheLowestThatWillDo(t *testing.T) {
	for m, want := range map[*Manifest]byte{
		testManifest(): 4, without(noShares, noRuns): 4, without(noIdentity): 3, without(noIdentity, noImage): 3,
		without(noIdentity, noShares): 2, without(noIdentity, noShares, noRuns): 1,
	} {
		b, err := EncodeManifest(m)
		if err != nil || b[magicBytes] != want {
			t.Errorf("%d runs: format %d, %v, want %d", len(m.Runs), b[magicBytes], err, want)
		}
	}
	b, err := EncodeManifest(without(noIdentity, noShares, noRuns))
	if err != nil {
		t.Fatal(err)
	}
	b[magicBytes] = 2
	requireCorrupt(t, resum(b))
}

func TestManifest_RefusesNonsense(t *testing.T) {
	for name, change := range map[string]func(*Manifest){
		"version 0":                    func(m *Manifest) { m.Version, m.Parent = 0, 0 },
		"parent not below":             func(m *Manifest) { m.Parent = m.Version },
		"delta backwards":              func(m *Manifest) { m.DeltaStart = m.Cut + 8 },
		"cut past the address space":   func(m *Manifest) { m.Cut = maxLog + 1 },
		"negative delta":               func(m *Manifest) { m.DeltaBytes = -1 },
		"negative page":                func(m *Manifest) { m.PageBytes = -1 },
		"negative image":               func(m *Manifest) { m.Image.Bytes = -1 },
		"replay from past the cut":     func(m *Manifest) { m.Image.ReplayFrom = m.Cut + 8 },
		"runs without an image":        func(m *Manifest) { m.Image = nil },
		"negative run":                 func(m *Manifest) { m.Runs[1].Bytes = -1 },
		"run past the cut":             func(m *Manifest) { m.Runs[1].To = m.Cut + 8 },
		"empty run":                    func(m *Manifest) { m.Runs[1].To = m.Runs[1].From },
		"gap between runs":             func(m *Manifest) { m.Runs[1].From += 8 },
		"runs that overlap":            func(m *Manifest) { m.Runs[1].From -= 8 },
		"run begins behind the image":  func(m *Manifest) { m.Runs[0].From = m.Image.ReplayFrom + 8 },
		"run ends before the image":    func(m *Manifest) { m.Runs[0].To = m.Image.ReplayFrom; m.Runs = m.Runs[:1] },
		"negative share":               func(m *Manifest) { m.Shares[0].Bytes = -1 },
		"share past the cut":           func(m *Manifest) { m.Shares[1].To = m.Cut + 8 },
		"share of no log":              func(m *Manifest) { m.Shares[1].To = m.Shares[1].From },
		"share of no hashes":           func(m *Manifest) { m.Shares[0].First = m.Shares[0].Last + 1 },
		"shares replayed past the cut": func(m *Manifest) { m.ReplayFrom = m.Cut + 8 },
		"replay over no shares":        func(m *Manifest) { m.Shares = nil },
		"cookie too long":              func(m *Manifest) { m.Cookie = make([]byte, MaxCookie+1) },
		"aux too long":                 func(m *Manifest) { m.Aux = make([]byte, maxAux+1) },
		"a seed without segments":      func(m *Manifest) { m.SegmentBytes = 0 },
		"an odd segment size":          func(m *Manifest) { m.SegmentBytes = 100 },
		"empty extent":                 func(m *Manifest) { m.Extents[0].End, m.Extents[0].Fuzzy = 4096, 4096 },
		"extents descend":              func(m *Manifest) { m.Extents[0], m.Extents[1] = m.Extents[1], m.Extents[0] },
		"extents overlap":              func(m *Manifest) { m.Extents[1].Start = 8184 },
		"fuzzy below its extent":       func(m *Manifest) { m.Extents[1].Fuzzy = 12280 },
		"fuzzy above its extent":       func(m *Manifest) { m.Extents[0].Fuzzy = 8200 },
		"extent past the cut":          func(m *Manifest) { m.Cut, m.DeltaStart, m.Index = 16384, 16384, Index{} },
		"more extents than there fits": func(m *Manifest) { m.Extents = manyExtents(maxManifest / extentBytes); m.Cut = maxLog },
	} {
		m := testManifest()
		change(m)
		if _, err := EncodeManifest(m); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func manyExtents(n int) []Extent {
	extents := make([]Extent, n)
	for i := range extents {
		at := uint64(i) * 16
		extents[i] = Extent{Start: at, End: at + 8, Fuzzy: at + 8}
	}
	return extents
}

// resum puts back the checksum that a test's change to a file broke.
func resum(b []byte) []byte {
	binary.LittleEndian.PutUint64(b[len(b)-sumBytes:], xxh3.Hash(b[:len(b)-sumBytes]))
	return b
}

func TestManifest_EveryDamagedByte(t *testing.T) {
	good, err := EncodeManifest(testManifest())
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, mask := range []byte{1, 0x80, 0xff} {
			b := append([]byte(nil), good...)
			b[i] ^= mask
			requireCorrupt(t, b)
		}
		requireCorrupt(t, good[:i])
	}
	requireCorrupt(t, append(good[:len(good):len(good)], 0))
}

func requireCorrupt(t *testing.T, b []byte) {
	t.Helper()
	m, err := DecodeManifest("some/file", b)
	var c *CorruptionError
	if m != nil || !errors.Is(err, ErrCorrupt) || !errors.As(err, &c) || c.File != "some/file" || c.Offset > int64(len(b)) {
		t.Fatalf("got %v, %v, want a CorruptionError in some/file", m, err)
	}
}

func TestManifest_NewerFormat(t *testing.T) {
	b, err := EncodeManifest(testManifest())
	if err != nil {
		t.Fatal(err)
	}
	b[magicBytes] = Format + 1
	if _, err := DecodeManifest("some/file", resum(b)); !errors.Is(err, ErrFormat) || errors.Is(err, ErrCorrupt) ||
		!strings.Contains(err.Error(), "some/file") {
		t.Errorf("got %v, want ErrFormat in some/file", err)
	}
	b[magicBytes] = 0
	if _, err := DecodeManifest("some/file", resum(b)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("format 0: got %v, want ErrCorrupt", err)
	}
}

// FuzzManifest feeds a decoder bytes with a valid checksum, so that the fuzzer gets past it.
func FuzzManifest(f *testing.F) {
	for _, m := range []*Manifest{testManifest(), without(noIdentity), without(noIdentity, noShares), {Version: 1}} {
		b, err := EncodeManifest(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b[:len(b)/2], false)
		huge := append([]byte(nil), b...)
		binary.LittleEndian.PutUint64(huge[headerBytes+128:], 1<<60) // number of extents
		f.Add(huge, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		b = append([]byte(nil), b...)
		if whole && len(b) >= envelopeBytes {
			copy(b, magicManifest)
			binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
			resum(b)
		}
		m, err := DecodeManifest("f", b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		again, err := EncodeManifest(m)
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		if string(again) != string(b) {
			t.Fatalf("%x decodes to what encodes as %x", b, again)
		}
	})
}

func TestHeadAndIdentity_EveryDamagedByte(t *testing.T) {
	h := head{target: 3, floor: 9, maxEnd: 1 << 20}
	id := Identity{StoreID: [16]byte{5}, HashSeed: 6, SegmentBytes: 1 << 20}
	if got, err := decodeHead("f", encodeHead(h)); err != nil || got != h {
		t.Errorf("got %v, %v, want %v", got, err, h)
	}
	if got, err := decodeIdentity("f", encodeIdentity(id)); err != nil || got != id {
		t.Errorf("got %v, %v, want %v", got, err, id)
	}
	for _, good := range [][]byte{encodeHead(h), encodeIdentity(id)} {
		for i := range good {
			b := append([]byte(nil), good...)
			b[i] ^= 0x10
			if _, err := decodeHead("f", b); !errors.Is(err, ErrCorrupt) {
				t.Errorf("head with byte %d flipped: %v", i, err)
			}
			if _, err := decodeIdentity("f", b); !errors.Is(err, ErrCorrupt) {
				t.Errorf("identity with byte %d flipped: %v", i, err)
			}
		}
	}
	for name, bad := range map[string]head{
		"target above floor": {target: 4, floor: 3},
		"end past the log":   {maxEnd: maxLog + 1},
	} {
		if _, err := decodeHead("f", encodeHead(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []int64{0, -4096, 4097, 2 * maxLog} {
		if _, err := decodeIdentity("f", encodeIdentity(Identity{SegmentBytes: bad})); !errors.Is(err, ErrCorrupt) {
			t.Errorf("segment size %d: %v", bad, err)
		}
	}
}
