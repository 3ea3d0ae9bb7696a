package fsx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, fsys FS, name string, f Flag) File {
	t.Helper()
	file, err := fsys.Open(name, f)
	must(t, err)
	return file
}

// mustWrite makes the bytes at off of an open file p.
func mustWrite(t *testing.T, f File, p []byte, off int64) {
	t.Helper()
	if n, err := f.WriteAt(p, off); n != len(p) || err != nil {
		t.Fatalf("wrote %d of %d: %v", n, len(p), err)
	}
}

// crashWith returns a file system with the durable file /f that holds data, open for writing.
func crashWith(t *testing.T, data []byte) (*CrashFS, File) {
	t.Helper()
	c := NewCrash(CrashOptions{})
	f := mustOpen(t, c, "/f", Write|Create)
	mustWrite(t, f, data, 0)
	must(t, f.Sync())
	must(t, c.SyncDir("/"))
	if n := c.Unsynced(); n != 0 {
		t.Fatalf("%d facts are unsynced after everything was synced", n)
	}
	return c, f
}

// content returns what a file holds, "<none>" if there is none.
func contentOf(t *testing.T, fsys FS, name string) string {
	t.Helper()
	data, err := ReadFile(fsys, name, 1<<24)
	if errors.Is(err, fs.ErrNotExist) {
		return "<none>"
	}
	must(t, err)
	return string(data)
}

func fill(b byte, sectors int) []byte { return bytes.Repeat([]byte{b}, sectors*SectorSize) }

