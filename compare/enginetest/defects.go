package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// defects has one test for each defect that was found by running the thesis' engines.
func (s Subject) defects(t *testing.T) {
	t.Run("DeletedKeysReturnAfterReopen", s.deletedAfterReopen)
	t.Run("DeletedKeysReturnAfterMerge", s.deletedAfterMerge)
	t.Run("CloseLosesTheMemtable", s.closeKeeps)
	t.Run("EmptySnapshotCannotBeRestored", s.emptySnapshot)
	t.Run("UnknownVersionDeletesLocalData", s.unknownVersion)
	t.Run("SnapshotAfterRollbackOverwritesHistory", s.rollbackKeepsHistory)
	t.Run("FlippedByteIsReturnedAsValue", s.flippedBytes)
	t.Run("AddressTableGrowsForEver", s.nothingGrows)
	t.Run("DeletedKeysAreNeverReclaimed", s.deletedAreReclaimed)
	if s.Remote {
		t.Run("RemoteGarbageIsNeverCollected", s.remoteGarbage)
	}
	if s.Remote && s.Incremental {
		t.Run("MergeUploadsTheWholeStateAgain", s.uploadsOnlyDeltas)
	}
}

func (s Subject) deletedAfterReopen(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(300)
	for i, k := range keys {
		set(t, e, m, k, value(k, i, 20))
	}
	e = s.reopen(t, e, dir)
	for _, k := range keys[100:200] {
		set(t, e, m, k, "")
	}
	verify(t, e, m, keys)
	for range 3 {
		e = s.reopen(t, e, dir)
		verify(t, e, m, keys)
	}
	snapshot(t, e, 1)
	restore(t, e, 1)
	verify(t, s.reopen(t, e, dir), m, keys)
}

// deletedAfterMerge deletes keys whose values lie in ever deeper levels, and has merges of every depth run between.
func (s Subject) deletedAfterMerge(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(240)
	for i, k := range keys {
		set(t, e, m, k, value(k, i, 30))
	}
	for round := range 60 {
		for i, k := range keys {
			switch {
			case i%60 == round && i < 120:
				set(t, e, m, k, "") // for good
			case i >= 120 && i%7 == round%7:
				set(t, e, m, k, value(k, round, 30))
			case i >= 120 && i%11 == round%11:
				set(t, e, m, k, "")
			}
		}
		verify(t, e, m, keys)
		if round%10 == 9 {
			snapshot(t, e, uint64(round))
			e = s.reopen(t, e, dir)
			verify(t, e, m, keys)
		}
	}
}

func (s Subject) closeKeeps(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(40)
	for i, k := range keys {
		set(t, e, m, k, value(k, i, 0))
		set(t, e, m, keys[(i*3)%40], "")
		e = s.reopen(t, e, dir)
		verify(t, e, m, keys)
	}
	// A close is no version: the numbers are the caller's.
	snapshot(t, e, 1)
	set(t, e, m, keys[0], "after")
	e = s.reopen(t, e, dir)
	verify(t, e, m, keys)
	snapshot(t, e, 2)
}

func (s Subject) emptySnapshot(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(100)
	snapshot(t, e, 1)
	for i, k := range keys {
		set(t, e, m, k, value(k, i, 40))
	}
	snapshot(t, e, 2)
	restore(t, e, 1)
	verify(t, e, state{}, keys)
	e = s.reopen(t, e, dir)
	verify(t, e, state{}, keys)
	restore(t, e, 2)
	for _, k := range keys {
		set(t, e, state{}, k, "")
	}
	snapshot(t, e, 3) // empty again
	restore(t, e, 2)
	verify(t, e, m, keys)
	restore(t, e, 3)
	verify(t, e, state{}, keys)
	verify(t, s.reopen(t, e, dir), state{}, keys)
}

