package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// damaged is a small store whose files are to be damaged: all that its versions hold, in a file system that is only
// ever cloned.
type damaged struct {
	disk     *fsx.CrashFS
	versions map[Version]*entry
	current  Version
	keys     [][]byte
	files    []fsx.Entry // Name is the path
	used     int64       // log bytes that anything refers to
}

// smallStore has a few versions on two branches, in a log of several segments, and an image.
var smallStore = sync.OnceValues(func() (*damaged, error) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	opts := hlog.Options{MemoryBytes: 4 << 20, PageBytes: 16 << 10, SegmentBytes: 16 << 10, KeepVersions: 1000, FS: disk}
	imaged := make(chan struct{}, 100)
	opts.Events.ImageWritten = func(int64, time.Duration) { imaged <- struct{}{} }
	s, err := hlog.Open(storeDir, &opts)
	if err != nil {
		return nil, err
	}
	d := &damaged{disk: disk}
	for i := range 24 {
		d.keys = append(d.keys, Key(i))
	}
	m := NewModel()
	set := func(from, to, size int) {
		for i := from; i < to && err == nil; i++ {
			m.seq++
			v := Value(m.seq, size+i)
			m.live[string(d.keys[i])] = string(v)
			err = s.Set(d.keys[i], v)
		}
	}
	commit := func() {
		if err == nil {
			m.begin(0, "cookie")
			var p *hlog.PendingCheckpoint
			if p, err = s.BeginCheckpoint(hlog.WithCookie([]byte("cookie"))); err == nil {
				m.named(p.Version())
				_, err = p.Wait(context.Background())
				m.committed()
			}
		}
	}
	back := func(v Version) {
		if err == nil {
			_, err = s.Restore(context.Background(), v)
			m.restored(v)
		}
	}
	set(0, 20, 30)
	commit()
	set(10, 22, 300)
	err = errors.Join(err, s.Delete(d.keys[3]))
	delete(m.live, string(d.keys[3]))
	commit()
	back(1)
	set(0, 20, 15000) // log that is abandoned, but has its addresses: the next version is far enough up for an image
	back(1)
	set(5, 9, 100)
	commit()
	if err == nil {
		<-imaged
	}
	set(2, 4, 2100)
	m.begin(0, "")
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	opts.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepNone})
	if s, err = hlog.Open(storeDir, &opts); err != nil {
		return nil, err
	}
	cur, found, err := m.outcome().match(s)
	if err == nil {
		d.current, d.versions = cur.id, found
		err = s.Close()
	}
	d.used = int64(s.Metrics().LogTail)
	d.disk = opts.FS.(*fsx.CrashFS)
	d.list(storeDir)
	return d, err
})

// list notes all files.
func (d *damaged) list(dir string) {
	entries, _ := d.disk.List(dir)
	for _, e := range entries {
		e.Name = path.Join(dir, e.Name)
		if e.Dir {
			d.list(e.Name)
		} else if e.Size > 0 {
			d.files = append(d.files, e)
		}
	}
}

// useful returns how many bytes of a file could matter: segments are allocated ahead.
func (d *damaged) useful(f fsx.Entry) int64 {
	if n, ok := checkpoint.SegmentNumber(path.Base(f.Name)); ok {
		return max(0, min(f.Size, d.used-int64(n)*16<<10+4096))
	}
	return f.Size
}

// clone returns the disk with one of its files changed.
func (d *damaged) clone(name string, change func(f fsx.File) error) (*fsx.CrashFS, error) {
	disk := d.disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
	f, err := disk.Open(name, fsx.Write)
	if err != nil {
		return nil, err
	}
	return disk, errors.Join(change(f), f.Sync(), f.Close())
}

// flip changes the bits of mask in the byte at off.
func flip(off int64, mask byte) func(f fsx.File) error {
	return func(f fsx.File) error {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, off); err != nil && len(b) != 1 {
			return err
		}
		b[0] ^= mask
		_, err := f.WriteAt(b, off)
		return err
	}
}

// verdict is what a damaged store came to.
type verdict int

const (
	harmless verdict = iota // every answer was right
	noticed                 // some answer was ErrCorrupt, the others right
	refused                 // it did not open, with ErrCorrupt, and no file was touched
	numVerdicts
)

