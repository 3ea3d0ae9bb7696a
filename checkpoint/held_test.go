package checkpoint_test

import (
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// amend gives the current version another image.
func (m *machine) amend() (checkpoint.ImageRef, error) {
	m.t.Helper()
	cur := m.d.Current()
	image := checkpoint.ImageRef{ID: m.d.NextImageID(m.d.MaxEnd()), Bytes: 500, ReplayFrom: cur.Cut}
	m.writeFile(m.d.ImagePath(image.ID), m.bytes(500), 0)
	m.ok(m.fs.SyncDir(m.d.ImagesPath()))
	_, err := m.d.Amend(cur.Version, checkpoint.Index{Image: &image})
	return image, err
}

func (m *machine) collect() (gone int) {
	m.t.Helper()
	files, err := m.d.Collect(m.d.Idle, nil)
	m.ok(err)
	return len(files)
}

func (m *machine) has(image checkpoint.ImageRef) bool {
	return len(m.read(m.d.ImagePath(image.ID), 0, int(image.Bytes))) == int(image.Bytes)
}

// Whoever has pinned a version may open the image that its manifest named then, until everybody has unpinned it (V8).
func TestPin_ImageOfAnAmendedVersionStays(t *testing.T) {
	m := newMachine(t, 1)
	m.commit(1, delta{log: 5000, image: 300})
	pinned, err := m.d.PinCurrent()
	m.ok(err)
	if pinned.Version != 1 {
		t.Fatalf("the current version is %d", pinned.Version)
	}
	second, err := m.amend()
	m.ok(err)
	again, err := m.d.Pin(1)
	m.ok(err)
	third, err := m.amend()
	m.ok(err)
	if *again.Image != second || *m.d.Current().Image != third {
		t.Fatalf("images %v, %v", again.Image, m.d.Current().Image)
	}
	for _, pins := range []int{2, 1} {
		if gone := m.collect(); gone != 0 || !m.has(*pinned.Image) || !m.has(second) {
			t.Errorf("%d files collected with %d pins", gone, pins)
		}
		m.d.Unpin(1)
	}
	if gone := m.collect(); gone != 2 || m.has(*pinned.Image) || m.has(second) || !m.has(third) {
		t.Errorf("%d files collected without pins", gone)
	}
}

// An amendment that failed leaves open which manifest a crash will show: the images of both stay. One that succeeds
// settles it.
func TestAmend_FailureKeepsBothImages(t *testing.T) {
	for _, fault := range []fsx.Fault{
		{Class: fsx.ClassSyncDir, Match: "versions"},
		{Class: fsx.ClassSyncDir, Match: "versions", After: true},
		{Class: fsx.ClassRename},
		{Class: fsx.ClassRename, After: true},
	} {
		for _, keep := range []fsx.Keep{fsx.KeepNone, fsx.KeepAll} {
			m := newMachine(t, 1)
			faulty := fsx.NewErr(m.fs)
			m.fs = faulty
			m.open()
			m.commit(1, delta{log: 5000, image: 300})
			faulty.Inject(fault)
			if _, err := m.amend(); err == nil {
				t.Fatal("the amendment succeeded")
			}
			m.collect()
			m.ok(m.fs.SyncDir(m.d.ImagesPath())) // what was removed does not come back
			crashed := onDisk(t, m.disk.Clone(fsx.Crash{Keep: keep}), 2)
			if image := *crashed.d.Current().Image; !crashed.has(image) {
				t.Errorf("%v (after: %v), %v kept: image %#x is missing", fault.Class, fault.After, keep, image.ID)
			}
			last, err := m.amend()
			m.ok(err)
			if gone := m.collect(); gone != 2 || !m.has(last) {
				t.Errorf("%d files collected once it is settled", gone)
			}
		}
	}
}

// removeHookFS calls a hook before it removes a file, once it is set.
type removeHookFS struct {
	fsx.FS
	hook atomic.Pointer[func()]
}

func (h *removeHookFS) Remove(name string) error {
	if hook := h.hook.Load(); hook != nil {
		(*hook)()
	}
	return h.FS.Remove(name)
}

// The files of a version that was purged are being removed when the version is fetched again: they still seem to be
// there.
func TestFetch_WhileItsFilesAreBeingCollected(t *testing.T) {
	m, remote := newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 4096})
	m.commit(2, delta{log: 3 * segmentBytes, image: 9000})
	m.ok(m.d.SetHead(1))
	m.commit(3, delta{log: 4096})
	m.upload(remote, 1, 2, 3)
	want := m.content(2)
	files := &removeHookFS{FS: m.fs}
	m.fs = files
	m.open()
	_, err := m.d.Purge(2)
	m.ok(err)
	mirror := m.mirror(remote)
	_, err = mirror.Retain(t.Context(), 100) // it has looked at the remote by now
	m.ok(err)
	fetched := make(chan error, 1)
	var once atomic.Bool
	hook := func() {
		if once.Swap(true) {
			return
		}
		go func() {
			_, err := mirror.Fetch(t.Context(), 2, checkpoint.FetchOptions{})
			fetched <- err
		}()
		testkit.Eventually(t, "the fetch, or its wait for the collection", func() bool {
			return len(fetched) > 0 || testkit.Stands("[sync.Mutex.Lock", ").Fetch(", ").hold(")
		})
	}
	files.hook.Store(&hook)
	m.collect()
	if !once.Load() {
		t.Fatal("nothing was collected")
	}
	m.ok(<-fetched)
	if m.content(2) != want {
		t.Error("the version is not whole")
	}
}

// What is fetched with a pin is not purged before it is used.
func TestFetch_Pins(t *testing.T) {
	m, remote := story(t)
	m.upload(remote, 1, 2, 3)
	_, err := m.d.Purge(1)
	m.ok(err)
	mirror := m.mirror(remote)
	for _, how := range []string{"fetched", "there already"} {
		_, err = mirror.Fetch(t.Context(), 1, checkpoint.FetchOptions{Pin: true})
		m.ok(err)
		if _, err = m.d.Purge(1); err == nil {
			t.Fatalf("%s, pinned and purged", how)
		}
	}
	m.d.Unpin(1)
	_, err = m.d.Purge(1)
	wantErr(t, err, checkpoint.ErrInUse)
	m.d.Unpin(1)
	_, err = m.d.Purge(1)
	m.ok(err)
}
