package fsx

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSpans_AgainstSet(t *testing.T) {
	const blocks = 64
	r := rand.New(rand.NewPCG(1, 2))
	var v spans
	model := [blocks]bool{}
	for step := range 20_000 {
		from := r.Int64N(blocks)
		s := span{from, from + r.Int64N(blocks-from+1)}
		missing := int64(0)
		for b := s.from; b < s.to; b++ {
			if !model[b] {
				missing++
			}
		}
		if got := v.missing(s); got != missing {
			t.Fatalf("step %d: missing%v of %v = %d, want %d", step, s, v, got, missing)
		}
		if r.IntN(4) > 0 && s.to-s.from < 6 {
			v.add(s)
			for b := s.from; b < s.to; b++ {
				model[b] = true
			}
		} else if r.IntN(4) == 0 {
			v.cut(s.from)
			clear(model[s.from:])
		}
		var want spans
		for b := range int64(blocks) {
			switch last := len(want) - 1; {
			case !model[b]:
			case last >= 0 && want[last].to == b:
				want[last].to++
			default:
				want = append(want, span{b, b + 1})
			}
		}
		if !slices.Equal(v, want) {
			t.Fatalf("step %d: %v, want %v", step, v, want)
		}
		if n := want.missing(span{0, blocks}); v.count() != blocks-n {
			t.Fatalf("step %d: count %d, want %d", step, v.count(), blocks-n)
		}
	}
}

// Copies of copies, all written to: none may see another's bytes.
func TestContent_CopiesAreApart(t *testing.T) {
	const size = 5 * BlockSize
	r := rand.New(rand.NewPCG(3, 4))
	contents := []*content{}
	models := [][]byte{}
	first := newContent()
	contents, models = append(contents, &first), append(models, make([]byte, size))
	for step := range 3000 {
		i := r.IntN(len(contents))
		switch r.IntN(6) {
		case 0:
			m := contents[i].copy()
			if len(contents) < 8 {
				contents, models = append(contents, &m), append(models, bytes.Clone(models[i]))
			} else {
				j := r.IntN(len(contents))
				contents[j], models[j] = &m, bytes.Clone(models[i])
			}
		case 1:
			at := r.IntN(size)
			contents[i].truncate(int64(at))
			clear(models[i][at:])
		default:
			off := r.IntN(size - 1)
			p := bytes.Repeat([]byte{byte(step)}, 1+r.IntN(size-off-1+1)%3000)
			p = p[:min(len(p), size-off)]
			contents[i].write(p, int64(off))
			copy(models[i][off:], p)
		}
		for j := range contents {
			got := make([]byte, size)
			contents[j].read(got, 0)
			if !bytes.Equal(got, models[j]) {
				t.Fatalf("step %d: content %d differs after a change of content %d", step, j, i)
			}
		}
	}
}