func (s Subject) unknownVersion(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(100)
	for i, k := range keys[:50] {
		set(t, e, m, k, value(k, i, 40))
	}
	snapshot(t, e, 5)
	at5 := maps.Clone(m)
	for i, k := range keys[25:75] {
		set(t, e, m, k, value(k, 100+i, 40))
	}
	for _, v := range []uint64{1, 4, 6, 1 << 40} {
		if err := e.Restore(v); !errors.Is(err, compare.ErrVersionNotFound) {
			t.Fatalf("restore %d: %v", v, err)
		}
		verify(t, e, m, keys)
	}
	restore(t, e, 5)
	verify(t, e, at5, keys)
	if err := e.Restore(6); !errors.Is(err, compare.ErrVersionNotFound) {
		t.Fatal(err)
	}
	verify(t, s.reopen(t, e, dir), at5, keys)
}

// rollbackKeepsHistory grows a tree of versions and visits all of it, again and again.
func (s Subject) rollbackKeepsHistory(t *testing.T) {
	dir := t.TempDir()
	e, m, keys := s.open(t, dir), state{}, names(60)
	was := map[uint64]state{}
	for v := uint64(1); v <= 24; v++ {
		for i := range 20 {
			k := keys[(i*11+int(v)*5)%len(keys)]
			if (i+int(v))%4 == 0 {
				set(t, e, m, k, "")
			} else {
				set(t, e, m, k, value(k, int(v), 50))
			}
		}
		snapshot(t, e, v)
		was[v] = maps.Clone(m)
		if v%3 == 0 { // go on from an older version
			back := v/2 + 1
			restore(t, e, back)
			m = maps.Clone(was[back])
			verify(t, e, m, keys)
		}
		if v%7 == 0 {
			e = s.reopen(t, e, dir)
			verify(t, e, m, keys)
		}
	}
	for range 2 {
		for v, want := range was {
			restore(t, e, v)
			verify(t, e, want, keys)
		}
		e = s.reopen(t, e, dir)
	}
}

// nothingGrows updates a few keys for a long time.
func (s Subject) nothingGrows(t *testing.T) {
	dir := t.TempDir()
	o := s.Options
	o.KeepVersions = 2
	e, m, keys := s.openWith(t, dir, o), state{}, names(100)
	var memory, disk int64
	for round := range 60 {
		for i := range min(scaled(500), 1000) {
			k := keys[i%len(keys)]
			set(t, e, m, k, value(k, round, 40))
		}
		snapshot(t, e, uint64(round+1))
		if round == 20 {
			memory, disk = e.Size(), diskBytes(t, o.FS, dir)
		}
	}
	verify(t, e, m, keys)
	if now := e.Size(); now > 2*memory+512<<10 {
		t.Errorf("memory has grown from %d to %d bytes under the same keys", memory, now)
	}
	// With MaxRuns of 3, a level has at most twice what its merges bring.
	if now := diskBytes(t, o.FS, dir); now > 5*disk+1<<20 {
		t.Errorf("the directory has grown from %d to %d bytes under the same keys", disk, now)
	}
}

// deletedAreReclaimed inserts and deletes keys that are never seen again.
func (s Subject) deletedAreReclaimed(t *testing.T) {
	dir := t.TempDir()
	o := s.Options
	o.KeepVersions = 1
	o.MemtableBytes, o.ThresholdBytes, o.PageBytes, o.SegmentBytes = 64<<10, 64<<10, 16<<10, 64<<10
	e, m := s.openWith(t, dir, o), state{}
	size := max(1000, int(6*s.DiskSlack/20_000))
	var gone []string
	written := int64(0)
	for round := range 40 {
		keys := make([]string, min(scaled(500), 1000))
		for i := range keys {
			keys[i] = fmt.Sprintf("wave %d key %d", round, i)
			set(t, e, m, keys[i], value(keys[i], i, size))
			written += int64(size)
		}
		snapshot(t, e, uint64(2*round+1))
		for _, k := range keys {
			set(t, e, m, k, "")
		}
		snapshot(t, e, uint64(2*round+2))
		gone = append(gone, keys[0], keys[len(keys)-1])
	}
	// Updates of one key drive the last merges.
	for i := range 3000 {
		set(t, e, m, "other", value("other", i, 1000))
	}
	snapshot(t, e, 1000)
	verify(t, e, m, append(gone, "other"))
	var disk int64
	v := uint64(1000)
	if !testkit.Soon(func() bool { // what runs in the background, if anything does, takes its time
		disk = diskBytes(t, o.FS, dir)
		v++
		snapshot(t, e, v)
		return disk <= written/3+s.DiskSlack
	}) {
		t.Errorf("%d of %d bytes of deleted keys are still on disk", disk, written)
	}
	if memory := e.Size(); memory > max(o.MemoryBytes+o.MemoryBytes/20, 1<<20) {
		t.Errorf("an engine with one key holds %d bytes of memory", memory)
	}
	e = s.reopen(t, e, dir)
	verify(t, e, m, append(gone, "other"))
}

