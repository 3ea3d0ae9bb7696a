package fuzz

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// TestCorrupt_EveryTruncation cuts every file off at every sector, and at each of its first bytes, makes it longer, and
// takes it away.
func TestCorrupt_EveryTruncation(t *testing.T) {
	t.Parallel()
	d, err := smallStore()
	if err != nil {
		t.Fatal(err)
	}
	var counts [numVerdicts]int
	n := 0
	try := func(name, what string, disk *fsx.CrashFS, err error) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		var v verdict
		if err := within(func() error { v, err = d.examine(disk, true); return err }); err != nil {
			t.Errorf("%s, %s: %v", name, what, err)
			return
		}
		counts[v]++
	}
	for _, f := range d.files {
		for size := int64(0); size < f.Size; {
			disk, err := d.clone(f.Name, func(f fsx.File) error { return f.Truncate(size) })
			try(f.Name, fmt.Sprintf("cut off at %d", size), disk, err)
			if size += 1; size > 64 {
				size = (size + fsx.SectorSize - 1) / fsx.SectorSize * fsx.SectorSize
			}
		}
		for _, more := range []int64{1, fsx.SectorSize, 1 << 20} {
			disk, err := d.clone(f.Name, func(x fsx.File) error { return x.Truncate(f.Size + more) })
			try(f.Name, fmt.Sprintf("longer by %d", more), disk, err)
		}
		if strings.HasSuffix(f.Name, ".manifest") {
			continue // a version whose manifest is not there was purged: nothing can tell
		}
		disk := d.disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
		try(f.Name, "removed", disk, disk.Remove(f.Name))
	}
	testkit.Counted(t, "%d files cut off, made longer or removed: %d harmless, %d noticed, %d refused", n, counts[harmless], counts[noticed], counts[refused])
}

// FuzzCorruptFile damages one file in one of several ways, chosen by the input: the first two bytes are the file and
// the way, eight more say where, and the rest is what is written there.
func FuzzCorruptFile(f *testing.F) {
	d, err := smallStore()
	if err != nil {
		f.Fatal(err)
	}
	at := func(off uint64) []byte { return binary.LittleEndian.AppendUint64(nil, off) }
	for i := range d.files {
		f.Add(byte(i), byte(0), at(40), []byte{1})
		f.Add(byte(i), byte(1), at(32), []byte{0, 0, 0, 0})
		f.Add(byte(i), byte(2), at(4096), []byte{7})
		f.Add(byte(i), byte(3), at(0), []byte{3})
		f.Add(byte(i), byte(4), at(512), []byte{2, 5})
	}
	f.Fuzz(func(t *testing.T, file, way byte, where, what []byte) {
		if len(where) < 8 || len(what) == 0 || len(what) > 1<<16 {
			return
		}
		entry := d.files[int(file)%len(d.files)]
		off := int64(binary.LittleEndian.Uint64(where) % uint64(entry.Size))
		disk, err := d.clone(entry.Name, func(f fsx.File) error { return d.damage(f, entry, way, off, what) })
		if err != nil {
			t.Fatal(err)
		}
		if err := within(func() error { _, err := d.examine(disk, true); return err }); err != nil {
			t.Fatalf("%s, way %d at %d: %v", entry.Name, way, off, err)
		}
	})
}

// damage changes a file. What it writes is damage, or what was there; it never makes up a checksum.
func (d *damaged) damage(f fsx.File, entry fsx.Entry, way byte, off int64, what []byte) error {
	switch way % 5 {
	case 0: // flip bits
		for i, mask := range what {
			if off+int64(i) < entry.Size && mask != 0 {
				if err := flip(off+int64(i), mask)(f); err != nil {
					return err
				}
			}
		}
	case 1: // overwrite
		what = what[:min(int64(len(what)), entry.Size-off)]
		_, err := f.WriteAt(what, off)
		return err
	case 2: // cut off
		return f.Truncate(off)
	case 3: // put the content of another file of the same kind there, cut to length
		other, err := fsx.ReadFile(d.disk, d.files[int(what[0])%len(d.files)].Name, 1<<30)
		if err != nil || string(other[:8]) == "HLVERSN\n" {
			return err // another version's manifest in the place of one: found by its id, but not a case for this test
		}
		other = other[:min(int64(len(other)), entry.Size)]
		_, err = f.WriteAt(other, 0)
		return err
	case 4: // move a sector: what was written well, in the wrong place
		b := make([]byte, fsx.SectorSize)
		from := int64(what[0]) * fsx.SectorSize % entry.Size
		if _, err := f.ReadAt(b, from); err != nil && from+fsx.SectorSize <= entry.Size {
			return err
		}
		if off = off / fsx.SectorSize * fsx.SectorSize; off+fsx.SectorSize <= entry.Size {
			_, err := f.WriteAt(b, off)
			return err
		}
	}
	return nil
}

// TestCorrupt_ForeignFiles: files that are not the store's own are neither read nor removed.
func TestCorrupt_ForeignFiles(t *testing.T) {
	d, err := smallStore()
	if err != nil {
		t.Fatal(err)
	}
	disk := d.disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
	foreign := []string{"/notes.txt", "/log/zzz.seg", "/log/0.seg", "/log/ffffffffffff.seg.bak", "/images/1.img", "/versions/README", "/versions/1.manifest"}
	for _, name := range foreign {
		if err := fsx.WriteFileAtomic(disk, storeDir+name, []byte("mine")); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := d.examine(disk, true); err != nil || v != harmless {
		t.Fatalf("verdict %d, %v", v, err)
	}
	for _, name := range foreign {
		if b, err := fsx.ReadFile(disk, storeDir+name, 100); err != nil || string(b) != "mine" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

// TestCorrupt_MissingVersions: without its manifests, its identity or its head, a directory with log in it is not
// taken for an empty one.
func TestCorrupt_MissingVersions(t *testing.T) {
	d, err := smallStore()
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range [][]string{{"/STORE"}, {"/HEAD"}, {"/STORE", "/HEAD"}} {
		disk := d.disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
		for _, name := range gone {
			if err := disk.Remove(storeDir + name); err != nil {
				t.Fatal(err)
			}
		}
		opts := hlog.Options{FS: disk}
		if s, err := hlog.Open(storeDir, &opts); !errors.Is(err, hlog.ErrCorrupt) {
			t.Errorf("without %v: store %v, error %v", gone, s != nil, err)
		}
	}
	if _, err := hlog.Open("/elsewhere", &hlog.Options{FS: d.disk, ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read-only open of nothing: %v", err)
	}
}
