package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/compare"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

func (s Subject) remote(t *testing.T) {
	t.Run("EmptyMachineGetsEverything", s.emptyMachine)
	t.Run("RemoteComesBeforeLocalFiles", s.remoteFirst)
	t.Run("EmptyRemoteGetsLocalVersions", s.emptyRemote)
	if !s.Retries {
		t.Run("InterruptedAtEveryCall", s.interrupted)
		t.Run("DamagedObjects", s.damagedObjects)
	}
	t.Run("OthersObjectsAreLeftAlone", s.othersObjects)
}

// fill sets some keys, differently for every round.
func fill(t *testing.T, e compare.Engine, m state, keys []string, round int) {
	t.Helper()
	for i, k := range keys {
		switch (i + round) % 5 {
		case 0:
			set(t, e, m, k, "")
		case 1, 2:
			set(t, e, m, k, value(k, round, 40))
		}
	}
}

func (s Subject) emptyMachine(t *testing.T) {
	o := s.Options
	remoteDir := t.TempDir()
	o.Remote = remoteIn(t, remoteDir)
	e, m, keys := s.openWith(t, t.TempDir(), o), state{}, names(80)
	was := map[uint64]state{}
	for v := uint64(1); v <= 8; v++ {
		fill(t, e, m, keys, int(v))
		snapshot(t, e, v)
		was[v] = maps.Clone(m)
		if v == 5 {
			restore(t, e, 2)
			m = maps.Clone(was[2])
		}
	}
	fill(t, e, m, keys, 9)
	closeEngine(t, e) // commits, here and there

	dir := t.TempDir()
	e = s.openWith(t, dir, o)
	verify(t, e, m, keys)
	for v, want := range was {
		restore(t, e, v)
		verify(t, e, want, keys)
	}
	at20 := lastOf(t, e, keys)
	snapshot(t, e, 20)
	closeEngine(t, e)
	e = s.open(t, dir) // What was fetched is whole without the remote.
	verify(t, e, at20, keys)
	restore(t, e, 20)
	verify(t, e, at20, keys)
}

