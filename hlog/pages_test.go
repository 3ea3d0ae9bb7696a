package hlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// churn writes the same small keys again and again, compacts everything and commits.
func churn(t *testing.T, s *Store) {
	t.Helper()
	for range 3 {
		for i := range 100 {
			must(t, s.Set(key8(i), make([]byte, 1000)))
		}
		commit(t, s)
		within(t, "Compact", func() { must(t, s.Compact(context.Background())) })
		commit(t, s)
	}
}

// compactsBehind checks that the log of the store can be emptied: none of it lies below where the churn began.
func compactsBehind(t *testing.T, s *Store) {
	t.Helper()
	end := s.log.Tail()
	churn(t, s)
	if begin := s.log.Begin(); begin < end {
		t.Errorf("the log begins at %#x, and ended at %#x before everything was compacted", begin, end)
	}
}

// refused opens the store, which has to be an option error that names what it takes and changes nothing.
func refused(t *testing.T, o *Options, page, memory int) {
	t.Helper()
	changes := func() (n int64) {
		for _, c := range []fsx.Class{fsx.ClassWrite, fsx.ClassAllocate, fsx.ClassTruncate, fsx.ClassRename, fsx.ClassRemove} {
			n += o.FS.(*fsx.ErrFS).Count(c)
		}
		return n
	}
	before := changes()
	s, err := Open("/store", o)
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), fmt.Sprint(page)) || !strings.Contains(err.Error(), fmt.Sprint(memory)) {
		t.Errorf("pages of %d bytes in %d: %v, want ErrOptions with %d and %d", o.PageBytes, o.MemoryBytes, err, page, memory)
	}
	if n := changes() - before; n != 0 {
		t.Errorf("an Open that was refused changed something %d times", n)
	}
}

// A record that was written with larger pages is moved by whoever opens the directory later, or the directory does not
// open and says with which options it would (K5).
func TestOpen_PagesTakeEveryRecord(t *testing.T) {
	for _, c := range []struct {
		value, page int   // a value, and the least page that takes it
		memory      int64 // that it is written with
	}{
		{MinPageBytes - 100, MinPageBytes, MinMemoryBytes},
		{20 << 10, 32 << 10, MinMemoryBytes},
		{100 << 10, 128 << 10, MinMemoryBytes},
		{128<<10 - 40, 128 << 10, MinMemoryBytes},
		{128<<10 - 8, 256 << 10, MinMemoryBytes},
		{5 << 20, 8 << 20, 64 << 20},
	} {
		t.Run(fmt.Sprint("value=", c.value), func(t *testing.T) {
			large, value := []byte("large"), bytes.Repeat([]byte{7}, c.value)
			o := tiny()
			o.FS = fsx.NewErr(o.FS)
			o.MemoryBytes, o.PageBytes, o.SegmentBytes, o.KeepVersions = c.memory, max(2*c.page, 256<<10), 0, 1
			if o.PageBytes > MaxPageBytes {
				o.PageBytes = MaxPageBytes
			}
			s := mustOpen(t, "/store", o)
			must(t, s.Set(large, value))
			must(t, s.Close())
			check := func() {
				t.Helper()
				if v, err := s.Get(nil, large); err != nil || !bytes.Equal(v, value) {
					t.Errorf("%d bytes, %v", len(v), err)
				}
			}
			if c.page > MinPageBytes {
				o.PageBytes = c.page / 2
				refused(t, o, c.page, 8*c.page)
			}
			o.PageBytes, o.MemoryBytes = 0, MinMemoryBytes
			if int64(c.page) > o.MemoryBytes/8 {
				refused(t, o, c.page, 8*c.page)
				o.MemoryBytes = 8 * int64(c.page)
			}
			s = mustOpen(t, "/store", o)
			check()
			compactsBehind(t, s)
			check()
			must(t, s.Close())
			s = mustOpen(t, "/store", o) // where it is now
			check()
			must(t, s.Delete(large))
			compactsBehind(t, s)
			must(t, s.Close())
			o.PageBytes, o.MemoryBytes = MinPageBytes, MinMemoryBytes // there is none any more
			s = mustOpen(t, "/store", o)
			compactsBehind(t, s)
		})
	}
}

