package checkpoint_test

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

func TestPull_OlderDirectoryFetchesTheDifference(t *testing.T) {
	remote := newRemote(t)
	m := newMachine(t, 1)
	m.commit(1, delta{log: 40960, image: 20000})
	m.upload(remote, 1)
	older := m.copyOf(5)
	m.commit(2, delta{log: 8192})
	m.commit(3, delta{log: 4096})
	m.upload(remote, 3)
	n, err := older.mirror(remote).Pull(t.Context())
	m.ok(err)
	if n != 8192+4096 {
		t.Errorf("%d bytes fetched", n)
	}
	older.open()
	if older.current() != 3 || older.content(3) != m.content(3) || older.content(1) != m.content(1) {
		t.Errorf("at %d, or differs", older.current())
	}
	if n, err := older.mirror(remote).Pull(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d bytes, %v", n, err)
	}
	older.commit(4, delta{log: 4096}) // it goes on from there
	older.upload(remote, 4)
	wholeAt(t, older, remote, 4)
}

func TestPull_EmptyRemote(t *testing.T) {
	m, remote := newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 4096})
	if n, err := m.mirror(remote).Pull(t.Context()); n != 0 || err != nil || m.current() != 1 {
		t.Errorf("%d bytes, %v, at %d", n, err, m.current())
	}
}

// TestPull_NewerDirectoryStays: also when it was rolled back to what the remote has older ones of.
func TestPull_NewerDirectoryStays(t *testing.T) {
	m, remote := story(t)
	for _, head := range []checkpoint.Version{3, 1} {
		m.ok(m.d.SetHead(head))
		if n, err := m.mirror(remote).Pull(t.Context()); n != 0 || err != nil || m.current() != head {
			t.Errorf("%d bytes, %v, at %d, want %d", n, err, m.current(), head)
		}
	}
	m.ok(m.d.SetHead(3))
	for _, v := range []checkpoint.Version{1, 2} { // nothing in common is listed any more
		_, err := m.d.Purge(v)
		m.ok(err)
	}
	if n, err := m.mirror(remote).Pull(t.Context()); n != 0 || err != nil || m.current() != 3 {
		t.Errorf("%d bytes, %v, at %d", n, err, m.current())
	}
}

// TestPull_Diverged has two machines go on from one version. Whatever the second one does, it is told, and neither its
// own versions nor the remote's are harmed.
func TestPull_Diverged(t *testing.T) {
	for name, c := range map[string]struct {
		ids   [2]checkpoint.Version // that the two commit
		purge bool                  // the version they have in common, locally
	}{
		"same id":               {[2]checkpoint.Version{2, 2}, false},
		"remote higher":         {[2]checkpoint.Version{3, 2}, false},
		"remote higher, purged": {[2]checkpoint.Version{3, 2}, true},
		"local higher":          {[2]checkpoint.Version{2, 3}, false},
		"local higher, purged":  {[2]checkpoint.Version{2, 3}, true},
	} {
		t.Run(name, func(t *testing.T) {
			remote := newRemote(t)
			a := newMachine(t, 1)
			a.commit(1, delta{log: 20480})
			a.upload(remote, 1)
			b := a.copyOf(7)
			a.commit(c.ids[0], delta{log: 8192})
			a.upload(remote, c.ids[0])
			b.commit(c.ids[1], delta{log: 8192})
			if c.purge {
				_, err := b.d.Purge(1)
				b.ok(err)
			}
			mine := b.content(c.ids[1])

			_, err := b.mirror(remote).Pull(t.Context())
			wantErr(t, err, checkpoint.ErrDiverged)
			b.open()
			if b.current() != c.ids[1] || b.content(c.ids[1]) != mine {
				t.Fatalf("at %d, or differs", b.current())
			}
			_, err = b.mirror(remote).Upload(t.Context(), c.ids[1])
			wantErr(t, err, checkpoint.ErrDiverged)
			empty := newMachine(t, 3)
			_, err = empty.mirror(remote).Pull(t.Context())
			a.ok(err)
			if empty.current() != c.ids[0] || empty.content(c.ids[0]) != a.content(c.ids[0]) {
				t.Fatalf("the remote is at %d, or differs", empty.current())
			}
		})
	}
}