// examine opens a damaged store and asks for everything: each answer is right or ErrCorrupt.
func (d *damaged) examine(disk *fsx.CrashFS, thorough bool) (verdict, error) {
	opts := hlog.Options{MemoryBytes: 4 << 20, PageBytes: 16 << 10, KeepVersions: 1000, FS: disk}
	untouched := disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
	s, err := hlog.Open(storeDir, &opts)
	if err != nil {
		if !isDamage(err) {
			return 0, fmt.Errorf("open: %w", err)
		}
		if before, after := contents(untouched, storeDir), contents(disk, storeDir); after != before {
			return 0, fmt.Errorf("open refused (%w), but files have changed: before %s, after %s", err, before, after)
		}
		return refused, nil
	}
	v := harmless
	note := func(what string, err error) error {
		if isDamage(err) {
			v = noticed
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	err = d.ask(s, note, thorough)
	if e := s.Close(); e != nil && err == nil {
		err = note("close", e)
	}
	return v, err
}

// ask asks for all states, goes back to every version, and goes on from there.
func (d *damaged) ask(s *hlog.Store, note func(string, error) error, thorough bool) error {
	ctx := context.Background()
	infos, err := s.Versions()
	if err != nil {
		return err
	}
	current := Version(0)
	for _, i := range infos {
		if d.versions[i.Version] == nil {
			return disagree("version %d is listed", i.Version)
		}
		if i.Current {
			current = i.Version
		}
	}
	if current != d.current {
		return disagree("opened at version %d, want %d", current, d.current)
	}
	if err := d.readAll(s, d.versions[current].state, note); err != nil {
		return fmt.Errorf("live state: %w", err)
	}
	if !thorough {
		return nil
	}
	for v, e := range d.versions {
		w, err := s.OpenVersion(ctx, v)
		if err != nil {
			if err := note("view", err); err != nil {
				return err
			}
			continue
		}
		if err := errors.Join(d.readAll(w, e.state, note), w.Close()); err != nil {
			return fmt.Errorf("view of version %d: %w", v, err)
		}
	}
	state := d.versions[current].state
	for v, e := range d.versions {
		_, err := s.Restore(ctx, v)
		if err == nil {
			state = e.state
		} else if err := note("restore", err); err != nil {
			return err
		}
		if err := d.readAll(s, state, note); err != nil {
			return fmt.Errorf("version %d, restored (%v): %w", v, err, err)
		}
	}
	if err := s.Compact(ctx); err != nil {
		if err := note("compact", err); err != nil {
			return err
		}
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		if err := note("checkpoint", err); err != nil {
			return err
		}
	}
	return d.readAll(s, state, note)
}

// readAll compares what s shows with want; damage is noted.
func (d *damaged) readAll(s reader, want State, note func(string, error) error) error {
	for _, k := range d.keys {
		got, err := s.Get(nil, k)
		w, ok := want[string(k)]
		switch {
		case errors.Is(err, hlog.ErrNotFound) && ok:
			return disagree("key %x not found", clip(string(k)))
		case errors.Is(err, hlog.ErrNotFound):
		case err != nil:
			if err := note("get", err); err != nil {
				return err
			}
		case !ok || string(got) != w:
			return disagree("key %x has %d bytes %x, want %d bytes (%v)", clip(string(k)), len(got), clip(string(got)), len(w), ok)
		}
	}
	got := State{}
	err := s.Scan(context.Background(), func(k, v []byte) bool { got[string(k)] = string(v); return true })
	for k, v := range got {
		if w, ok := want[k]; !ok || w != v {
			return disagree("scan: key %x has %d bytes, want %d (%v)", clip(k), len(v), len(w), ok)
		}
	}
	if err == nil && len(got) != len(want) {
		return disagree("scan: %d keys, want %d", len(got), len(want))
	}
	return note("scan", err)
}

// isDamage reports whether an error says clearly that bytes are damaged: it names the file.
func isDamage(err error) bool {
	var c *hlog.CorruptionError
	return errors.As(err, &c) && errors.Is(err, hlog.ErrCorrupt) && c.File != "" && c.Reason != "" || errors.Is(err, hlog.ErrFormat)
}

// contents returns the names, sizes and bytes of all files below dir, as a short text.
func contents(disk fsx.FS, dir string) string {
	var b strings.Builder
	entries, _ := disk.List(dir)
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Dir {
			b.WriteString(contents(disk, name))
			continue
		}
		data, err := fsx.ReadFile(disk, name, 1<<30)
		fmt.Fprintf(&b, "%s %d %x %v\n", name, len(data), sum(data), err)
	}
	return b.String()
}

func sum(b []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range bytes.TrimRight(b, "\x00") {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// TestCorrupt_EveryByte flips a bit of every byte of every file of a small store: of the large files, of which most bytes
// are of records, only one in so many unless the counts are full.
func TestCorrupt_EveryByte(t *testing.T) {
	t.Parallel()
	d, err := smallStore()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	var counts [numVerdicts]int
	perFile := map[string]*[numVerdicts]int{}
	const large = 1 << 10
	stride := sparse(testkit.Scaled(40, 8, 1, 1))
	n, of := 0, int64(0)
	for _, f := range d.files {
		of += d.useful(f)
		perFile[f.Name] = new([numVerdicts]int)
		for off := int64(0); off < d.useful(f); off++ {
			mask := byte(1) << rng.IntN(8)
			if f.Size > large && rng.IntN(stride) > 0 {
				continue
			}
			disk, err := d.clone(f.Name, flip(off, mask))
			if err != nil {
				t.Fatal(err)
			}
			n++
			var v verdict
			if err := within(func() error { v, err = d.examine(disk, n%16 == 0); return err }); err != nil {
				t.Fatalf("%s, byte %d, bits %#x: %v", f.Name, off, mask, err)
			}
			counts[v]++
			perFile[f.Name][v]++
		}
	}
	for _, f := range d.files {
		t.Logf("%s: %d of %d bytes, [harmless noticed refused] = %v", f.Name, d.useful(f), f.Size, *perFile[f.Name])
	}
	testkit.Counted(t, "%d bytes flipped of %d that anything depends on: %d harmless, %d noticed, %d refused", n, of, counts[harmless], counts[noticed], counts[refused])
}
