package checkpoint

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestPurge(t *testing.T) {
	d := openTest(t, t.TempDir())
	for v := range Version(5) {
		commitTest(t, d, v+1, 4096)
	}
	_, err := d.Purge(5)
	wantErr(t, err, ErrInUse)
	_, err = d.Pin(2)
	must(t, err)
	_, err = d.Pin(2)
	must(t, err)
	d.Unpin(2)
	_, err = d.Purge(2)
	wantErr(t, err, ErrInUse)
	d.Unpin(2)
	g, err := d.Purge(2)
	must(t, err)
	if !g.Log.Empty() || g.Images != nil { // 5 holds all of it
		t.Errorf("garbage %v", g)
	}
	_, err = d.Purge(2)
	wantErr(t, err, ErrNotFound)
	wantDir(t, d, 5, 1, 3, 4, 5)
}

func TestPurge_IdsAndEndsStayUsedUp(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 9, 8192)
	must(t, d.SetHead(1))
	g, err := d.Purge(9)
	must(t, err)
	if want := []Range{{8192, 16384}}; !reflect.DeepEqual(g.Log.Ranges(), want) {
		t.Errorf("garbage %v, want %v", g.Log.Ranges(), want)
	}
	wantDir(t, d, 1, 1)
	for _, d := range []*Dir{d, openTest(t, d.Path())} {
		if d.MaxID() != 9 || d.MaxEnd() != 16384 {
			t.Errorf("max id %d, max end %d, want 9, 16384", d.MaxID(), d.MaxEnd())
		}
		wantErr(t, d.Commit(nextManifest(d, 9, 4096, false)), ErrOrder)
	}
}

func TestPurge_Damaged(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 2, 4096)
	must(t, os.WriteFile(d.ManifestPath(1), []byte("rubbish"), 0o644))
	d = openTest(t, d.Path())
	_, _, err := d.References()
	wantErr(t, err, ErrCorrupt)
	_, err = d.Purge(1)
	must(t, err)
	_, _, err = d.References()
	must(t, err)
	wantDir(t, d, 2, 2)
}

func TestRetain(t *testing.T) {
	d := openTest(t, t.TempDir())
	for v := range Version(5) {
		commitTest(t, d, v+1, 4096)
	}
	must(t, d.SetHead(2))
	must(t, d.Commit(nextManifest(d, 6, 4096, false)))
	for keep, want := range map[int][]Version{
		0: {1, 2, 3, 4, 5}, 1: {1, 2, 3, 4, 5}, 2: {1, 2, 3, 4}, 4: {1, 2}, 5: {1}, 6: {}, 9: {},
	} {
		if got := d.Retain(keep); !reflect.DeepEqual(got, want) {
			t.Errorf("keep %d: purge %v, want %v", keep, got, want)
		}
	}
	must(t, d.SetHead(3))
	_, err := d.Pin(1)
	must(t, err)
	if got, want := d.Retain(2), []Version{2, 4}; !reflect.DeepEqual(got, want) {
		t.Errorf("purge %v, want %v", got, want)
	}
}

func TestVersions_ExclusiveBytes(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 1, 4096)
	commitTest(t, d, 2, 8192)
	must(t, d.SetHead(1))
	m := nextManifest(d, 3, 4096, false)
	m.Image = &ImageRef{ID: 1, Bytes: 1000}
	must(t, d.Commit(m))
	m = nextManifest(d, 4, 4096, true)
	m.Image = &ImageRef{ID: 2, Bytes: 500}
	must(t, d.Commit(m))
	for v, want := range map[Version][4]int64{ // delta, log, image, exclusive
		1: {4096, 4096, 0, 0}, 2: {8192, 12288, 0, 8192}, 3: {4096, 8192, 1000, 1000}, 4: {4096, 12288, 500, 4096 + 500},
	} {
		i, err := d.Info(v)
		must(t, err)
		if got := [4]int64{i.DeltaBytes, i.LogBytes, i.ImageBytes, i.ExclusiveBytes}; got != want {
			t.Errorf("version %d: %v, want %v", v, got, want)
		}
	}
	if n := d.OldBytes(); n != 8192+1000 { // of versions 2 and 3
		t.Errorf("%d bytes for old versions", n)
	}
}