// A rollback to a version that has a record larger than the pages is refused, and the store goes on.
func TestRestore_RecordLargerThanThePages(t *testing.T) {
	large, value := []byte("large"), make([]byte, 100<<10)
	o := tiny()
	o.PageBytes, o.NoCompaction = 128<<10, true
	s := mustOpen(t, "/store", o)
	must(t, s.Set(large, value))
	v := commit(t, s)
	must(t, s.Delete(large))
	churn(t, s)
	must(t, s.Close())

	o.PageBytes = MinPageBytes
	s = mustOpen(t, "/store", o)
	must(t, s.Set([]byte("k"), []byte("v")))
	if _, err := s.Restore(context.Background(), v); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), fmt.Sprint(128<<10)) {
		t.Fatalf("%v, want ErrOptions with %d", err, 128<<10)
	}
	if got, err := s.Get(nil, []byte("k")); err != nil || string(got) != "v" {
		t.Errorf("after a rollback that was refused: %q, %v", got, err)
	}
	view, err := s.OpenVersion(context.Background(), v) // which moves nothing
	must(t, err)
	if got, err := view.Get(nil, large); err != nil || len(got) != len(value) {
		t.Errorf("in a view: %d bytes, %v", len(got), err)
	}
	must(t, view.Close())
	must(t, s.Close())

	o.PageBytes = 0 // large enough for every version that is kept
	s = mustOpen(t, "/store", o)
	if _, err := s.Restore(context.Background(), v); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(nil, large); err != nil || len(got) != len(value) {
		t.Errorf("after the rollback: %d bytes, %v", len(got), err)
	}
	commit(t, s)
	compactsBehind(t, s)
}

// A directory of a store that took no notes of large records opens with any pages. Compaction ends at the first record that
// is too large, and says so; from then on the directory knows.
func TestCompact_DirectoryWithoutNotesOfLargeRecords(t *testing.T) {
	large, value := []byte("large"), make([]byte, 100<<10)
	o := tiny()
	o.PageBytes = 256 << 10
	s := mustOpen(t, "/store", o)
	for i := range 100 {
		must(t, s.Set(key8(i), make([]byte, 1000)))
	}
	must(t, s.Set(large, value))
	must(t, s.Close())
	d, err := checkpoint.OpenDir(o.FS, "/store", checkpoint.Identity{}, false)
	must(t, err)
	m := *d.Current()
	m.Parent, m.Version, m.Aux = m.Version, m.Version+1, m.Aux[:auxLarge]
	m.DeltaStart, m.DeltaBytes = m.Cut, 0
	must(t, d.Commit(&m))

	// Pages that nobody has asked for are as large as any that were.
	clone := *o
	clone.FS, clone.PageBytes = o.FS.(*fsx.CrashFS).Clone(fsx.Crash{Keep: fsx.KeepAll}), 0
	s = mustOpen(t, "/store", &clone)
	if s.opts.PageBytes != 256<<10 {
		t.Errorf("pages of %d bytes", s.opts.PageBytes)
	}
	compactsBehind(t, s)

	log := &logLines{}
	o.PageBytes, o.Logger = MinPageBytes, log.logger()
	s = mustOpen(t, "/store", o)
	begin := s.log.Begin()
	within(t, "Compact", func() {
		if err := s.Compact(context.Background()); !errors.Is(err, ErrOptions) || !strings.Contains(err.Error(), fmt.Sprint(128<<10)) {
			t.Errorf("%v, want ErrOptions with %d", err, 128<<10)
		}
	})
	commit(t, s)
	if s.log.Begin() == begin {
		t.Error("nothing was compacted before the record")
	}
	if got, err := s.Get(nil, large); err != nil || len(got) != len(value) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for range 10 { // compaction by itself
		for i := range 1000 {
			must(t, s.Set(key8(i), make([]byte, 1000)))
		}
		commit(t, s)
	}
	eventually(t, "a line in the log", func() bool { return len(log.with("128")) > 0 || len(log.with("131072")) > 0 })
	must(t, s.Close())
	if lines := log.with("131072"); len(lines) != 1 {
		t.Errorf("logged %d times: %q", len(lines), lines)
	}
	if s, err := Open("/store", o); !errors.Is(err, ErrOptions) {
		t.Errorf("opened again: %v, want ErrOptions", err)
		if err == nil {
			s.Close()
		}
	}
	o.PageBytes = 0
	s = mustOpen(t, "/store", o)
	compactsBehind(t, s)
}