// TestPull_BranchElsewhere: the remote's newest forks below local log that is only here, but lies elsewhere. Both are
// kept, and addresses stay used up (V5) when the higher of the two is purged.
func TestPull_BranchElsewhere(t *testing.T) {
	remote := newRemote(t)
	a := newMachine(t, 1)
	a.commit(1, delta{log: 20480})
	a.upload(remote, 1)
	b := a.copyOf(7)
	a.commit(3, delta{}) // no log of its own
	a.upload(remote, 3)
	b.commit(2, delta{log: 16384})
	end := b.d.MaxEnd()
	_, err := b.mirror(remote).Pull(t.Context())
	b.ok(err)
	if !reflect.DeepEqual(b.versions(), []checkpoint.Version{1, 2, 3}) || b.current() != 3 {
		t.Fatalf("versions %v at %d", b.versions(), b.current())
	}
	_, err = b.d.Purge(2)
	b.ok(err)
	if b.open(); b.d.MaxEnd() != end || b.d.MaxID() != 3 {
		t.Errorf("max end %d, want %d", b.d.MaxEnd(), end)
	}
}

// TestFetch_EveryDamagedObject flips a byte in, truncates, lengthens and deletes each object: an error that names it,
// or no harm; never a version that differs.
func TestFetch_EveryDamagedObject(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	failed, harmless := 0, 0
	last := ""
	for _, name := range objects(t, remote) {
		if strings.Contains(name, "/entries/") {
			last = name
		}
	}
	for _, name := range objects(t, remote) {
		good := getObject(t, remote, name)
		damaged := [][]byte{nil, {}, good[:len(good)-1], good[:len(good)/2], append(slices.Clone(good), 7)}
		flips := 40
		if testing.Short() {
			flips = 8
		}
		for i := 0; i < len(good); i += 1 + len(good)/flips {
			b := slices.Clone(good)
			b[i] ^= 0x20
			damaged = append(damaged, b)
		}
		for i, b := range damaged {
			if b == nil {
				m.ok(remote.Delete(t.Context(), name))
			} else {
				m.ok(remote.Put(t.Context(), name, b))
			}
			for _, v := range []checkpoint.Version{0, 1, 2, 3} { // 0: pull
				empty := newMachine(t, 2)
				var err error
				if v == 0 {
					_, err = empty.mirror(remote).Pull(t.Context())
				} else {
					_, err = empty.mirror(remote).Fetch(t.Context(), v, checkpoint.FetchOptions{})
				}
				var c *checkpoint.CorruptionError
				switch {
				case err == nil:
					harmless++
					for _, v := range empty.versions() {
						if empty.content(v) != m.content(v) {
							t.Fatalf("%s, damage %d: version %d differs", name, i, v)
						}
					}
				case errors.As(err, &c):
					failed++
					if c.File != name || empty.current() != 0 {
						t.Fatalf("%s, damage %d: %v, at %d", name, i, err, empty.current())
					}
				case b == nil && errors.Is(err, checkpoint.ErrNotFound) && name == last: // as if it had never been put
				default:
					t.Fatalf("%s, damage %d, version %d: %v", name, i, v, err)
				}
			}
		}
		m.ok(remote.Put(t.Context(), name, good))
	}
	t.Logf("%d fetches failed, %d were not harmed", failed, harmless)
	wholeAt(t, m, remote, 3)
}