// flippedBytes flips bytes of every file of a small store, one at a time.
func (s Subject) flippedBytes(t *testing.T) {
	const dir = "/store"
	o := s.Options
	o.FS = fsx.NewCrash(fsx.CrashOptions{})
	o.MaxRuns = 2
	e, m, keys := s.openWith(t, dir, o), state{}, names(60)
	for i := range 150 {
		k := keys[i%50]
		if i%9 == 0 {
			set(t, e, m, k, "")
		} else {
			set(t, e, m, k, value(k, i, 50))
		}
		if i == 120 {
			snapshot(t, e, 1)
		}
	}
	closeEngine(t, e)
	original := files(t, o.FS, dir)
	flips, refused, partly := 0, 0, 0
	for _, name := range slices.Sorted(maps.Keys(original)) {
		data := original[name]
		most := scaled(500)
		for at := 0; at < len(data); at += max(1, len(data)/most) {
			flips++
			damaged := slices.Clone(data)
			damaged[at] ^= 1 << (at % 8)
			whole, err := s.openDamaged(original, name, damaged, m, keys)
			switch {
			case err != nil:
				t.Fatalf("bit %d of byte %d of %s: %v", at%8, at, name, err)
			case !whole:
				refused++
			}
		}
		for length := 0; length < len(data); length += max(1, len(data)/64) {
			partly++
			if _, err := s.openDamaged(original, name, data[:length], m, keys); err != nil {
				t.Fatalf("%s cut to %d of %d bytes: %v", name, length, len(data), err)
			}
		}
		if _, err := s.openDamaged(original, name, nil, m, keys); err != nil {
			t.Fatalf("%s emptied: %v", name, err)
		}
	}
	testkit.Counted(t, "%d flips, of which %d were noticed, %d truncations", flips, refused, partly)
	if refused == 0 {
		t.Error("no flip was noticed")
	}
}

// openDamaged opens a copy of the files in which one is replaced. It returns an error if the store then tells anything
// but the truth, and whether it told all of it.
func (s Subject) openDamaged(original map[string][]byte, name string, with []byte, want state, keys []string) (whole bool, err error) {
	o := s.Options
	o.FS = fsx.NewCrash(fsx.CrashOptions{Direct: len(with)%2 == 1})
	for file, data := range original {
		if file == name {
			data = with
		}
		if err := writeFile(o.FS, "/store/"+file, data); err != nil {
			return false, err
		}
	}
	e, err := compare.Open(s.Kind, "/store", o)
	if errors.Is(err, compare.ErrCorrupt) || errors.Is(err, compare.ErrFormat) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open: %w", err)
	}
	defer e.Close()
	whole = true
	for _, k := range keys {
		switch v, err := e.Get([]byte(k)); {
		case errors.Is(err, compare.ErrCorrupt):
			whole = false
		case err != nil:
			return false, fmt.Errorf("get %q: %w", k, err)
		case string(v) != want[k]:
			return false, fmt.Errorf("get %q: %q, want %q", k, v, want[k])
		}
	}
	return whole, nil
}

// writeFile writes a file and the directories it is in.
func writeFile(fsys fsx.FS, name string, data []byte) error {
	if err := fsys.MkdirAll(name[:strings.LastIndex(name, "/")]); err != nil {
		return err
	}
	f, err := fsys.Open(name, fsx.Write|fsx.Create)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		_, err = f.WriteAt(data, 0)
	}
	return errors.Join(err, f.Close())
}

