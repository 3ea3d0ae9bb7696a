package fsx

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// allowed is what a crash may leave of one file, kept beside it by rules of its own: for every sector the values that
// it held since the last Sync, and the same for the size.
type allowed struct {
	live, disk []byte // one stamp per sector; 0 is a hole
	sectors    [modelSectors]map[byte]bool
	sizes      map[int]bool // in sectors
}

const modelSectors = 24

func newAllowed() *allowed {
	a := &allowed{}
	a.synced()
	return a
}

func (a *allowed) synced() {
	a.disk = slices.Clone(a.live)
	a.sizes = map[int]bool{len(a.live): true}
	for i := range a.sectors {
		a.sectors[i] = map[byte]bool{0: true} // a size may come without its bytes
		if i < len(a.disk) {
			a.sectors[i] = map[byte]bool{a.disk[i]: true}
		}
	}
}

// resize sets the size in sectors.
func (a *allowed) resize(n int) {
	for len(a.live) < n {
		a.live = append(a.live, 0)
	}
	for i := n; i < modelSectors; i++ {
		a.sectors[i][0] = true // cut off, or not there yet
	}
	a.live = a.live[:n:n]
	a.sizes[n] = true
}

func (a *allowed) write(at, n int, stamp byte) {
	if at+n > len(a.live) {
		a.resize(at + n)
	}
	for i := at; i < at+n; i++ {
		a.live[i] = stamp
		a.sectors[i][stamp] = true
	}
}

// check returns what is wrong with a clone's content, "" if nothing is.
func (a *allowed) check(got string, k Crash) string {
	pic := []byte{}
	for s := range slices.Chunk([]byte(got), SectorSize) {
		if slices.Min(s) != slices.Max(s) || len(s) != SectorSize {
			return "a sector is torn"
		}
		pic = append(pic, s[0])
	}
	switch k.Keep {
	case KeepNone:
		if !slices.Equal(pic, a.disk) {
			return fmt.Sprintf("%v, want what was synced, %v", pic, a.disk)
		}
	case KeepAll:
		if !slices.Equal(pic, a.live) {
			return fmt.Sprintf("%v, want what was written, %v", pic, a.live)
		}
	}
	if !a.sizes[len(pic)] {
		return fmt.Sprintf("size %d was never there: %v", len(pic), a.sizes)
	}
	for i, stamp := range pic {
		if !a.sectors[i][stamp] {
			return fmt.Sprintf("sector %d holds %d, which it never held: %v", i, stamp, a.sectors[i])
		}
	}
	return ""
}

// Random calls on two files; after each, crashes of every kind must leave a state that the oracle allows.
func TestCrash_ClonesAreAllowed(t *testing.T) {
	scripts, clones, different := 30, 0, 0
	if testing.Short() {
		scripts = 10
	}
	for script := range uint64(scripts) {
		r := rand.New(rand.NewPCG(script, 1))
		c := NewCrash(CrashOptions{})
		var files [2]File
		models := [2]*allowed{newAllowed(), newAllowed()}
		for i := range files {
			files[i] = mustOpen(t, c, fmt.Sprint(i), Write|Create)
		}
		must(t, c.SyncDir("/"))
		for step := range 60 {
			i := r.IntN(2)
			f, m := files[i], models[i]
			at := r.IntN(modelSectors - 1)
			n := 1 + r.IntN(modelSectors-at-1)
			switch r.IntN(8) {
			default:
				stamp := byte(1 + step)
				mustWrite(t, f, fill(stamp, n), int64(at)*SectorSize)
				m.write(at, n, stamp)
			case 0:
				must(t, f.Truncate(int64(at)*SectorSize))
				m.resize(at)
			case 1:
				must(t, f.Allocate(int64(at)*SectorSize, int64(n)*SectorSize))
				m.resize(max(at+n, len(m.live)))
			case 2, 3:
				must(t, f.Sync())
				m.synced()
			}
			crashes := []Crash{{}, {Keep: KeepAll}, {Keep: KeepPrefix, N: r.IntN(c.Unsynced() + 1)}}
			for range 4 {
				crashes = append(crashes, Crash{Keep: KeepSubset, Seed: r.Uint64()})
			}
			for _, k := range crashes {
				d := c.Clone(k)
				clones++
				for j, m := range models {
					got := contentOf(t, d, fmt.Sprint(j))
					if wrong := m.check(got, k); wrong != "" {
						t.Fatalf("script %d step %d file %d %v: %s\n%s", script, step, j, k, wrong, c)
					}
					if got != contentOf(t, c, fmt.Sprint(j)) {
						different++
					}
				}
			}
		}
	}
	t.Logf("%d clones, %d files of them lost something", clones, different)
	if different < clones/2 {
		t.Fatal("the crashes hardly lose anything")
	}
}

// broken are ways to replace a file that a crash can tell from WriteFileAtomic.
var broken = map[string]func(FS, string, []byte) error{
	"no Sync": func(fsys FS, name string, data []byte) error {
		f, err := fsys.Open(name+TempSuffix, Write|Create)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		if err := fsys.Rename(name+TempSuffix, name); err != nil {
			return err
		}
		return fsys.SyncDir("/")
	},
	"no SyncDir": func(fsys FS, name string, data []byte) error {
		if err := writeSynced(fsys, name+TempSuffix, data); err != nil {
			return err
		}
		return fsys.Rename(name+TempSuffix, name)
	},
	"in place": func(fsys FS, name string, data []byte) error {
		if err := writeSynced(fsys, name, data); err != nil {
			return err
		}
		return fsys.SyncDir("/")
	},
}