// TestUpload_MendsDamage: a version's object that is damaged is put again from the local copy.
func TestUpload_MendsDamage(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	for _, name := range objects(t, remote) {
		if !strings.Contains(name, "0000000000000003.manifest") {
			continue
		}
		m.ok(remote.Put(t.Context(), name, []byte("rubbish")))
		mirror := m.mirror(remote)
		_, err := mirror.Retain(t.Context(), 1)
		wantErr(t, err, checkpoint.ErrCorrupt)
		if got := mirror.Missing(); !reflect.DeepEqual(got, []checkpoint.Version{3}) {
			t.Errorf("missing %v", got)
		}
		if n, err := mirror.Pull(t.Context()); n != 0 || err != nil { // it has 3 itself
			t.Errorf("pull: %d bytes, %v", n, err)
		}
		_, err = mirror.Upload(t.Context(), 3)
		m.ok(err)
	}
	wholeAt(t, m, remote, 3)
}

// TestFetch_RepairsLocalDamage flips bytes in the log and the image of a version that is here, truncates and removes
// them.
func TestFetch_RepairsLocalDamage(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	want := map[checkpoint.Version]string{1: m.content(1), 2: m.content(2), 3: m.content(3)}
	image := m.d.Current().Image.ID
	for name, damage := range map[string]func(*machine) error{
		"log":             func(c *machine) error { c.writeFile(c.d.SegmentPath(0), []byte("damage"), 12345); return nil },
		"log of the fork": func(c *machine) error { c.writeFile(c.d.SegmentPath(1), []byte("damage"), 12345); return nil },
		"segment":         func(c *machine) error { return c.fs.Remove(c.d.SegmentPath(0)) },
		"image":           func(c *machine) error { c.writeFile(c.d.ImagePath(image), []byte("damage"), 99); return nil },
		"longer image":    func(c *machine) error { c.writeFile(c.d.ImagePath(image), []byte("damage"), 17000); return nil },
		"missing image":   func(c *machine) error { return c.fs.Remove(c.d.ImagePath(image)) },
	} {
		c := m.copyOf(9)
		c.ok(damage(c))
		mirror := c.mirror(remote)
		if n, err := mirror.Fetch(t.Context(), 3, checkpoint.FetchOptions{}); n != 0 || err != nil {
			t.Errorf("%s: not asked to repair: %d bytes, %v", name, n, err)
		}
		n, err := mirror.Fetch(t.Context(), 3, checkpoint.FetchOptions{Repair: true})
		c.ok(err)
		if (n == 0) != (name == "longer image") || n > 40000 { // of that one, every piece is here
			t.Errorf("%s: %d bytes fetched", name, n)
		}
		c.open()
		for v, want := range want {
			if v != 2 && c.content(v) != want { // 2 has log of its own
				t.Errorf("%s: version %d differs", name, v)
			}
		}
	}
}

// TestFetch_LeavesTheRunningStoreAlone: a version whose log lies where the running store writes is refused, unless
// the bytes are the same.
func TestFetch_LeavesTheRunningStoreAlone(t *testing.T) {
	remote := newRemote(t)
	a := newMachine(t, 1)
	a.commit(1, delta{log: 20480})
	a.upload(remote, 1)
	b := a.copyOf(7)
	a.commit(2, delta{log: 8192, image: 5000})
	a.upload(remote, 2)
	end := b.d.MaxEnd()
	b.writeLog(end, end+4096) // not committed yet
	running := string(b.read(b.d.SegmentPath(end/segmentBytes), int64(end%segmentBytes), 4096))
	live := checkpoint.Live{LogFrom: end}
	_, err := b.mirror(remote).Fetch(t.Context(), 2, checkpoint.FetchOptions{Live: live})
	wantErr(t, err, checkpoint.ErrDiverged)
	if got := string(b.read(b.d.SegmentPath(end/segmentBytes), int64(end%segmentBytes), 4096)); got != running {
		t.Error("log of the running store has changed")
	}
	// A version of its own history that was purged here comes back under the running store.
	c := a.copyOf(8)
	c.commit(3, delta{log: 4096})
	_, err = c.d.Purge(2)
	c.ok(err)
	live = checkpoint.Live{LogFrom: c.d.MaxEnd(), Images: []uint64{c.d.Current().Image.ID}}
	live.Log.Add(4096, c.d.MaxEnd()) // a scan
	n, err := c.mirror(remote).Fetch(t.Context(), 2, checkpoint.FetchOptions{Live: live})
	c.ok(err)
	if n != 0 || c.content(2) != a.content(2) || c.current() != 3 {
		t.Errorf("%d bytes fetched, at %d", n, c.current())
	}
	// An image of the same id that is being written is not replaced.
	d := a.copyOf(9)
	d.ok(d.d.SetHead(1))
	_, err = d.d.Purge(2)
	d.ok(err)
	d.writeFile(d.d.ImagePath(a.d.Current().Image.ID), []byte("half an image"), 0)
	live = checkpoint.Live{LogFrom: d.d.MaxEnd(), Images: []uint64{a.d.Current().Image.ID}}
	_, err = d.mirror(remote).Fetch(t.Context(), 2, checkpoint.FetchOptions{Live: live})
	wantErr(t, err, checkpoint.ErrDiverged)
}

