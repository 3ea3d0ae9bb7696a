package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

const segmentBytes = 1 << 15

var identity = checkpoint.Identity{StoreID: [16]byte{0xab, 0xcd}, HashSeed: 42, SegmentBytes: segmentBytes}

// fast are options with which nothing takes long, and every object is small.
var fast = checkpoint.MirrorOptions{PieceBytes: 8192, Attempts: 1, Backoff: time.Microsecond}

// machine is a store's directory on a disk, with an engine that writes random bytes.
type machine struct {
	t    testing.TB
	disk *fsx.CrashFS
	fs   fsx.FS
	d    *checkpoint.Dir
	rng  *rand.Rand
}

// newMachine returns an empty directory. Machines of different seeds write different bytes.
func newMachine(t testing.TB, seed uint64) *machine {
	t.Helper()
	return onDisk(t, fsx.NewCrash(fsx.CrashOptions{}), seed)
}

func (m *machine) open() {
	m.t.Helper()
	d, err := checkpoint.OpenDir(m.fs, "store", identity, false)
	m.ok(err)
	m.d = d
}

func (m *machine) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// onDisk returns a machine with what is on a disk.
func onDisk(t testing.TB, disk *fsx.CrashFS, seed uint64) *machine {
	t.Helper()
	m := &machine{t: t, disk: disk, fs: disk, rng: rand.New(rand.NewPCG(seed, 11))}
	m.open()
	return m
}

// copyOf returns a machine with a copy of the disk.
func (m *machine) copyOf(seed uint64) *machine {
	m.t.Helper()
	return onDisk(m.t, m.disk.Clone(fsx.Crash{Keep: fsx.KeepAll}), seed)
}

func (m *machine) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(m.rng.Uint32())
	}
	return b
}

// writeFile writes part of a file, durably as far as its bytes go.
func (m *machine) writeFile(name string, b []byte, off int64) {
	m.t.Helper()
	f, err := m.fs.Open(name, fsx.Write|fsx.Create)
	m.ok(err)
	_, err = f.WriteAt(b, off)
	m.ok(errors.Join(err, f.Sync(), f.Close()))
}

// writeLog writes random log bytes.
func (m *machine) writeLog(start, end uint64) {
	m.t.Helper()
	for at := start; at < end; {
		n := at / segmentBytes
		stop := min(end, (n+1)*segmentBytes)
		m.writeFile(m.d.SegmentPath(n), m.bytes(int(stop-at)), int64(at%segmentBytes))
		at = stop
	}
	m.ok(m.fs.SyncDir(m.d.LogPath()))
}

// delta says what a version adds to the current one.
type delta struct {
	log   uint64 // bytes
	image int    // bytes of a new image; 0 = the parent's
	run   int    // bytes of a new run, if there is an image that it can follow; 0 = only the parent's
	merge int    // how many of the parent's runs the new one takes the place of, at most
	share int    // bytes of a new share besides the parent's; 0 = only those
	trim  uint64 // drop log below
}

func (m *machine) commit(v checkpoint.Version, c delta) {
	m.t.Helper()
	m.commitImage(v, c, m.d.NextImageID(max(m.d.MaxEnd(), 4096)))
}

// commitImage is commit with an id for the image.
func (m *machine) commitImage(v checkpoint.Version, c delta, image uint64) {
	m.t.Helper()
	parent := m.d.Current()
	start := max(m.d.MaxEnd(), 4096)
	m.writeLog(start, start+c.log)
	next := &checkpoint.Manifest{
		Version: v, DeltaStart: start, Cut: start + c.log, DeltaBytes: int64(c.log), LogVersion: uint64(v),
		Created: time.Unix(int64(v), 0).UTC(), Cookie: fmt.Appendf(nil, "cookie %d", v),
	}
	live := parent != nil && parent.Cut == start
	if parent != nil {
		next.Parent, next.Index = parent.Version, parent.Index
	}
	e := checkpoint.Extent{Start: start, End: start + c.log, Fuzzy: start + c.log, LogVersion: uint64(v)}
	next.Extents = checkpoint.Trim(checkpoint.Extend(parent, e, live), c.trim)
	if c.image > 0 {
		next.Runs = nil
		next.Image = &checkpoint.ImageRef{ID: image, Bytes: int64(c.image), ReplayFrom: start}
		m.writeFile(m.d.ImagePath(next.Image.ID), m.bytes(c.image), 0)
		m.ok(m.fs.SyncDir(m.d.ImagesPath()))
	}
	if c.run > 0 && next.Image != nil {
		m.addRun(next, c, image+1)
	}
	if c.share > 0 && next.Cut > start {
		share := checkpoint.ShareRef{ID: image + 2, Bytes: int64(c.share), Last: 1 << 60, From: start, To: next.Cut}
		next.Shares, next.ReplayFrom = append(slices.Clone(next.Shares), share), next.Cut
		m.writeFile(m.d.ImagePath(share.ID), m.bytes(c.share), 0)
		m.ok(m.fs.SyncDir(m.d.ImagesPath()))
	}
	m.ok(m.d.Commit(next))
}