// lastOf reads everything, or fails the test.
func lastOf(t *testing.T, e compare.Engine, keys []string) state {
	t.Helper()
	got, err := read(e, keys)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// remoteFirst has two machines take turns at one remote.
func (s Subject) remoteFirst(t *testing.T) {
	o := s.Options
	o.Remote = remoteIn(t, t.TempDir())
	here, there, keys := t.TempDir(), t.TempDir(), names(60)
	m := state{}
	e := s.openWith(t, here, o)
	fill(t, e, m, keys, 1)
	snapshot(t, e, 1)
	closeEngine(t, e)

	alone := maps.Clone(m)
	e = s.open(t, here) // goes its own way, without the remote
	fill(t, e, alone, keys, 2)
	snapshot(t, e, 2)
	fill(t, e, alone, keys, 3)
	snapshot(t, e, 3)
	closeEngine(t, e)

	e = s.openWith(t, there, o)
	verify(t, e, m, keys)
	fill(t, e, m, keys, 4)
	snapshot(t, e, 2) // the same number, another content
	at2 := maps.Clone(m)
	fill(t, e, m, keys, 5)
	closeEngine(t, e)

	if s.RefusesDivergence {
		s.notBlended(t, here, o, []state{m, alone}, keys)
		return
	}
	e = s.openWith(t, here, o)
	verify(t, e, m, keys)
	if err := e.Restore(3); !errors.Is(err, compare.ErrVersionNotFound) {
		t.Errorf("restore of a version that the remote never had: %v", err)
	}
	restore(t, e, 2)
	verify(t, e, at2, keys)
	snapshot(t, e, 4)
	closeEngine(t, e)
	e = s.openWith(t, there, o)
	verify(t, e, at2, keys)
}

// notBlended opens a directory that has another version 2 than the remote. It may be refused; if it is not, everything
// there and on the remote is one of the two.
func (s Subject) notBlended(t *testing.T, here string, o compare.Options, may []state, keys []string) {
	e, err := compare.Open(s.Kind, here, o)
	if err == nil {
		verify(t, e, may[1], keys)
		t.Logf("opened; a snapshot says: %v", e.Snapshot(4))
		t.Logf("and a close: %v", e.Close())
	} else {
		t.Logf("refused: %v", err)
		verify(t, s.open(t, here), may[1], keys)
	}
	got := lastOf(t, s.openWith(t, t.TempDir(), o), keys)
	if !slices.ContainsFunc(may, func(m state) bool { return maps.Equal(m, got) }) {
		t.Fatal("the remote holds a blend")
	}
}

func (s Subject) emptyRemote(t *testing.T) {
	dir, keys, m := t.TempDir(), names(60), state{}
	e := s.open(t, dir)
	was := map[uint64]state{}
	for v := uint64(1); v <= 3; v++ {
		fill(t, e, m, keys, int(v))
		snapshot(t, e, v)
		was[v] = maps.Clone(m)
	}
	closeEngine(t, e)
	o := s.Options
	o.Remote = remoteIn(t, t.TempDir())
	e = s.openWith(t, dir, o)
	verify(t, e, m, keys)
	closeEngine(t, e)
	e = s.openWith(t, t.TempDir(), o)
	verify(t, e, m, keys)
	for v, want := range was {
		restore(t, e, v)
		verify(t, e, want, keys)
	}
}

var errDown = errors.New("enginetest: the remote is down")

// flaky is a remote that fails from some call on.
type flaky struct {
	compare.Remote
	left  int  // calls that go through
	after bool // the first that fails has its effect
	once  bool // the ones behind the first that fails go through
}

func (f *flaky) fails() (fail, effect bool) {
	f.left--
	switch {
	case f.left >= 0, f.once && f.left < -1:
		return false, true
	}
	return true, f.after && f.left == -1
}

func (f *flaky) do(call func() error) error {
	fail, effect := f.fails()
	if effect {
		if err := call(); err != nil {
			return err
		}
	}
	if fail {
		return errDown
	}
	return nil
}

func (f *flaky) Put(ctx context.Context, name string, body io.Reader, size int64) error {
	return f.do(func() error { return f.Remote.Put(ctx, name, body, size) })
}

func (f *flaky) PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (fresh bool, err error) {
	err = f.do(func() error {
		fresh, err = f.Remote.PutIfAbsent(ctx, name, body, size)
		return err
	})
	return fresh, err
}

func (f *flaky) Get(ctx context.Context, name string, off, n int64) (body io.ReadCloser, err error) {
	if fail, _ := f.fails(); fail {
		return nil, errDown
	}
	return f.Remote.Get(ctx, name, off, n)
}

func (f *flaky) List(ctx context.Context, prefix string) ([]checkpoint.Object, error) {
	if fail, _ := f.fails(); fail {
		return nil, errDown
	}
	return f.Remote.List(ctx, prefix)
}

func (f *flaky) Delete(ctx context.Context, name string) error {
	return f.do(func() error { return f.Remote.Delete(ctx, name) })
}

// interrupted takes the remote away at every one of its calls.
func (s Subject) interrupted(t *testing.T) {
	calls := 0
	for _, f := range []flaky{{}, {after: true}, {after: true, once: true}} {
		for left := 0; ; left++ {
			f.left = left
			reached, err := s.interruptAt(f)
			if err != nil {
				t.Fatalf("remote away from call %d on (after %v, once %v): %v", left+1, f.after, f.once, err)
			}
			if !reached {
				break
			}
			calls++
		}
	}
	t.Logf("%d interruptions", calls)
}

func (s Subject) interruptAt(f flaky) (reached bool, err error) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	if f.Remote, err = compare.NewDirRemoteFS(disk, "/remote"); err != nil {
		return false, err
	}
	o := s.durable(disk)
	o.KeepVersions, o.MaxRuns = 3, 2
	o.Remote = &f
	keys, m := names(30), state{}
	may := []state{{}}
	e, err := compare.Open(s.Kind, "/here", o)
	if err != nil {
		return true, ignore(err, errDown)
	}
	for v := uint64(1); v <= 6; v++ {
		for i, k := range keys {
			if (i+int(v))%3 == 0 {
				if err := e.Set([]byte(k), []byte(value(k, int(v), 60))); err != nil {
					return true, err
				}
				m.set(k, value(k, int(v), 60))
			}
		}
		may = append(may, maps.Clone(m))
		switch err := e.Snapshot(v); {
		case err == nil:
			may = []state{maps.Clone(m)}
		case !errors.Is(err, compare.ErrRemote) || !errors.Is(err, errDown):
			return true, fmt.Errorf("snapshot %d without the remote: %w", v, err)
		}
		if err := e.Restore(v); err != nil && !errors.Is(err, compare.ErrRemote) {
			return true, fmt.Errorf("version %d is not here: %w", v, err)
		}
	}
	got, err := read(e, keys)
	if d := difference(got, m, keys); err != nil || d != "" {
		return true, fmt.Errorf("here: %s %w", d, err)
	}
	reached = f.left < 0
	// Another machine, with the remote as it was left behind: a copy, as the first one lives on.
	o.FS = disk.Clone(fsx.Crash{Keep: fsx.KeepAll})
	if o.Remote, err = compare.NewDirRemoteFS(o.FS, "/remote"); err != nil {
		return reached, err
	}
	if err := s.elsewhere(o, may, keys); err != nil {
		return reached, fmt.Errorf("elsewhere: %w", err)
	}
	// The remote is back: closing catches up.
	f.left = 1 << 30
	if err := e.Close(); err != nil {
		return reached, fmt.Errorf("close with the remote back: %w", err)
	}
	o.Remote = f.Remote
	return reached, s.elsewhere(o, []state{m}, keys)
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// elsewhere opens an empty directory with the remote.
func (s Subject) elsewhere(o compare.Options, may []state, keys []string) error {
	e, err := compare.Open(s.Kind, "/there", o)
	if err != nil {
		return err
	}
	defer e.Close()
	got, err := read(e, keys)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(may, func(m state) bool { return maps.Equal(m, got) }) {
		return fmt.Errorf("the state is none of %d that are right; against the newest: %s", len(may),
			difference(got, may[len(may)-1], keys))
	}
	return nil
}

func (s Subject) damagedObjects(t *testing.T) {
	o := s.Options
	o.FS = fsx.NewCrash(fsx.CrashOptions{})
	var err error
	if o.Remote, err = compare.NewDirRemoteFS(o.FS, "/remote"); err != nil {
		t.Fatal(err)
	}
	e, m, keys := s.openWith(t, "/here", o), state{}, names(60)
	for v := 1; v <= 3; v++ {
		fill(t, e, m, keys, v)
		snapshot(t, e, uint64(v))
	}
	closeEngine(t, e)
	objects := files(t, o.FS, "/remote")
	tried, refused := 0, 0
	for name, data := range objects {
		for at := 0; at < len(data); at += max(1, len(data)/40) {
			flipped := slices.Clone(data)
			flipped[at] ^= 0x10
			for _, damaged := range [][]byte{flipped, data[:at]} {
				tried++
				disk := fsx.NewCrash(fsx.CrashOptions{})
				for other, whole := range objects {
					if other == name {
						whole = damaged
					}
					if err := writeFile(disk, "/remote/"+other, whole); err != nil {
						t.Fatal(err)
					}
				}
				o.FS = disk
				if o.Remote, err = compare.NewDirRemoteFS(disk, "/remote"); err != nil {
					t.Fatal(err)
				}
				err := s.elsewhere(o, []state{m}, keys)
				if err != nil && !errors.Is(err, compare.ErrCorrupt) && !errors.Is(err, compare.ErrFormat) {
					t.Fatalf("byte %d of %d of %s: %v", at, len(data), name, err)
				}
				if err != nil {
					refused++
				}
			}
		}
	}
	t.Logf("%d objects damaged, %d times refused", tried, refused)
	if refused == 0 {
		t.Error("no damage was noticed")
	}
}

func (s Subject) othersObjects(t *testing.T) {
	remoteDir := t.TempDir()
	others := []string{"L1.backup", "README", "notes.manifest", "v12.manifest"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(remoteDir, name), []byte("not ours"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := s.Options
	o.KeepVersions = 1
	o.Remote = remoteIn(t, remoteDir)
	e, m, keys := s.openWith(t, t.TempDir(), o), state{}, names(60)
	for v := 1; v <= 10; v++ {
		fill(t, e, m, keys, v)
		snapshot(t, e, uint64(v))
	}
	closeEngine(t, e)
	if s.Retries {
		return // Its package has its own way to destroy.
	}
	if err := compare.DestroyRemote(context.Background(), o.Remote); err != nil {
		t.Fatal(err)
	}
	left := files(t, fsx.OS(), remoteDir)
	if got := slices.Sorted(maps.Keys(left)); !slices.Equal(got, others) {
		t.Errorf("after destroy the remote has %q, want %q", got, others)
	}
	verify(t, s.openWith(t, t.TempDir(), o), state{}, keys)
}