// TestFetch_HoldsWhatComesIn: what is being fetched is not collected meanwhile.
func TestFetch_HoldsWhatComesIn(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	empty := newMachine(t, 2)
	opts := fast
	collected := 0
	opts.Progress = func(string, int64) {
		gone, err := empty.d.Collect(empty.d.Idle, nil)
		empty.ok(err)
		collected += len(gone)
	}
	mirror, err := checkpoint.NewMirror(empty.d, remote, opts)
	m.ok(err)
	_, err = mirror.Pull(t.Context())
	m.ok(err)
	if collected > 0 || empty.content(3) != m.content(3) {
		t.Errorf("%d files collected", collected)
	}
	gone, err := empty.d.Collect(empty.d.Idle, nil)
	if len(gone) != 0 || err != nil {
		t.Errorf("collected %v, %v", gone, err)
	}
}

// TestPull_CrashAtEveryCall crashes the machine that fetches: its directory holds nothing, or is refused because it is not
// filled yet, or opens at the version, whole; and the next pull finishes.
func TestPull_CrashAtEveryCall(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	states := 0
	for k := int64(1); ; k++ {
		disk := fsx.NewCrash(fsx.CrashOptions{})
		disk.CrashAt(k)
		err := pullOn(disk, remote)
		for i := range uint64(6) {
			c := fsx.Crash{Keep: fsx.KeepSubset, Seed: i, Torn: i%2 == 0}
			if i < 2 {
				c.Keep = []fsx.Keep{fsx.KeepNone, fsx.KeepAll}[i]
			}
			states++
			left := disk.Clone(c)
			_, opened := checkpoint.OpenDirWith(left, "store", checkpoint.OpenOptions{NoCreate: true})
			if opened == nil {
				if after := onDisk(t, left, 9); after.current() != 3 || after.content(3) != m.content(3) {
					t.Fatalf("crash %v at call %d: at %d, or differs", c, k, after.current())
				}
			} else if err == nil || !errors.Is(opened, checkpoint.ErrCorrupt) && !errors.Is(opened, fs.ErrNotExist) {
				t.Fatalf("crash %v at call %d: %v", c, k, opened) // half-filled it is no store, and not an empty one
			}
			if i > 2 && k%3 != 0 {
				continue
			}
			if err := pullOn(left, remote); err != nil {
				t.Fatalf("crash %v at call %d: pull again: %v", c, k, err)
			}
			after := onDisk(t, left.Clone(fsx.Crash{Keep: fsx.KeepNone}), 9)
			if after.current() != 3 || after.content(3) != m.content(3) {
				t.Fatalf("crash %v at call %d: after pulling again at %d, or differs", c, k, after.current())
			}
		}
		if err == nil {
			break
		}
	}
	t.Logf("%d crash states", states)
}

