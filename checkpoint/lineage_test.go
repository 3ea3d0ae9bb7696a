package checkpoint

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestExtentSet_AgainstBitmap(t *testing.T) {
	const size = 64
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s ExtentSet
		var model [size]bool
		for range 40 {
			a, b := rng.Uint64N(size+1), rng.Uint64N(size+1) // b below a is empty and must change nothing
			if rng.IntN(2) == 0 {
				s.Add(a, b)
				for i := a; i < b; i++ {
					model[i] = true
				}
			} else {
				s.Subtract(a, b)
				for i := a; i < b; i++ {
					model[i] = false
				}
			}
			checkSet(t, &s, model[:])
			a, b = rng.Uint64N(size), rng.Uint64N(size+1)
			anyIn, allIn := false, true
			for i := a; i < b; i++ {
				anyIn, allIn = anyIn || model[i], allIn && model[i]
			}
			if s.Intersects(a, b) != anyIn || s.Covers(a, b) != allIn {
				t.Fatalf("%v: [%d, %d) intersects %v, covers %v; want %v, %v", s.Ranges(), a, b, s.Intersects(a, b), s.Covers(a, b), anyIn, allIn)
			}
		}
	}
}

func checkSet(t *testing.T, s *ExtentSet, model []bool) {
	t.Helper()
	bytes := 0
	for i, in := range model {
		if in {
			bytes++
		}
		if s.Contains(uint64(i)) != in {
			t.Fatalf("%v: contains %d is %v", s.Ranges(), i, !in)
		}
	}
	if s.Bytes() != int64(bytes) || s.Empty() != (bytes == 0) {
		t.Fatalf("%v: %d bytes, want %d", s.Ranges(), s.Bytes(), bytes)
	}
	for i, r := range s.Ranges() {
		if r.Start >= r.End || i > 0 && s.Ranges()[i-1].End >= r.Start {
			t.Fatalf("%v: not ascending with gaps", s.Ranges())
		}
	}
}

func TestExtentSet_Sets(t *testing.T) {
	var a, b ExtentSet
	a.Add(0, 10)
	b.Add(2, 4)
	b.Add(8, 12)
	c := a.Clone()
	c.SubtractSet(b)
	if want := []Range{{0, 2}, {4, 8}}; !reflect.DeepEqual(c.Ranges(), want) {
		t.Errorf("got %v, want %v", c.Ranges(), want)
	}
	c.AddSet(b)
	if want := []Range{{0, 12}}; !reflect.DeepEqual(c.Ranges(), want) {
		t.Errorf("got %v, want %v", c.Ranges(), want)
	}
	if want := []Range{{0, 10}}; !reflect.DeepEqual(a.Ranges(), want) {
		t.Errorf("the original changed to %v", a.Ranges())
	}
}