// sectorsOf returns one letter per sector, which must hold that byte throughout; '.' is zero, '?' is a mixture.
func sectorsOf(data string) string {
	var b strings.Builder
	for s := range slices.Chunk([]byte(data), SectorSize) {
		c := s[0]
		if bytes.Count(s, []byte{c}) != len(s) {
			c = '?'
		} else if c == 0 {
			c = '.'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// outcomes returns how often each picture comes up over many seeds.
func outcomes(c *CrashFS, torn bool, picture func(*CrashFS) string) map[string]int {
	seen := map[string]int{}
	for seed := range uint64(400) {
		seen[picture(c.Clone(Crash{Keep: KeepSubset, Seed: seed, Torn: torn}))]++
	}
	return seen
}

func wantOutcomes(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("%q never came up: %v", w, got)
		}
		delete(got, w)
	}
	if len(got) > 0 {
		t.Errorf("came up and must not: %v", got)
	}
}

func TestCrash_NothingSynced(t *testing.T) {
	c := NewCrash(CrashOptions{})
	must(t, c.MkdirAll("/d"))
	f := mustOpen(t, c, "/d/f", Write|Create)
	mustWrite(t, f, []byte("abc"), 0)
	if got, err := c.Clone(Crash{}).List("/"); err != nil || len(got) != 0 {
		t.Fatal(got, err)
	}
	if got := contentOf(t, c.Clone(Crash{Keep: KeepAll}), "/d/f"); got != "abc" {
		t.Fatal(got)
	}
}

// F1 to F3: a name, a size and bytes are three facts.
func TestCrash_NameSizeBytesApart(t *testing.T) {
	c := NewCrash(CrashOptions{})
	f := mustOpen(t, c, "/f", Write|Create)
	mustWrite(t, f, []byte("abc"), 0)
	if n := c.Unsynced(); n != 3 {
		t.Fatalf("%d facts, want name, size, one sector", n)
	}
	pic := func(d *CrashFS) string { return contentOf(t, d, "/f") }
	wantOutcomes(t, outcomes(c, false, pic), "<none>", "", "\x00\x00\x00", "abc")

	must(t, f.Sync())
	wantOutcomes(t, outcomes(c, false, pic), "<none>", "abc") // Sync does not make the name durable
	must(t, c.SyncDir("/"))
	wantOutcomes(t, outcomes(c, true, pic), "abc")

	d := NewCrash(CrashOptions{})
	mustWrite(t, mustOpen(t, d, "/f", Write|Create), []byte("abc"), 0)
	must(t, d.SyncDir("/")) // SyncDir does not make the bytes durable
	if got := pic(d.Clone(Crash{})); got != "" {
		t.Fatalf("%q", got)
	}
}

func TestCrash_PrefixCutsThroughWrite(t *testing.T) {
	c, f := crashWith(t, fill('a', 4))
	mustWrite(t, f, fill('b', 6), 0)
	for n, want := range []string{"aaaa", "aaaa..", "baaa..", "bbaa..", "bbba..", "bbbb..", "bbbbb.", "bbbbbb", "bbbbbb"} {
		k := Crash{Keep: KeepPrefix, N: n}
		if got := sectorsOf(contentOf(t, c.Clone(k), "/f")); got != want {
			t.Errorf("%v: %s, want %s", k, got, want)
		}
	}
	if n := c.Unsynced(); n != 7 {
		t.Fatalf("%d facts, want one size and six sectors", n)
	}
}

// A prefix runs through all files and directories in the order of the calls.
func TestCrash_PrefixInOrderOfCalls(t *testing.T) {
	c, f := crashWith(t, fill('a', 2))
	mustWrite(t, f, fill('b', 2), 0)
	g := mustOpen(t, c, "/g", Write|Create)
	mustWrite(t, f, fill('c', 1), 0)
	mustWrite(t, g, fill('d', 1), 0)
	must(t, c.Rename("/g", "/h"))
	mustWrite(t, f, fill('e', 2), 0)
	pic := func(d *CrashFS) string {
		names := ""
		for _, name := range []string{"/f", "/g", "/h"} {
			if data := contentOf(t, d, name); data != "<none>" {
				names += name + sectorsOf(data)
			}
		}
		return names
	}
	for n, want := range []string{
		"/faa", "/fba", "/fbb", "/fbb/g", "/fcb/g", "/fcb/g.", "/fcb/gd", "/fcb/hd", "/feb/hd", "/fee/hd",
	} {
		if got := pic(c.Clone(Crash{Keep: KeepPrefix, N: n})); got != want {
			t.Errorf("%d facts: %s, want %s", n, got, want)
		}
	}
	if n := c.Unsynced(); n != 9 {
		t.Errorf("%d facts, want 9", n)
	}
}

func TestCrash_SubsetTearsWriteAtSectors(t *testing.T) {
	c, f := crashWith(t, fill('a', 3))
	mustWrite(t, f, fill('b', 3), 0)
	got := outcomes(c, false, func(d *CrashFS) string { return sectorsOf(contentOf(t, d, "/f")) })
	wantOutcomes(t, got, "aaa", "aab", "aba", "abb", "baa", "bab", "bba", "bbb")
}

// A sector that was written twice holds any of the three versions; the middle one was flushed before it was
// overwritten.
func TestCrash_SectorWrittenTwice(t *testing.T) {
	c, f := crashWith(t, fill('a', 1))
	mustWrite(t, f, fill('b', 1), 0)
	mustWrite(t, f, fill('c', 1), 0)
	got := outcomes(c, false, func(d *CrashFS) string { return sectorsOf(contentOf(t, d, "/f")) })
	wantOutcomes(t, got, "a", "b", "c")
}

// A write of less than a sector changes the sector as a whole: what was written to it earlier goes with it.
func TestCrash_PartOfSector(t *testing.T) {
	c, f := crashWith(t, []byte("....."))
	mustWrite(t, f, []byte("1"), 0)
	mustWrite(t, f, []byte("2"), 2)
	got := outcomes(c, false, func(d *CrashFS) string { return contentOf(t, d, "/f") })
	wantOutcomes(t, got, ".....", "1....", "1.2..")
}

func TestCrash_TornSector(t *testing.T) {
	c, f := crashWith(t, fill('a', 3))
	mustWrite(t, f, fill('b', 3), 0)
	torn, heads, tails := 0, 0, 0
	for seed := range uint64(200) {
		data := contentOf(t, c.Clone(Crash{Seed: seed, Torn: true}), "/f") // KeepNone, but for the torn one
		n := strings.Count(data, "b")
		if n == 0 || n >= SectorSize || strings.Count(data, "a")+n != len(data) {
			t.Fatalf("seed %d: %d new bytes", seed, n)
		}
		at := strings.IndexByte(data, 'b')
		if data[at:at+n] != strings.Repeat("b", n) || at/SectorSize != (at+n-1)/SectorSize {
			t.Fatalf("seed %d: new bytes are scattered", seed)
		}
		if at%SectorSize == 0 {
			heads++
		} else if (at+n)%SectorSize == 0 {
			tails++
		}
		torn++
	}
	if heads == 0 || tails == 0 || heads+tails != torn {
		t.Fatalf("%d torn: %d heads, %d tails", torn, heads, tails)
	}
	for n, want := range []string{"?aa", "b?a", "bb?", "bbb"} {
		k := Crash{Keep: KeepPrefix, N: n, Torn: true}
		if got := sectorsOf(contentOf(t, c.Clone(k), "/f")); got != want {
			t.Errorf("%v: %s, want %s", k, got, want)
		}
	}
}

func TestCrash_AllocatedSize(t *testing.T) {
	c, f := crashWith(t, fill('a', 1))
	must(t, f.Allocate(0, 4*SectorSize))
	mustWrite(t, f, fill('b', 1), 2*SectorSize) // grows nothing any more
	pic := func(d *CrashFS) string { return sectorsOf(contentOf(t, d, "/f")) }
	wantOutcomes(t, outcomes(c, false, pic), "a", "a...", "a.b.")
	must(t, f.Sync())
	wantOutcomes(t, outcomes(c, false, pic), "a.b.")
}

// The size is one field: it holds one of the values it had, and bytes that were cut off do not come back with a later,
// larger one.
func TestCrash_TruncateAndGrow(t *testing.T) {
	c, f := crashWith(t, fill('a', 3))
	must(t, f.Truncate(SectorSize))
	must(t, f.Truncate(4*SectorSize))
	pic := func(d *CrashFS) string { return sectorsOf(contentOf(t, d, "/f")) }
	wantOutcomes(t, outcomes(c, false, pic), "aaa", "a", "a...")
}

// Bytes whose size was lost must not show when a later owner of the clone grows the file.
func TestCrash_BytesPastSizeAreGone(t *testing.T) {
	c, f := crashWith(t, fill('a', 1))
	mustWrite(t, f, fill('b', 2), SectorSize)
	for seed := range uint64(100) {
		d := c.Clone(Crash{Keep: KeepSubset, Seed: seed})
		if len(contentOf(t, d, "/f")) > SectorSize {
			continue
		}
		must(t, mustOpen(t, d, "/f", Write).Truncate(3*SectorSize))
		if got := sectorsOf(contentOf(t, d, "/f")); got != "a.." {
			t.Fatalf("seed %d: %s", seed, got)
		}
	}
}

func TestCrash_RenameIsAtomic(t *testing.T) {
	c, _ := crashWith(t, []byte("old"))
	g := mustOpen(t, c, "/g", Write|Create)
	mustWrite(t, g, []byte("new"), 0)
	must(t, g.Sync())
	must(t, c.SyncDir("/"))
	must(t, c.Rename("/g", "/f"))
	pic := func(d *CrashFS) string { return contentOf(t, d, "/f") + "," + contentOf(t, d, "/g") }
	wantOutcomes(t, outcomes(c, false, pic), "old,new", "new,<none>")
	must(t, c.SyncDir("/"))
	wantOutcomes(t, outcomes(c, false, pic), "new,<none>")
}

// F4: across directories a rename is two facts, each with the SyncDir of its own directory.
func TestCrash_RenameAcrossDirectories(t *testing.T) {
	c, _ := crashWith(t, []byte("x"))
	must(t, c.MkdirAll("/d"))
	must(t, c.SyncDir("/"))
	must(t, c.Rename("/f", "/d/f"))
	pic := func(d *CrashFS) string { return contentOf(t, d, "/f") + "," + contentOf(t, d, "/d/f") }
	wantOutcomes(t, outcomes(c, false, pic), "x,<none>", "<none>,x", "x,x", "<none>,<none>")
	must(t, c.SyncDir("/d"))
	wantOutcomes(t, outcomes(c, false, pic), "x,x", "<none>,x")
	must(t, c.SyncDir("/"))
	wantOutcomes(t, outcomes(c, false, pic), "<none>,x")
	if err := c.Rename("/d", "/d2"); err != nil {
		t.Fatal(err)
	}
	must(t, c.MkdirAll("/e"))
	if err := c.Rename("/d2", "/e/d"); !errors.Is(err, syscall.EXDEV) {
		t.Fatalf("a directory into another: %v", err)
	}
}

func TestCrash_RemoveIsNotDurable(t *testing.T) {
	c, f := crashWith(t, []byte("x"))
	must(t, c.Remove("/f"))
	mustWrite(t, f, []byte("y"), 0) // through the open file, still facts of what may come back
	pic := func(d *CrashFS) string { return contentOf(t, d, "/f") }
	wantOutcomes(t, outcomes(c, false, pic), "<none>", "x", "y")
	must(t, c.SyncDir("/"))
	wantOutcomes(t, outcomes(c, false, pic), "<none>")
	if n := c.Unsynced(); n != 0 {
		t.Fatalf("%d facts of a file that no crash brings back", n)
	}
}

func TestCrash_LostParent(t *testing.T) {
	c := NewCrash(CrashOptions{})
	must(t, c.MkdirAll("/a/b"))
	must(t, WriteFileAtomic(c, "/a/b/f", []byte("x")))
	if _, err := c.Clone(Crash{}).List("/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a directory that nobody synced: %v", err)
	}
	must(t, c.SyncDir("/a"))
	must(t, c.SyncDir("/"))
	if got := contentOf(t, c.Clone(Crash{}), "/a/b/f"); got != "x" {
		t.Fatal(got)
	}
}