func pullOn(fsys fsx.FS, remote checkpoint.Remote) error {
	d, err := checkpoint.OpenDirWith(fsys, "store", checkpoint.OpenOptions{Identity: identity, Fill: true})
	if err != nil {
		return err
	}
	mirror, err := checkpoint.NewMirror(d, remote, fast)
	if err != nil {
		return err
	}
	if _, err = mirror.Pull(context.Background()); err != nil {
		return err
	}
	return d.TakeOver()
}

// TestPull_ErrorAtEveryCall fails every call on the disk and on the remote once: the error is reported, and a second
// attempt ends durably at the newest version.
func TestPull_ErrorAtEveryCall(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	check := func(disk *fsx.CrashFS, what any) {
		t.Helper()
		after := onDisk(t, disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), 9)
		if after.current() != 3 || after.content(3) != m.content(3) {
			t.Fatalf("%+v: at %d, or differs", what, after.current())
		}
	}
	for class := range fsx.NumClasses {
		for fault := (fsx.Fault{Class: class, Nth: 1}); ; fault.Nth++ {
			disk := fsx.NewCrash(fsx.CrashOptions{})
			failing := fsx.NewErr(disk)
			injection := failing.Inject(fault)
			if err := pullOn(failing, remote); err != nil {
				if err := pullOn(failing, remote); err != nil {
					t.Fatalf("%+v: second attempt: %v", fault, err)
				}
			}
			check(disk, fault)
			if injection.Fired() == 0 {
				break
			}
		}
	}
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial, remotetest.Truncate} {
		for k := 1; ; k++ {
			disk := fsx.NewCrash(fsx.CrashOptions{})
			remote.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: k})
			err := pullOn(disk, remote)
			fired := remote.Clear()
			if err != nil {
				if err := pullOn(disk, remote); err != nil {
					t.Fatalf("mode %d, call %d: second attempt: %v", mode, k, err)
				}
			}
			check(disk, []int{int(mode), k})
			if fired == 0 {
				break
			}
		}
	}
}

// TestPull_SyncThatFailsOnce drops what a failed sync should have made durable, bytes or names, while the system goes on
// showing it: the next attempt, of the same mirror or of another process, does not take it for fetched (M6), and does not
// fetch it again either.
func TestPull_SyncThatFailsOnce(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	for _, again := range []bool{false, true} {
		for _, glob := range []string{"*.seg", "*.img.tmp", "*.manifest.tmp", "log", "images", "versions"} {
			c := newMachine(t, 2)
			mirror := c.mirror(remote)
			c.disk.FailSync(fsx.SyncFailOnce, glob)
			first, err := mirror.Pull(t.Context())
			if err == nil {
				t.Fatalf("%s: no error", glob)
			}
			c.disk.FailSync(fsx.SyncHonest, "")
			if again {
				c.open()
				mirror = c.mirror(remote)
			}
			second, err := mirror.Pull(t.Context())
			c.ok(err)
			after := onDisk(t, c.disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), 9)
			if after.current() != 3 || after.content(3) != m.content(3) {
				t.Errorf("%s, another process %v: at %d, or differs", glob, again, after.current())
			}
			if glob == "*.seg" && second > first {
				t.Errorf("%s: %d bytes were fetched, then %d", glob, first, second)
			}
		}
	}
}

func TestPull_DiskFull(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	c := newMachine(t, 2)
	c.disk.SetSpace(c.disk.Used() + 24576)
	if _, err := c.mirror(remote).Pull(t.Context()); err == nil || c.current() != 0 {
		t.Fatalf("on a full disk: %v, at %d", err, c.current())
	}
	c.disk.SetSpace(0)
	_, err := c.mirror(remote).Pull(t.Context())
	c.ok(err)
	if c.content(3) != m.content(3) {
		t.Error("differs")
	}
}