// addRun gives next a run up to its cut, unless there is no log for one.
func (m *machine) addRun(next *checkpoint.Manifest, c delta, id uint64) {
	runs := slices.Clone(next.Runs)
	from := next.Image.ReplayFrom
	if n := len(runs); n > 0 {
		from = runs[n-1].To
		if c.merge = min(c.merge, n); c.merge > 0 {
			from = runs[n-c.merge].From
		}
		runs = runs[:n-c.merge]
	}
	if from >= next.Cut {
		return
	}
	next.Runs = append(runs, checkpoint.RunRef{ID: id, Bytes: int64(c.run), From: from, To: next.Cut})
	m.writeFile(m.d.ImagePath(id), m.bytes(c.run), 0)
	m.ok(m.fs.SyncDir(m.d.ImagesPath()))
}

// content returns everything that a version consists of.
func (m *machine) content(v checkpoint.Version) string {
	m.t.Helper()
	manifest, err := m.d.Manifest(v)
	m.ok(err)
	var b bytes.Buffer
	b.Write(manifest.Cookie)
	for _, e := range manifest.Extents {
		fmt.Fprintf(&b, "|%d-%d|", e.Start, e.End)
		for at := e.Start; at < e.End; {
			stop := min(e.End, (at/segmentBytes+1)*segmentBytes)
			b.Write(m.read(m.d.SegmentPath(at/segmentBytes), int64(at%segmentBytes), int(stop-at)))
			at = stop
		}
	}
	if i := manifest.Image; i != nil {
		fmt.Fprintf(&b, "|image %d|", i.ID)
		b.Write(m.read(m.d.ImagePath(i.ID), 0, int(i.Bytes)))
	}
	for _, run := range manifest.Runs {
		fmt.Fprintf(&b, "|run %d|", run.ID)
		b.Write(m.read(m.d.ImagePath(run.ID), 0, int(run.Bytes)))
	}
	for _, share := range manifest.Shares {
		fmt.Fprintf(&b, "|share %d|", share.ID)
		b.Write(m.read(m.d.ImagePath(share.ID), 0, int(share.Bytes)))
	}
	return b.String()
}

// read returns bytes of a file, fewer where it ends.
func (m *machine) read(name string, off int64, n int) []byte {
	f, err := m.fs.Open(name, fsx.Read)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, n)
	got, _ := f.ReadAt(b, off)
	return b[:got]
}

func (m *machine) versions() []checkpoint.Version {
	var ids []checkpoint.Version
	for _, info := range m.d.Versions() {
		ids = append(ids, info.Version)
	}
	return ids
}

func (m *machine) current() checkpoint.Version {
	if c := m.d.Current(); c != nil {
		return c.Version
	}
	return 0
}

func (m *machine) mirror(r checkpoint.Remote) *checkpoint.Mirror {
	m.t.Helper()
	mirror, err := checkpoint.NewMirror(m.d, r, fast)
	m.ok(err)
	return mirror
}

// upload sends versions with a new mirror and returns the bytes that it took.
func (m *machine) upload(r checkpoint.Remote, versions ...checkpoint.Version) (sent int64) {
	m.t.Helper()
	mirror := m.mirror(r)
	for _, v := range versions {
		n, err := mirror.Upload(context.Background(), v)
		m.ok(err)
		sent += n
	}
	return sent
}

// newRemote returns an empty remote in memory.
func newRemote(t testing.TB) *remotetest.Faulty {
	t.Helper()
	r, err := checkpoint.NewDirRemoteOn(fsx.NewCrash(fsx.CrashOptions{}), "remote")
	if err != nil {
		t.Fatal(err)
	}
	return remotetest.NewFaulty(r)
}

// objects returns the names of all objects of a remote, sorted.
func objects(t testing.TB, r checkpoint.Remote) []string {
	t.Helper()
	list, err := r.List(context.Background(), "")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, o := range list {
		all = append(all, o.Name)
	}
	slices.Sort(all)
	return all
}

func getObject(t testing.TB, r checkpoint.Remote, name string) []byte {
	t.Helper()
	body, err := r.Get(context.Background(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}