func TestCrash_CloneIsApart(t *testing.T) {
	c, f := crashWith(t, []byte("one"))
	mustWrite(t, f, []byte("two"), 0)
	d := c.Clone(Crash{Keep: KeepAll})
	mustWrite(t, f, []byte("dead"), 0)
	must(t, f.Sync())
	must(t, c.Remove("/f"))
	must(t, c.SyncDir("/"))
	if got := contentOf(t, d, "/f"); got != "two" {
		t.Fatalf("the dead touched its clone: %q", got)
	}
	g := mustOpen(t, d, "/f", Write)
	mustWrite(t, g, []byte("later"), 0)
	if got := contentOf(t, d.Clone(Crash{}), "/f"); got != "two" {
		t.Fatalf("what a clone was born with is durable: %q", got)
	}
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "dead" {
		t.Fatalf("the clone touched the dead: %q, %v", got, err)
	}
	if d.Calls() != 1 || d.CallsOf(OpWrite) != 1 {
		t.Fatalf("a clone counts from 0: %d", d.Calls())
	}
}

func TestCrash_CrashedRefusesEverything(t *testing.T) {
	c, f := crashWith(t, []byte("x"))
	release, err := c.Lock("/", false)
	must(t, err)
	must(t, c.SyncDir("/"))
	c.CrashNow()
	if !c.Crashed() {
		t.Fatal("not crashed")
	}
	before := c.Calls()
	_, openErr := c.Open("/f", Read)
	_, createErr := c.Open("/g", Write|Create)
	_, listErr := c.List("/")
	_, lockErr := c.Lock("/", true)
	_, sizeErr := f.Size()
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, writeErr := f.WriteAt([]byte("y"), 0)
	for i, err := range []error{
		openErr, createErr, listErr, lockErr, sizeErr, readErr, writeErr, f.Sync(), f.Allocate(0, 1), f.Truncate(0),
		c.MkdirAll("/d"), c.Remove("/f"), c.Rename("/f", "/g"), c.SyncDir("/"),
	} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if c.Calls() != before || c.Unsynced() != 0 {
		t.Fatal("a call after the crash was counted or had an effect")
	}
	must(t, f.Close())
	must(t, release())
	d := c.Clone(Crash{Keep: KeepAll})
	if got := contentOf(t, d, "/f"); got != "x" {
		t.Fatal(got)
	}
	if _, err := d.Lock("/", false); err != nil {
		t.Fatalf("a clone is locked: %v", err)
	}
}

