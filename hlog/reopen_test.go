package hlog

import "testing"

func TestOpen_DefaultsAfterSmallSegments(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{MemoryBytes: 16 << 20, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.Set([]byte("k"), []byte("v"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "v" || s.opts.PageBytes != 1<<20 {
		t.Fatalf("%q, %v, pages of %d bytes", got, err, s.opts.PageBytes)
	}
}
