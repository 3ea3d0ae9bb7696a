package hlog

import (
	"encoding/binary"
	"math"
	"reflect"
)

// pointerIn returns the path of a pointer within t, "" when there is none.
func pointerIn(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return ""
	case reflect.Array:
		return pointerIn(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if at := pointerIn(t.Field(i).Type); at != "" {
				return t.Field(i).Name + " " + at
			}
		}
		return ""
	}
	return t.String()
}

// canonicalRange is a run of bytes of a key type that counts.
type canonicalRange struct {
	off, n int
	float  int // 4 or 8: floats of so many bytes, in which -0 is 0
}

// canonicalRanges returns the ranges of t that count; nil when all of its bytes do, as they are.
func canonicalRanges(t reflect.Type) []canonicalRange {
	rs := appendRanges(nil, t, 0)
	if len(rs) == 1 && rs[0].float == 0 && rs[0].n == int(t.Size()) {
		return nil
	}
	return rs
}

func appendRanges(rs []canonicalRange, t reflect.Type, off int) []canonicalRange {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.Name != "_" {
				rs = appendRanges(rs, f.Type, off+int(f.Offset))
			}
		}
		return rs
	case reflect.Array:
		for i := range t.Len() {
			rs = appendRanges(rs, t.Elem(), off+i*int(t.Elem().Size()))
		}
		return rs
	}
	r := canonicalRange{off: off, n: int(t.Size())}
	switch t.Kind() {
	case reflect.Float32, reflect.Complex64:
		r.float = 4
	case reflect.Float64, reflect.Complex128:
		r.float = 8
	}
	if n := len(rs); n > 0 && rs[n-1].float == r.float && rs[n-1].off+rs[n-1].n == off {
		rs[n-1].n += r.n
		return rs
	}
	return append(rs, r)
}

// canonicalise copies the ranges from b to c, which is zero.
func canonicalise(c, b []byte, ranges []canonicalRange) {
	for _, r := range ranges {
		to := c[r.off : r.off+r.n]
		copy(to, b[r.off:])
		switch r.float {
		case 4:
			for ; len(to) > 0; to = to[4:] {
				if math.Float32frombits(binary.LittleEndian.Uint32(to)) == 0 {
					clear(to[:4])
				}
			}
		case 8:
			for ; len(to) > 0; to = to[8:] {
				if math.Float64frombits(binary.LittleEndian.Uint64(to)) == 0 {
					clear(to[:8])
				}
			}
		}
	}
}