func TestCrash_CloneForgetsLock(t *testing.T) {
	c, _ := crashWith(t, nil)
	_, err := c.Lock("/", false)
	must(t, err)
	release, err := c.Clone(Crash{Keep: KeepAll}).Lock("/", false)
	must(t, err)
	must(t, release())
	if _, err := c.Lock("/", true); !errors.Is(err, ErrLocked) {
		t.Fatalf("the clone took the lock off the original: %v", err)
	}
}

// script makes one call of every class and returns the calls it makes.
func script(c *CrashFS) (want []Call, err error) {
	f, err := c.Open("/t", Write|Create)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	steps := []struct {
		call Call
		do   func() error
	}{
		{Call{Op: OpAllocate, Name: "/t"}, func() error { return f.Allocate(0, 100) }},
		{Call{Op: OpWrite, Name: "/t"}, func() error { _, err := f.WriteAt([]byte("x"), 0); return err }},
		{Call{Op: OpTruncate, Name: "/t"}, func() error { return f.Truncate(50) }},
		{Call{Op: OpSync, Name: "/t"}, f.Sync},
		{Call{Op: OpRename, Name: "/t"}, func() error { return c.Rename("/t", "/u") }},
		{Call{Op: OpSyncDir, Name: "/"}, func() error { return c.SyncDir("/") }},
		{Call{Op: OpRemove, Name: "/u"}, func() error { return c.Remove("/u") }},
	}
	want = []Call{{N: 1, Op: OpCreate, Name: "/t"}}
	for i, s := range steps {
		s.call.N = int64(i + 2)
		want = append(want, s.call)
		if err := s.do(); err != nil {
			return want, err
		}
	}
	return want, nil
}