// What Info says of the version that was committed last, without a look at the others, is what Versions says of it.
func TestInfo_OfTheNewest(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	quick := 0
	for range 10 {
		d := openTest(t, t.TempDir())
		image := uint64(0)
		for v := Version(1); v <= 25; v++ {
			m := nextManifest(d, v, 4096*(1+rng.Uint64N(3)), rng.IntN(2) == 0)
			if parent := d.Current(); parent != nil && rng.IntN(3) > 0 {
				m.Image, m.Runs = parent.Image, append([]RunRef(nil), parent.Runs...)
			}
			if image++; m.Image == nil || rng.IntN(4) == 0 {
				m.Image, m.Runs = &ImageRef{ID: image, Bytes: 1000 + int64(image), ReplayFrom: m.Cut}, nil
			} else if from := m.Index.Replay(); rng.IntN(2) == 0 && from < m.Cut {
				m.Runs = append(m.Runs, RunRef{ID: image, Bytes: int64(image), From: from, To: m.Cut})
			}
			if rng.IntN(4) == 0 {
				m.Extents = Trim(m.Extents, m.DeltaStart/2&^4095) // compacted
			}
			must(t, d.Commit(m))
			if _, ok := d.newestInfo(v); ok {
				quick++
			}
			got, err := d.Info(v)
			must(t, err)
			all := d.Versions()
			if want := all[len(all)-1]; !reflect.DeepEqual(got, want) {
				t.Fatalf("version %d: %+v, Versions says %+v", v, got, want)
			}
			other := all[rng.IntN(len(all))].Version
			switch rng.IntN(4) {
			case 0:
				must(t, d.SetHead(other))
				if _, err := d.Info(v); err != nil {
					t.Fatal(err)
				}
			case 1:
				if other != d.Current().Version {
					must(t, d.Drop(other))
				}
			case 2:
				_, err := d.Amend(v, Index{Image: &ImageRef{ID: image + 1000, Bytes: 77, ReplayFrom: m.Cut}})
				must(t, err)
				got, err := d.Info(v)
				must(t, err)
				all := d.Versions()
				if want := all[len(all)-1]; !reflect.DeepEqual(got, want) {
					t.Fatalf("version %d, amended: %+v, Versions says %+v", v, got, want)
				}
			}
		}
	}
	if quick < 100 {
		t.Errorf("only %d of 250 versions were told of without a look at the others", quick)
	}
}

// To tell of a version that was just committed takes the same beside many as beside few.
func TestInfo_DoesNotFollowTheNumberOfVersions(t *testing.T) {
	d := openTest(t, t.TempDir())
	allocs := func() float64 {
		return testing.AllocsPerRun(10, func() {
			if _, err := d.Info(d.MaxID()); err != nil {
				t.Fatal(err)
			}
		})
	}
	for v := range Version(3) {
		commitTest(t, d, v+1, 4096)
	}
	few := allocs()
	for v := range Version(100) {
		commitTest(t, d, v+4, 4096)
	}
	if many := allocs(); many != few {
		t.Errorf("%v allocations beside 102 versions, %v beside 2", many, few)
	}
}

func TestExclusiveBytes_AgainstCounting(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var all []*Manifest
		users := make(map[uint64][]Version)
		for v := range Version(1 + rng.IntN(5)) {
			m := &Manifest{Version: v + 1}
			for at := uint64(0); at < 60; {
				start := at + rng.Uint64N(10)
				end := start + 1 + rng.Uint64N(10)
				m.Extents = append(m.Extents, Extent{Start: start, End: end, Fuzzy: end})
				for ; start < end; start++ {
					users[start] = append(users[start], m.Version)
				}
				at = end // the next may touch
			}
			all = append(all, m)
		}
		want := make(map[Version]int64)
		for _, u := range users {
			if len(u) == 1 {
				want[u[0]]++
			}
		}
		got := exclusiveBytes(all)
		for _, m := range all {
			if got[m.Version] != want[m.Version] {
				t.Fatalf("version %d: %d, want %d", m.Version, got[m.Version], want[m.Version])
			}
		}
	}
}