func TestExtend(t *testing.T) {
	parent := &Manifest{LogVersion: 3, DeltaStart: 150, Cut: 200, Extents: []Extent{{100, 200, 180, 3}}}
	// Empty deltas after a rollback. The store of the second one had reopened at an older version before it came here.
	inherited := &Manifest{LogVersion: 5, DeltaStart: 200, Cut: 200, Extents: []Extent{{100, 200, 180, 3}}}
	sameVersion := &Manifest{LogVersion: 3, DeltaStart: 200, Cut: 200, Extents: []Extent{{100, 200, 180, 3}}}
	clean := &Manifest{LogVersion: 3, DeltaStart: 100, Cut: 200, Extents: []Extent{{100, 200, 200, 3}}}
	for name, c := range map[string]struct {
		parent *Manifest
		delta  Extent
		live   bool
		want   []Extent
	}{
		"first":                         {nil, Extent{100, 200, 200, 1}, true, []Extent{{100, 200, 200, 1}}},
		"first, empty":                  {nil, Extent{100, 100, 100, 1}, true, nil},
		"live":                          {parent, Extent{200, 300, 290, 4}, true, []Extent{{100, 300, 290, 4}}},
		"live with a gap":               {parent, Extent{208, 300, 290, 4}, true, []Extent{{100, 200, 200, 3}, {208, 300, 290, 4}}},
		"live, empty":                   {parent, Extent{200, 200, 200, 4}, true, []Extent{{100, 200, 200, 3}}},
		"after a rollback":              {parent, Extent{500, 600, 600, 7}, false, []Extent{{100, 200, 180, 3}, {500, 600, 600, 7}}},
		"reopened":                      {parent, Extent{200, 300, 300, 7}, false, []Extent{{100, 200, 180, 3}, {200, 300, 300, 7}}},
		"reopened, empty":               {parent, Extent{200, 200, 200, 7}, false, []Extent{{100, 200, 180, 3}}},
		"reopened, clean":               {clean, Extent{200, 300, 300, 7}, false, []Extent{{100, 300, 300, 7}}},
		"live after inheriting":         {inherited, Extent{200, 300, 300, 6}, true, []Extent{{100, 200, 180, 3}, {200, 300, 300, 6}}},
		"live after inheriting, empty":  {inherited, Extent{200, 200, 200, 6}, true, []Extent{{100, 200, 180, 3}}},
		"live after inheriting, same":   {sameVersion, Extent{200, 300, 300, 4}, true, []Extent{{100, 200, 180, 3}, {200, 300, 300, 4}}},
		"live, clean, delta all fuzzy":  {clean, Extent{200, 300, 200, 4}, true, []Extent{{100, 300, 200, 4}}},
		"after a rollback, clean, gap":  {clean, Extent{500, 600, 600, 7}, false, []Extent{{100, 200, 200, 3}, {500, 600, 600, 7}}},
		"after a rollback, then empty":  {clean, Extent{500, 500, 500, 7}, false, []Extent{{100, 200, 200, 3}}},
		"inherited, after another undo": {inherited, Extent{500, 600, 550, 9}, false, []Extent{{100, 200, 180, 3}, {500, 600, 550, 9}}},
	} {
		if got := Extend(c.parent, c.delta, c.live); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if want := []Extent{{100, 200, 180, 3}}; !reflect.DeepEqual(parent.Extents, want) {
		t.Errorf("the parent changed to %v", parent.Extents)
	}
}

func TestTrim(t *testing.T) {
	extents := []Extent{{100, 200, 180, 3}, {300, 400, 400, 5}}
	for begin, want := range map[uint64][]Extent{
		0:   {{100, 200, 180, 3}, {300, 400, 400, 5}},
		100: {{100, 200, 180, 3}, {300, 400, 400, 5}},
		150: {{150, 200, 180, 3}, {300, 400, 400, 5}},
		190: {{190, 200, 190, 3}, {300, 400, 400, 5}},
		200: {{300, 400, 400, 5}},
		250: {{300, 400, 400, 5}},
		399: {{399, 400, 400, 5}},
		400: {},
	} {
		if got := Trim(extents, begin); !reflect.DeepEqual(got, want) {
			t.Errorf("%d: got %v, want %v", begin, got, want)
		}
	}
}

func TestDivergence(t *testing.T) {
	m := func(extents ...Extent) *Manifest { return &Manifest{Extents: extents} }
	fuzzy := m(Extent{0, 500, 450, 3})
	for name, c := range map[string]struct {
		a, b *Manifest
		want uint64
	}{
		"nothing":                        {m(), m(), 0},
		"empty and not":                  {m(), fuzzy, 0},
		"equal, clean":                   {m(Extent{0, 500, 500, 3}), m(Extent{0, 500, 500, 3}), 500},
		"equal, fuzzy":                   {fuzzy, fuzzy, 500},
		"child that went on":             {m(Extent{0, 900, 880, 4}), fuzzy, 450},
		"child after a rollback":         {m(Extent{0, 500, 450, 3}, Extent{900, 990, 990, 7}), fuzzy, 500},
		"two children":                   {m(Extent{0, 500, 450, 3}, Extent{900, 990, 990, 7}), m(Extent{0, 900, 900, 4}), 450},
		"ancestor, compacted descendant": {m(Extent{400, 900, 900, 4}), m(Extent{0, 500, 500, 3}), 500},
		"compacted past the ancestor":    {m(Extent{600, 900, 900, 4}), m(Extent{0, 500, 500, 3}), 0},
		"compacted past the fork": {
			m(Extent{500, 600, 600, 4}, Extent{700, 900, 900, 6}), m(Extent{0, 300, 300, 2}, Extent{600, 700, 700, 5}), 0},
		"split differently":   {m(Extent{0, 50, 50, 1}, Extent{50, 80, 80, 2}), m(Extent{0, 80, 80, 2}), 80},
		"other exceptions":    {m(Extent{0, 100, 60, 3}), m(Extent{0, 100, 60, 4}), 60},
		"all of it excepted":  {m(Extent{0, 100, 0, 3}), m(Extent{0, 100, 100, 3}), 0},
		"deeper exceptions":   {m(Extent{0, 100, 60, 3}, Extent{100, 200, 200, 5}), m(Extent{0, 100, 60, 3}, Extent{100, 150, 150, 5}), 150},
		"exception resolved,": {m(Extent{0, 100, 60, 3}, Extent{100, 200, 200, 5}), m(Extent{0, 90, 90, 5}), 60},
	} {
		if got := divergence(c.a, c.b); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
		if got := divergence(c.b, c.a); got != c.want {
			t.Errorf("%s, swapped: got %d, want %d", name, got, c.want)
		}
	}
}