func TestCrash_HookSeesEveryCall(t *testing.T) {
	c := NewCrash(CrashOptions{})
	var got []Call
	c.SetHook(func(call Call) {
		c.Clone(Crash{Keep: KeepAll}) // must not deadlock
		got = append(got, call)
	})
	want, err := script(c)
	must(t, err)
	if !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if c.Calls() != int64(len(want)) || len(want) != int(numOps) {
		t.Fatalf("%d calls of %d classes", c.Calls(), numOps)
	}
	for op := range numOps {
		if c.CallsOf(op) != 1 {
			t.Errorf("%v: counted %d", op, c.CallsOf(op))
		}
	}
	c.SetHook(nil)
	must(t, c.MkdirAll("/x"))
	if len(got) != len(want) {
		t.Fatal("called after it was taken away")
	}
}

// A crash at call k happens before its effect, whether CrashAt, or the hook, made it.
func TestCrash_AtEveryCall(t *testing.T) {
	for k := int64(1); k <= int64(numOps); k++ {
		at, hooked := NewCrash(CrashOptions{}), NewCrash(CrashOptions{})
		at.CrashAt(k)
		hooked.SetHook(func(call Call) {
			if call.N == k {
				hooked.CrashNow()
			}
		})
		for _, c := range []*CrashFS{at, hooked} {
			if _, err := script(c); !errors.Is(err, ErrCrashed) {
				t.Fatalf("k=%d: %v", k, err)
			}
			if c.Calls() != k || !c.Crashed() {
				t.Fatalf("k=%d: %d calls", k, c.Calls())
			}
		}
		if a, b := at.String(), hooked.String(); a != b {
			t.Fatalf("k=%d:\n%s%s", k, a, b)
		}
		if k == 1 && at.Unsynced() != 0 {
			t.Fatal("the call at which it crashed had an effect")
		}
	}
}