// TestPull_LateListing: a listing that does not show the newest version does not matter; and what it shows although it is
// gone is not trusted.
func TestPull_LateListing(t *testing.T) {
	m, remote := story(t)
	m.ok(remote.Freeze(t.Context()))
	m.upload(remote, 3)
	wholeAt(t, m, remote, 3)
	if mirror := m.mirror(remote); true {
		n, err := mirror.Pull(t.Context())
		if n != 0 || err != nil || m.current() != 3 || mirror.Missing() != nil {
			t.Errorf("%d bytes, %v, at %d, missing %v", n, err, m.current(), mirror.Missing())
		}
	}
	remote.Thaw()
	// An interrupted upload leaves pieces; they are swept; a late listing still shows them.
	m.commit(4, delta{log: 20480, image: 9000})
	remote.Inject(remotetest.Fault{Verb: remotetest.Put, Match: "/versions/", Sticky: true})
	_, err := m.mirror(remote).Upload(t.Context(), 4)
	wantErr(t, err, remotetest.ErrInjected)
	remote.Clear()
	m.ok(remote.Freeze(t.Context()))
	if n, err := m.mirror(remote).Sweep(t.Context()); n != 3+2 || err != nil {
		t.Errorf("swept %d objects, %v", n, err)
	}
	m.upload(remote, 4)
	remote.Thaw()
	wholeAt(t, m, remote, 4)
}

// TestSetAside_DamagedDirectory: a directory that does not open is filled from the remote.
func TestSetAside_DamagedDirectory(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 3)
	id, err := checkpoint.RemoteIdentity(t.Context(), remote)
	m.ok(err)
	for name, damage := range map[string]func(c *machine){
		"STORE":            func(c *machine) { c.writeFile("store/STORE", []byte("x"), 20) },
		"missing STORE":    func(c *machine) { c.ok(c.fs.Remove("store/STORE")) },
		"HEAD":             func(c *machine) { c.writeFile("store/HEAD", []byte("x"), 20) },
		"current manifest": func(c *machine) { c.writeFile(c.d.ManifestPath(3), []byte("x"), 50) },
		"everything": func(c *machine) {
			for _, name := range []string{"store/STORE", "store/HEAD", c.d.ManifestPath(1), c.d.ManifestPath(2), c.d.ManifestPath(3), c.d.SegmentPath(1)} {
				c.writeFile(name, []byte("x"), 20)
			}
		},
	} {
		c := m.copyOf(9)
		damage(c)
		_, err := checkpoint.OpenDir(c.fs, "store", identity, false)
		wantErr(t, err, checkpoint.ErrCorrupt)
		// It is interrupted at every call, and refused as long as it is not finished.
		for k := int64(1); ; k++ {
			disk := c.disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
			disk.CrashAt(k)
			err := checkpoint.SetAside(disk, "store", id)
			for i := range uint64(12) {
				crashed := disk.Clone(fsx.Crash{Keep: fsx.KeepSubset, Seed: i})
				_, opened := checkpoint.OpenDir(crashed, "store", identity, false)
				wantErr(t, opened, checkpoint.ErrCorrupt) // also when it is complete: it is to be filled
				if i > 2 {
					continue
				}
				again := crashed.Clone(fsx.Crash{Keep: fsx.KeepAll})
				c.ok(checkpoint.SetAside(again, "store", id))
				c.ok(pullOn(again, remote))
				after := onDisk(t, again.Clone(fsx.Crash{Keep: fsx.KeepNone}), 9)
				if after.current() != 3 || after.content(3) != m.content(3) || after.d.MaxID() != 3 || after.d.MaxEnd() < m.d.MaxEnd() {
					t.Fatalf("%s, call %d: at %d of %d, log to %d, or differs", name, k, after.current(), after.d.MaxID(), after.d.MaxEnd())
				}
				after.commit(4, delta{log: 4096})
			}
			if err == nil {
				break
			}
		}
	}
	if err := checkpoint.SetAside(m.fs, "store", checkpoint.Identity{}); err == nil {
		t.Error("an odd identity was accepted")
	}
}
