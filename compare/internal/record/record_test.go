package record

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestAppend_ParseGivesItBack(t *testing.T) {
	for _, k := range []int{1, 2, 127, 128, 16383, 16384, MaxKey} {
		for _, v := range []int{0, 1, 127, 128, 1000, 1 << 21} {
			key, value := bytes.Repeat([]byte{'k'}, k), bytes.Repeat([]byte{'v'}, v)
			b := Append([]byte("before"), key, value)[6:]
			if len(b) != Size(k, v) {
				t.Fatalf("key %d value %d: %d bytes, Size says %d", k, v, len(b), Size(k, v))
			}
			gotKey, gotValue, n, err := Parse(append(b, "behind"...))
			if err != nil || n != len(b) || !bytes.Equal(gotKey, key) || !bytes.Equal(gotValue, value) {
				t.Fatalf("key %d value %d: parsed %d bytes, %v", k, v, n, err)
			}
			for _, cut := range []int{0, 1, 4, 5, len(b) / 2, len(b) - 1} {
				if _, _, _, err := Parse(b[:cut]); !errors.Is(err, ErrShort) {
					t.Fatalf("cut to %d of %d bytes: %v", cut, len(b), err)
				}
			}
		}
	}
}

func TestParse_EveryFlippedBitIsNoticed(t *testing.T) {
	b := Append(nil, []byte("some key"), []byte("and its value"))
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, _, _, err := Parse(b); err == nil {
				t.Errorf("bit %d of byte %d", bit, i)
			}
			b[i] ^= 1 << bit
		}
	}
	if _, _, _, err := Parse(make([]byte, 100)); !errors.Is(err, ErrDamaged) {
		t.Errorf("zeros: %v", err)
	}
}

func TestScanner_ReadsRecordsLongerThanItsBuffer(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var file []byte
	var values []int
	file = append(file, "head"...)
	for range 200 {
		n := r.IntN(100)
		if r.IntN(20) == 0 {
			n = scanBuffer - 20 + r.IntN(40)
		} else if r.IntN(50) == 0 {
			n = 5 * scanBuffer
		}
		values = append(values, n)
		file = Append(file, []byte("key"), bytes.Repeat([]byte{byte(n)}, n))
	}
	s := NewScanner(bytes.NewReader(file), 4, int64(len(file)))
	for i, n := range values {
		if !s.Next() {
			t.Fatalf("record %d of %d: %v", i, len(values), s.Err())
		}
		if len(s.Value()) != n || !bytes.Equal(file[s.Offset():][:len(s.Raw())], s.Raw()) {
			t.Fatalf("record %d has %d bytes at %d, want %d", i, len(s.Value()), s.Offset(), n)
		}
	}
	if s.Next() || s.Err() != nil || s.Offset() != int64(len(file)) {
		t.Fatalf("at the end: %v at %d of %d", s.Err(), s.Offset(), len(file))
	}
}

func TestScanner_StopsAtWhatIsNoRecord(t *testing.T) {
	whole := Append(Append(nil, []byte("a"), []byte("1")), []byte("b"), []byte("2"))
	first := Size(1, 1)
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"cut":     {string(whole[:len(whole)-1]), ErrShort},
		"zeros":   {string(whole[:first]) + strings.Repeat("\x00", 40), ErrDamaged},
		"flipped": {string(whole[:len(whole)-1]) + "3", ErrDamaged},
	} {
		s := NewScanner(strings.NewReader(c.file), 0, int64(len(c.file)))
		if !s.Next() || s.Next() {
			t.Errorf("%s: want one record", name)
		}
		if !errors.Is(s.Err(), c.want) || s.Offset() != int64(first) {
			t.Errorf("%s: stopped at %d with %v, want %v at %d", name, s.Offset(), s.Err(), c.want, first)
		}
	}
	s := NewScanner(strings.NewReader(string(whole)), 0, int64(len(whole))+10)
	for s.Next() {
	}
	if !errors.Is(s.Err(), ErrShort) {
		t.Errorf("file shorter than said: %v", s.Err())
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(Append(nil, []byte("key"), []byte("value")))
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		key, value, n, err := Parse(b)
		if err != nil {
			return
		}
		if n > len(b) || len(key) == 0 || len(key) > MaxKey || len(value) > MaxValue {
			t.Fatalf("%d of %d bytes, key %d, value %d", n, len(b), len(key), len(value))
		}
		k, v, m, err := Parse(Append(nil, key, value))
		if err != nil || m > n || !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Fatalf("written again: %d bytes, %v", m, err)
		}
	})
}