func TestOrphans(t *testing.T) {
	d := openTest(t, t.TempDir())
	must(t, d.Commit(withImage(nextManifest(d, 1, 2*testSegment-4096, true), 1))) // segments 0, 1
	must(t, d.Commit(withImage(nextManifest(d, 2, testSegment, true), 2)))        // 2
	must(t, d.SetHead(1))                                                         //
	must(t, d.Commit(withImage(nextManifest(d, 3, testSegment/2, false), 2)))     // 3, first half
	foreign := []string{"log/notes", "log/3.seg", "images/1.img", "log/00000000000A.seg", "log/ffffffffffff.seg", "versions/1"}
	for _, name := range foreign {
		must(t, os.WriteFile(filepath.Join(d.Path(), name), []byte("mine"), 0o644))
	}
	for n := range uint64(6) {
		must(t, os.WriteFile(d.SegmentPath(n), make([]byte, 10+n), 0o644))
		must(t, os.WriteFile(d.ImagePath(n), make([]byte, 20+n), 0o644))
	}
	wantOrphans(t, d, Live{LogFrom: 4 * testSegment, Images: []uint64{5}}, []uint64{}, []uint64{0, 3, 4})
	wantOrphans(t, d, Live{LogFrom: 5 * testSegment}, []uint64{4}, []uint64{0, 3, 4, 5})
	var scanned ExtentSet
	scanned.Add(5*testSegment+100, 5*testSegment+108)
	wantOrphans(t, d, Live{LogFrom: NoLiveLog, Log: scanned}, []uint64{4}, []uint64{0, 3, 4, 5})
	wantOrphans(t, d, Live{LogFrom: NoLiveLog}, []uint64{4, 5}, []uint64{0, 3, 4, 5})
	g, err := d.Purge(2)
	must(t, err)
	if want := []Range{{2 * testSegment, 3 * testSegment}}; !reflect.DeepEqual(g.Log.Ranges(), want) || g.Images != nil {
		t.Errorf("garbage %v, want %v", g, want)
	}
	wantOrphans(t, d, Live{LogFrom: NoLiveLog}, []uint64{2, 4, 5}, []uint64{0, 3, 4, 5})
	must(t, d.SetHead(3))
	if g, err = d.Purge(1); err != nil || !reflect.DeepEqual(g.Images, []uint64{1}) || !g.Log.Empty() {
		t.Errorf("garbage %v, %v, want image 1", g, err)
	}
	gone, err := d.Collect(d.Idle, nil)
	must(t, err)
	if len(gone) != 3+5 {
		t.Errorf("collected %v", gone)
	}
	wantOrphans(t, d, Live{LogFrom: NoLiveLog}, []uint64{}, []uint64{})
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(d.Path(), name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n, want := range []bool{true, true, false, true, false, false} {
		if _, err := os.Stat(d.SegmentPath(uint64(n))); errors.Is(err, fs.ErrNotExist) == want {
			t.Errorf("segment %d: %v", n, err)
		}
	}
	wantDir(t, d, 3, 3)
}

func withImage(m *Manifest, id uint64) *Manifest {
	m.Image = &ImageRef{ID: id, Bytes: 20 + int64(id)}
	return m
}

// Idle is the picture of a directory that no store uses.
func (d *Dir) Idle() (Picture, error) { return d.Picture(Live{LogFrom: NoLiveLog}) }

func wantOrphans(t *testing.T, d *Dir, live Live, segments, images []uint64) {
	t.Helper()
	got, err := d.Orphans(live)
	must(t, err)
	want := []Orphan{}
	for _, n := range segments {
		want = append(want, Orphan{d.SegmentPath(n), 10 + int64(n)})
	}
	for _, n := range images {
		want = append(want, Orphan{d.ImagePath(n), 20 + int64(n)})
	}
	if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("orphans %v, want %v", got, want)
	}
}

func TestDir_ConcurrentUse(t *testing.T) {
	d := openTest(t, t.TempDir())
	commitTest(t, d, 1, 4096)
	stop, done := make(chan struct{}), make(chan error)
	for range 3 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				for _, info := range d.Versions() {
					if m, err := d.Pin(info.Version); err == nil {
						// Pinned: it can be read and not purged, however long this takes.
						if _, err := d.Manifest(m.Version); err != nil {
							done <- err
							return
						}
						d.Unpin(m.Version)
					}
				}
				if _, _, err := d.References(); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for v := Version(2); v < 30; v++ {
		commitTest(t, d, v, 4096)
		for _, old := range d.Retain(3) {
			if _, err := d.Purge(old); err != nil && !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		}
		if v%5 == 0 {
			must(t, d.SetHead(v-1))
			must(t, d.SetHead(v))
		}
	}
	close(stop)
	for range 3 {
		must(t, <-done)
	}
	if got := openTest(t, d.Path()); got.Current().Version != 29 {
		t.Errorf("current is %d", got.Current().Version)
	}
}