// versionsOf are the contents that crashAtEveryCall writes, one after the other: of different lengths, several sectors.
var versionsOf = []string{"<none>", strings.Repeat("1", 3000), strings.Repeat("2", 700), strings.Repeat("3", 5000)}

// crashAtEveryCall replaces a file again and again, crashes at every call, and returns how many crash states it saw
// and the first that was wrong: the file must hold one version whole, and none older than the last acknowledged.
func crashAtEveryCall(replace func(FS, string, []byte) error) (states int, wrong error) {
	for k := int64(1); ; k++ {
		c := NewCrash(CrashOptions{})
		c.CrashAt(k)
		acked := 0
		for v := 1; v < len(versionsOf) && acked == v-1; v++ {
			if replace(c, "/f", []byte(versionsOf[v])) == nil {
				acked = v
			}
		}
		if !c.Crashed() {
			return states, wrong
		}
		crashes := []Crash{{}, {Keep: KeepAll}}
		for n := range c.Unsynced() {
			crashes = append(crashes, Crash{Keep: KeepPrefix, N: n}, Crash{Keep: KeepPrefix, N: n, Torn: true})
		}
		for seed := range uint64(16) {
			crashes = append(crashes, Crash{Keep: KeepSubset, Seed: seed, Torn: seed%2 == 1})
		}
		for _, crash := range crashes {
			states++
			data, err := ReadFile(c.Clone(crash), "/f", 1<<20)
			if errors.Is(err, fs.ErrNotExist) {
				data, err = []byte("<none>"), nil
			}
			at := slices.Index(versionsOf, string(data))
			if (err != nil || at < acked) && wrong == nil {
				wrong = fmt.Errorf("call %d, %v: version %d after %d was acknowledged, %v", k, crash, at, acked, err)
			}
		}
	}
}

func TestWriteFileAtomic_CrashAtEveryCall(t *testing.T) {
	states, wrong := crashAtEveryCall(WriteFileAtomic)
	if wrong != nil {
		t.Fatal(wrong)
	}
	t.Logf("%d crash states", states)
	if states < 300 {
		t.Fatal("too few")
	}
	for name, replace := range broken {
		if _, wrong := crashAtEveryCall(replace); wrong == nil {
			t.Errorf("%s: no crash shows it", name)
		} else {
			t.Logf("%s: %v", name, wrong)
		}
	}
}

// writeSynced makes name hold exactly data, durable as far as the bytes go.
func writeSynced(fsys FS, name string, data []byte) (err error) {
	f, err := fsys.Open(name, Write|Create)
	if err != nil {
		return err
	}
	defer func() { err = join(err, f.Close()) }()
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// A file that is staged, and synced beside other things, is as whole as one that WriteFileAtomic writes.
func TestStaged_CrashAtEveryCall(t *testing.T) {
	states, wrong := crashAtEveryCall(func(fsys FS, name string, data []byte) error {
		s, err := Stage(fsys, name, data)
		if err != nil {
			return err
		}
		s.BeginSync()
		return s.Publish()
	})
	if wrong != nil {
		t.Fatal(wrong)
	}
	t.Logf("%d crash states", states)
}

// A file whose sync fails gets no name, and one that is dropped leaves nothing.
func TestStaged_GetsNoName(t *testing.T) {
	c, _ := crashWith(t, []byte("old"))
	c.FailSync(SyncFailOnce, "*"+TempSuffix)
	s, err := Stage(c, "/f", []byte("new"))
	must(t, err)
	s.BeginSync()
	if err := s.Publish(); err == nil {
		t.Fatal("no error")
	}
	for _, begun := range []bool{false, true} {
		s, err := Stage(c, "/f", []byte("new"))
		must(t, err)
		if begun {
			s.BeginSync()
		}
		must(t, s.Drop())
	}
	if got, err := c.List("/"); err != nil || len(got) != 1 || contentOf(t, c, "/f") != "old" {
		t.Fatal(got, err)
	}
}

// A Sync that fails once and then succeeds must not make WriteFileAtomic claim what is not there.
func TestWriteFileAtomic_SyncFailsOnce(t *testing.T) {
	c, _ := crashWith(t, []byte("old"))
	c.FailSync(SyncFailOnce, "*"+TempSuffix)
	if err := WriteFileAtomic(c, "/f", []byte("new")); err == nil {
		t.Fatal("no error")
	}
	if got := contentOf(t, c.Clone(Crash{Keep: KeepAll}), "/f"); got != "old" {
		t.Fatal(got)
	}
	must(t, WriteFileAtomic(c, "/f", []byte("new")))
	if got := contentOf(t, c.Clone(Crash{}), "/f"); got != "new" {
		t.Fatal(got)
	}
}

func TestWriteFileAtomic_DiskFull(t *testing.T) {
	c, _ := crashWith(t, []byte("old"))
	c.SetSpace(c.Used())
	if err := WriteFileAtomic(c, "/f", []byte("new")); err == nil {
		t.Fatal("no error")
	}
	if got, err := c.List("/"); err != nil || len(got) != 1 || contentOf(t, c, "/f") != "old" {
		t.Fatal(got, err)
	}
	c.SetSpace(0)
	must(t, WriteFileAtomic(c, "/f", []byte("new")))
}