// counted is a remote that notes what is put.
type counted struct {
	compare.Remote
	mu   sync.Mutex
	puts map[string]int // times
	sent int64          // bytes
}

func count(r compare.Remote) *counted { return &counted{Remote: r, puts: map[string]int{}} }

func (c *counted) add(name string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.puts[name]++
	c.sent += size
}

func (c *counted) Put(ctx context.Context, name string, body io.Reader, size int64) error {
	c.add(name, size)
	return c.Remote.Put(ctx, name, body, size)
}

func (c *counted) PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (bool, error) {
	c.add(name, size)
	return c.Remote.PutIfAbsent(ctx, name, body, size)
}

// noted returns how many bytes were put until now, and how often each object was. A store may still be tidying its remote.
func (c *counted) noted() (sent int64, puts map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent, maps.Clone(c.puts)
}

// remoteIn returns a remote in a directory of the test.
func remoteIn(t *testing.T, dir string) *counted {
	t.Helper()
	r, err := compare.NewDirRemote(dir)
	if err != nil {
		t.Fatal(err)
	}
	return count(r)
}

func (s Subject) remoteGarbage(t *testing.T) {
	o := s.Options
	o.KeepVersions = 2
	remoteDir := t.TempDir()
	o.Remote = remoteIn(t, remoteDir)
	dir := t.TempDir()
	e, m, keys := s.openWith(t, dir, o), state{}, names(50)
	for v := uint64(1); v <= 30; v++ {
		for i := range 100 {
			k := keys[i%len(keys)]
			set(t, e, m, k, value(k, int(v), 40))
		}
		snapshot(t, e, v)
	}
	local, remote := diskBytes(t, fsx.OS(), dir), diskBytes(t, fsx.OS(), remoteDir)
	if remote > local+64<<10 {
		t.Errorf("the remote holds %d bytes, the store itself %d", remote, local)
	}
	closeEngine(t, e)
	e = s.openWith(t, t.TempDir(), o)
	verify(t, e, m, keys)
	if err := e.Restore(20); !errors.Is(err, compare.ErrVersionNotFound) {
		t.Errorf("restore of a version that is no longer kept: %v", err)
	}
	restore(t, e, 29)
}

// uploadsOnlyDeltas counts what goes to the remote while a state that is large against its changes is merged on.
func (s Subject) uploadsOnlyDeltas(t *testing.T) {
	o := s.Options
	o.KeepVersions = 2
	o.MaxRuns = 4
	o.ThresholdBytes, o.MemtableBytes = 16<<10, 16<<10
	remote := remoteIn(t, t.TempDir())
	o.Remote = remote
	e, m, keys := s.openWith(t, t.TempDir(), o), state{}, names(4000)
	for i, k := range keys {
		set(t, e, m, k, value(k, i, 100))
	}
	snapshot(t, e, 1)
	var whole int64
	for _, k := range keys {
		whole += int64(len(k) + len(m[k]))
	}
	before, _ := remote.noted()
	const versions, changes = 40, 10
	for v := uint64(2); v < 2+versions; v++ {
		for i := range changes {
			k := keys[(int(v)*changes+i)%len(keys)]
			set(t, e, m, k, value(k, int(v), 100))
		}
		snapshot(t, e, v)
	}
	// A record goes up once for every level that it reaches. Ten merges or more happen meanwhile, of which at most one
	// takes in the oldest level.
	after, puts := remote.noted()
	sent := after - before
	t.Logf("state %d bytes, then %d snapshots sent %d bytes together", whole, versions, sent)
	if sent > 2*whole {
		t.Errorf("%d snapshots of %d changes sent %d bytes, with a state of %d", versions, changes, sent, whole)
	}
	for name, times := range puts {
		most := 1
		if strings.HasPrefix(name, "HEAD") || name == "HINT" { // what says where to begin is put with each version
			continue
		}
		if name == "STORE" { // when the remote becomes the store's, and when its sequence begins
			most = 2
		}
		if times > most {
			t.Errorf("object %s was put %d times", name, times)
		}
	}
	verify(t, e, m, keys)
	closeEngine(t, e)
	verify(t, s.openWith(t, t.TempDir(), o), m, keys)
}
