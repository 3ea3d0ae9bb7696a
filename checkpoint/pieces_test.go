package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

func testReplica(t testing.TB) *replica {
	m := testManifest()
	manifest, err := EncodeManifest(m)
	if err != nil {
		t.Fatal(err)
	}
	return &replica{
		m: m, manifest: manifest, sum: envelopeSum(manifest), lists: []listRef{{sum: 5, start: 4096, end: 8192, generation: 3}},
		log:    []piece{{4096, 8192, 1, 0}, {12288, 20480, 2, 7}},
		image:  []piece{{0, 1 << 19, 3, 0}, {1 << 19, 1 << 20, 4, 0}},
		others: [][]piece{{{0, 700, 5, 0}}, {{0, 512, 6, 0}, {512, 900, 7, 0}}, {{0, 600, 8, 0}}, {{0, 800, 9, 0}}},
	}
}

func TestReplica_RoundTrip(t *testing.T) {
	want := testReplica(t)
	encoded := encodeReplica(want)
	want.object = envelopeSum(encoded)
	got, err := decodeReplica("f", encoded)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	pieces, err := decodeList("f", encodeList(want.log))
	if err != nil || !reflect.DeepEqual(pieces, want.log) {
		t.Errorf("got %v, %v, want %v", pieces, err, want.log)
	}
}

func TestReplica_RefusesNonsense(t *testing.T) {
	for name, change := range map[string]func(*replica){
		"empty piece":           func(r *replica) { r.log[0].end = 4096 },
		"huge piece":            func(r *replica) { r.log[1].end += maxPiece },
		"past the log":          func(r *replica) { r.log[1] = piece{maxLog, maxLog + 8, 2, 0} },
		"descending":            func(r *replica) { r.log[0], r.log[1] = r.log[1], r.log[0] },
		"twice":                 func(r *replica) { r.log[1] = r.log[0] },
		"image begins late":     func(r *replica) { r.image = r.image[1:] },
		"image ends early":      func(r *replica) { r.image = r.image[:1] },
		"image too long":        func(r *replica) { r.image[1].end += 8 },
		"image with a gap":      func(r *replica) { r.image[1].start += 8 },
		"image that overlaps":   func(r *replica) { r.image[1].start -= 8 },
		"share is missing":      func(r *replica) { r.others = r.others[:3] },
		"one share too many":    func(r *replica) { r.others = append(r.others, r.others[0]) },
		"run ends early":        func(r *replica) { r.others[1] = r.others[1][:1] },
		"share ends early":      func(r *replica) { r.others[3][0].end-- },
		"damaged manifest":      func(r *replica) { r.manifest[40] ^= 1 },
		"no manifest":           func(r *replica) { r.manifest = nil },
		"image without a match": func(r *replica) { r.image = nil },
	} {
		r := testReplica(t)
		change(r)
		if _, err := decodeReplica("f", encodeReplica(r)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReplica feeds the decoders of what lies on a remote.
func FuzzReplica(f *testing.F) {
	r := testReplica(f)
	f.Add(encodeReplica(r), true)
	f.Add(encodeList(r.log), true)
	f.Add(encodeReplica(r)[:100], false)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		for _, magic := range []string{magicRemote, magicCopy, magicList} {
			b := append([]byte(nil), b...)
			if whole && len(b) >= envelopeBytes {
				copy(b, magic)
				binary.LittleEndian.PutUint64(b[16:], uint64(len(b)))
				resum(b)
			}
			if r, err := decodeReplica("f", b); err == nil {
				if bytes.HasPrefix(b, []byte(magicCopy)) && !bytes.Equal(encodeReplica(r), b) {
					t.Fatal("does not encode as what it was decoded from")
				}
			} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			if pieces, err := decodeList("f", b); err == nil {
				if binary.LittleEndian.Uint32(b[8:]) == 2 && !bytes.Equal(encodeList(pieces), b) {
					t.Fatal("does not encode as what it was decoded from")
				}
			} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
		}
	})
}

// Lists are in the order of the log, however far apart, and each is there once, also among others that begin where it does.
func TestSortLists(t *testing.T) {
	far, a, b := listRef{1, 1 << 40, 1<<40 + 1, 0}, listRef{2, 4096, 8192, 0}, listRef{3, 4096, 8192, 1}
	got := sortLists([]listRef{far, b, a, b, a, far, a})
	if want := []listRef{a, b, far}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestOverlapping(t *testing.T) {
	pieces := []piece{{0, 10, 1, 0}, {5, 30, 2, 0}, {10, 20, 3, 0}, {40, 50, 4, 0}, {50, 60, 5, 0}}
	for _, c := range []struct {
		set  []Range
		want []uint64 // sums
	}{
		{nil, nil},
		{[]Range{{0, 1}}, []uint64{1}},
		{[]Range{{10, 11}}, []uint64{2, 3}},
		{[]Range{{30, 40}}, nil},
		{[]Range{{29, 41}}, []uint64{2, 4}},
		{[]Range{{8, 9}, {25, 26}, {55, 99}}, []uint64{1, 2, 5}},
		{[]Range{{60, 70}}, nil},
	} {
		var got []uint64
		for _, p := range overlapping(pieces, &ExtentSet{ranges: c.set}) {
			got = append(got, p.sum)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %v, want %v", c.set, got, c.want)
		}
	}
}