func TestCrash_SameSeedSameClone(t *testing.T) {
	build := func() *CrashFS {
		c := NewCrash(CrashOptions{})
		for i := range 20 {
			f := mustOpen(t, c, fmt.Sprintf("/%d", i), Write|Create)
			mustWrite(t, f, fill(byte('a'+i), 5), 0)
			mustWrite(t, f, fill(byte('A'+i), 2), SectorSize)
		}
		return c
	}
	pic := func(c *CrashFS) string {
		var b strings.Builder
		entries, err := c.List("/")
		must(t, err)
		for _, e := range entries {
			fmt.Fprintf(&b, "%s=%s ", e.Name, contentOf(t, c, e.Name))
		}
		return b.String()
	}
	a, b := build(), build()
	states := map[string]bool{}
	for seed := range uint64(30) {
		k := Crash{Keep: KeepSubset, Seed: seed, Torn: seed%2 == 0}
		p := pic(a.Clone(k))
		if p != pic(b.Clone(k)) || p != pic(a.Clone(k)) {
			t.Fatalf("%v: two clones differ", k)
		}
		states[p] = true
	}
	if len(states) < 25 {
		t.Fatalf("30 seeds gave %d states", len(states))
	}
}

func TestCrash_FailSync(t *testing.T) {
	for _, mode := range []SyncMode{SyncFailOnce, SyncLie} {
		c, f := crashWith(t, fill('a', 2))
		c.FailSync(mode, "")
		mustWrite(t, f, fill('b', 3), 0)
		if err := f.Sync(); (mode == SyncFailOnce) != errors.Is(err, syscall.EIO) {
			t.Fatalf("mode %d: %v", mode, err)
		}
		if got := sectorsOf(contentOf(t, c, "/f")); got != "bbb" {
			t.Fatalf("mode %d: reads %s", mode, got)
		}
		if err := f.Sync(); err != nil {
			t.Fatalf("mode %d, once more: %v", mode, err)
		}
		// The size came to the disk, the bytes never will.
		for _, k := range []Crash{{}, {Keep: KeepAll}} {
			if got := sectorsOf(contentOf(t, c.Clone(k), "/f")); got != "aa." {
				t.Fatalf("mode %d %v: %s", mode, k, got)
			}
		}
		mustWrite(t, f, fill('c', 1), 0)
		must(t, f.Sync())
		want := map[SyncMode]string{SyncFailOnce: "ca.", SyncLie: "aa."}[mode]
		if got := sectorsOf(contentOf(t, c.Clone(Crash{}), "/f")); got != want {
			t.Fatalf("mode %d: written again: %s, want %s", mode, got, want)
		}
	}
}

func TestCrash_FailSyncKeepsSizeUnsynced(t *testing.T) {
	c, f := crashWith(t, fill('a', 1))
	mustWrite(t, f, fill('b', 2), 0)
	c.FailSync(SyncFailOnce, "")
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	got := outcomes(c, false, func(d *CrashFS) string { return sectorsOf(contentOf(t, d, "/f")) })
	wantOutcomes(t, got, "a", "a.")
}

func TestCrash_FailSyncDir(t *testing.T) {
	for _, mode := range []SyncMode{SyncFailOnce, SyncLie} {
		c, _ := crashWith(t, []byte("x"))
		must(t, c.Rename("/f", "/g"))
		c.FailSync(mode, "")
		if err := c.SyncDir("/"); (mode == SyncFailOnce) != errors.Is(err, syscall.EIO) {
			t.Fatalf("mode %d: %v", mode, err)
		}
		must(t, c.SyncDir("/"))
		if got := contentOf(t, c, "/g"); got != "x" {
			t.Fatalf("mode %d: %s", mode, got)
		}
		d := c.Clone(Crash{Keep: KeepAll})
		if got := contentOf(t, d, "/f") + contentOf(t, d, "/g"); got != "x<none>" {
			t.Fatalf("mode %d: %s", mode, got)
		}
	}
}

func TestCrash_FailSyncByName(t *testing.T) {
	c := NewCrash(CrashOptions{})
	must(t, c.MkdirAll("/d"))
	a := mustOpen(t, c, "/d/1.log", Write|Create)
	b := mustOpen(t, c, "/d/1.idx", Write|Create)
	c.FailSync(SyncFailOnce, "*.log")
	must(t, b.Sync())
	must(t, c.SyncDir("/d"))
	if err := a.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	must(t, a.Sync())
	c.FailSync(SyncFailOnce, "/d/*.idx")
	must(t, a.Sync())
	if err := b.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

func TestCrash_Space(t *testing.T) {
	c := NewCrash(CrashOptions{Space: 3*BlockSize + 100})
	f := mustOpen(t, c, "/f", Write|Create)
	mustWrite(t, f, bytes.Repeat([]byte("a"), BlockSize+1), 0)
	if c.Used() != 2*BlockSize {
		t.Fatal(c.Used())
	}
	if err := f.Allocate(BlockSize, 3*BlockSize); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if n, _ := f.Size(); n != BlockSize+1 {
		t.Fatal("a refused Allocate changed the size:", n)
	}
	n, err := f.WriteAt(bytes.Repeat([]byte("b"), 3*BlockSize), BlockSize)
	if n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	want := strings.Repeat("a", BlockSize) + strings.Repeat("b", 2*BlockSize)
	if got := contentOf(t, c, "/f"); got != want {
		t.Fatalf("%d bytes: what fits must be there", len(got))
	}
	mustWrite(t, f, []byte("overwriting is free"), 7)
	if _, err := f.WriteAt([]byte("x"), 100*BlockSize); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, f.Truncate(BlockSize)) // space returns
	must(t, f.Allocate(0, 3*BlockSize))
	mustWrite(t, f, bytes.Repeat([]byte("c"), 3*BlockSize), 0) // reserved
	d := c.Clone(Crash{Keep: KeepAll})
	if d.Used() != 3*BlockSize || c.Clone(Crash{}).Used() != 0 {
		t.Fatal(d.Used())
	}
	if _, err := mustOpen(t, d, "/g", Write|Create).WriteAt([]byte("x"), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a clone has the same capacity: %v", err)
	}
	must(t, c.Remove("/f")) // still open
	g := mustOpen(t, c, "/g", Write|Create)
	if _, err := g.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	must(t, f.Close())
	mustWrite(t, g, []byte("x"), 0)
	if c.Used() != BlockSize {
		t.Fatal(c.Used())
	}
	c.SetSpace(1) // nothing fits
	if _, err := g.WriteAt([]byte("x"), BlockSize); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	c.SetSpace(0)
	mustWrite(t, g, []byte("x"), BlockSize)
	must(t, c.Rename("/g", "/h"))
	mustWrite(t, mustOpen(t, c, "/g", Write|Create), []byte("x"), 0)
	must(t, g.Close())
	must(t, c.Rename("/g", "/h")) // replaces, and gives back
	if c.Used() != BlockSize {
		t.Fatal(c.Used())
	}
}

func TestCrash_ReadDoesNotCount(t *testing.T) {
	c, f := crashWith(t, []byte("x"))
	before := c.Calls()
	if _, err := f.ReadAt(make([]byte, 2), 0); err != io.EOF {
		t.Fatal(err)
	}
	_, err := c.List("/")
	must(t, err)
	must(t, mustOpen(t, c, "/f", Write|Create).Close())
	must(t, c.MkdirAll("/"))
	release, err := c.Lock("/", true)
	must(t, err)
	must(t, release())
	if c.Calls() != before {
		t.Fatal("a call that writes nothing was counted")
	}
}
