package hlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/invariant"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// demoted opens a small store in whose background nothing is compacted, demoted or merged: tests say when.
func demoted(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	o.NoCompaction = true
	s := mustOpen(t, dir, o)
	s.background.housekeeping.Stop()
	s.background.merges.Stop()
	return s
}

// demoteAll demotes all that is committed.
func demoteAll(t testing.TB, s *Store) {
	t.Helper()
	must(t, s.demoteTo(t.Context(), s.current().Cut))
}

func scanned(t testing.TB, scan func(context.Context, func(key, value []byte) bool) error) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, scan(context.Background(), func(key, value []byte) bool {
		if _, ok := all[string(key)]; ok {
			t.Errorf("key %q is visited twice", key)
		}
		all[string(key)] = string(value)
		return true
	}))
	return all
}

func sameState(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if g, ok := got[k]; !ok || g != v {
			t.Fatalf("%s: key %q has %q, %v; want %q", what, k, g, ok, v)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			t.Fatalf("%s: key %q has %q; want none", what, k, g)
		}
	}
}

// tierModel is a store and what it should hold.
type tierModel struct {
	t        *testing.T
	rng      *rand.Rand
	dir      string
	opts     *Options
	s        *Store
	x        *Session
	now      map[string]string
	versions map[checkpoint.Version]map[string]string

	cold, merged int64 // blocks read, bytes merged, by stores that were closed
}

const tierKeys = 300

func (m *tierModel) key() []byte { return fmt.Appendf(nil, "key %d", m.rng.IntN(tierKeys)) }

func (m *tierModel) open() {
	m.s = demoted(m.t, m.dir, m.opts)
	m.x = m.s.NewSession()
}

func (m *tierModel) value() []byte {
	n := m.rng.IntN(40)
	if m.rng.IntN(20) == 0 {
		n = m.rng.IntN(4000)
	}
	return fmt.Appendf(nil, "%d %0*d", m.rng.Uint64(), n, 0)
}

func (m *tierModel) operate() {
	k := m.key()
	switch m.rng.IntN(9) {
	case 8:
		if m.rng.IntN(10) == 0 {
			m.operateOnMany()
		}
	case 0, 1, 2:
		v := m.value()
		must(m.t, m.x.Set(k, v))
		m.now[string(k)] = string(v)
	case 3:
		must(m.t, m.x.Delete(k))
		delete(m.now, string(k))
	case 4, 5:
		want, had := m.now[string(k)]
		v := m.value()
		if m.rng.IntN(4) == 0 {
			v = nil
		}
		must(m.t, m.x.RMW(k, func(old []byte) []byte {
			if (old != nil) != had || string(old) != want {
				m.t.Errorf("RMW of %q sees %q, %v; want %q, %v", k, old, old != nil, want, had)
			}
			return v
		}))
		if v == nil {
			delete(m.now, string(k))
		} else {
			m.now[string(k)] = string(v)
		}
	default:
		m.look("Get", k, m.x.Get, m.now)
	}
}

// operateOnMany reads or updates many keys in one call.
func (m *tierModel) operateOnMany() {
	var keys [][]byte
	for range 1 + m.rng.IntN(100) {
		keys = append(keys, m.key())
	}
	if m.rng.IntN(3) == 0 {
		m.x.Prefetch(keys)
	}
	if m.rng.IntN(2) == 0 {
		must(m.t, m.x.MultiGet(keys, func(i int, v []byte, err error) {
			m.look("MultiGet", keys[i], func([]byte, []byte) ([]byte, error) { return v, err }, m.now)
		}))
		return
	}
	var values [][]byte // the i-th is what the i-th key gets, nil for none, however often it is asked for
	for range keys {
		v := m.value()
		if m.rng.IntN(4) == 0 {
			v = nil
		}
		values = append(values, v)
	}
	answered := 0
	answer := func(upTo int) {
		for ; answered < upTo; answered++ {
			if k, v := string(keys[answered]), values[answered]; v == nil {
				delete(m.now, k)
			} else {
				m.now[k] = string(v)
			}
		}
	}
	must(m.t, m.x.MultiRMW(keys, func(i int, old []byte) []byte {
		answer(i)
		if want, had := m.now[string(keys[i])]; (old != nil) != had || string(old) != want {
			m.t.Errorf("MultiRMW of %q sees %q, %v; want %q, %v", keys[i], old, old != nil, want, had)
		}
		return values[i]
	}))
	answer(len(keys))
}

func (m *tierModel) look(what string, k []byte, get func(dst, key []byte) ([]byte, error), state map[string]string) {
	v, err := get(nil, k)
	want, had := state[string(k)]
	if err != nil && (!errors.Is(err, ErrNotFound) || had) || err == nil && (!had || string(v) != want) {
		m.t.Fatalf("%s of %q is %q, %v; want %q, %v", what, k, v, err, want, had)
	}
}

func (m *tierModel) version() checkpoint.Version {
	for v := range m.versions {
		return v
	}
	return 0
}

func (m *tierModel) step() {
	t := m.t
	switch m.rng.IntN(12) {
	case 0, 1:
		v := commit(t, m.s)
		m.versions[v] = maps.Clone(m.now)
	case 2, 3:
		if m.s.current() != nil {
			cut := m.s.current().Cut
			must(t, m.s.demoteTo(t.Context(), cut-cut/uint64(1+m.rng.IntN(8))*uint64(m.rng.IntN(2))))
		}
	case 4:
		m.s.mergeCold()
	case 5:
		if v := m.version(); v != 0 {
			_, err := m.s.Restore(t.Context(), v)
			must(t, err)
			m.now = maps.Clone(m.versions[v])
		}
	case 6:
		if v := m.version(); v != 0 {
			w, err := m.s.OpenVersion(t.Context(), v)
			must(t, err)
			for range 50 {
				m.look("View.Get", m.key(), w.Get, m.versions[v])
			}
			sameState(t, "View.Scan", scanned(t, w.Scan), m.versions[v])
			must(t, w.Close())
		}
	case 7:
		sameState(t, "Scan", scanned(t, m.s.Scan), m.now)
	case 8:
		must(t, m.s.Close())
		m.cold, m.merged = m.cold+m.s.cold.reads.Load(), m.merged+m.s.cold.merged.Load()
		m.open()
		if i, ok := m.s.Current(); ok {
			m.versions[i.Version] = maps.Clone(m.now)
		}
	case 9:
		a, b := m.version(), m.version()
		if b != 0 {
			got := map[string]string{}
			maps.Copy(got, m.versions[a])
			for k, c := range changed(t, m.s, a, b) {
				was, had := got[k]
				if c.Deleted && !had || !c.Deleted && had && was == string(c.Value) {
					t.Fatalf("from %d to %d: key %q had %q, %v, and is reported: %+v", a, b, k, was, had, c)
				}
				if got[k] = string(c.Value); c.Deleted {
					delete(got, k)
				}
			}
			sameState(t, "Changes", got, m.versions[b])
		}
	case 10:
		evict(t, m.s)
		for k := range scanned(t, m.s.Scan) {
			if k[0] == 's' {
				must(t, m.x.Delete([]byte(k)))
			}
		}
	case 11:
		must(t, m.s.Compact(t.Context()))
		must(t, m.s.collect())
	}
}

func TestTier_Model(t *testing.T) {
	seeds, steps := uint64(12), 60
	if testing.Short() || testkit.Race || invariant.Enabled {
		seeds = 3
	}
	var cold, merged int64
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			o := tiny()
			o.KeepVersions = 6
			if seed%2 > 0 {
				o.scanBytes = 1 << 10
			}
			m := &tierModel{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: filepath.Join("/", "store"), opts: o, now: map[string]string{}, versions: map[checkpoint.Version]map[string]string{}}
			m.open()
			for range steps {
				for range m.rng.IntN(150) {
					m.operate()
				}
				m.step()
				infos, err := m.s.Versions()
				must(t, err)
				there := map[checkpoint.Version]bool{}
				for _, i := range infos {
					there[i.Version] = true
				}
				maps.DeleteFunc(m.versions, func(v checkpoint.Version, _ map[string]string) bool { return !there[v] })
			}
			sameState(t, "Scan", scanned(t, m.s.Scan), m.now)
			must(t, m.s.Close())
			m.cold, m.merged = m.cold+m.s.cold.reads.Load(), m.merged+m.s.cold.merged.Load()
			cold, merged = cold+m.cold, merged+m.merged
		})
	}
	if cold == 0 || merged == 0 {
		t.Errorf("%d blocks of cold files were read, %d bytes merged: it tests nothing", cold, merged)
	}
}

// Updates are not lost, and what is read never goes back, while what they work on is demoted, merged and cleared all the time.
func TestTier_UpdatesWhileItMoves(t *testing.T) {
	const workers, keys = 4, 400
	updates := 6000
	if testing.Short() || testkit.Race || invariant.Enabled {
		updates = 1200
	}
	o := tiny()
	o.ColdAfter, o.KeepVersions = 1, 2
	s := mustOpen(t, "/store", o)
	var wg sync.WaitGroup
	var done atomic.Bool
	var sums [keys]atomic.Int64
	for n := range workers {
		wg.Go(func() {
			x := s.NewSession()
			defer x.Close()
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			for range updates {
				k := rng.IntN(keys)
				if rng.IntN(8) == 0 { // away and back again, which only this one does
					k = keys + n*keys + k
					must(t, x.Set(key8(k), []byte("here")))
					must(t, x.Delete(key8(k)))
					if v, err := x.Get(nil, key8(k)); err != ErrNotFound {
						t.Errorf("deleted key %d: %q, %v", k, v, err)
					}
					continue
				}
				must(t, x.RMW(key8(k), func(old []byte) []byte {
					count := 0
					fmt.Sscanf(string(old), "%d", &count)
					return fmt.Appendf(nil, "%d %0*d", count+1, rng.IntN(200), 0)
				}))
				sums[k].Add(1)
			}
		})
	}
	var versions sync.WaitGroup
	versions.Go(func() {
		for !done.Load() {
			commit(t, s)
			if demotions := s.cold.standing.Load().generation(); demotions%4 == 3 {
				evict(t, s)
			}
		}
	})
	wg.Wait()
	done.Store(true)
	versions.Wait()
	eventually(t, "nothing was demoted", func() bool { return s.cold.standing.Load() != nil })
	for k := range keys {
		v, err := s.Get(nil, key8(k))
		count := int64(0)
		fmt.Sscanf(string(v), "%d", &count)
		if want := sums[k].Load(); count != want {
			t.Errorf("key %d was updated %d times: %q, %v", k, want, v, err)
		}
	}
	found := scanned(t, s.Scan)
	for k := range keys {
		if _, ok := found[string(key8(k))]; !ok && sums[k].Load() > 0 {
			t.Errorf("a scan does not visit key %d", k)
		}
	}
	for k := keys; k < keys*(workers+1); k++ {
		if v, ok := found[string(key8(k))]; ok {
			t.Errorf("a scan visits key %d, which was deleted: %q", k, v)
		}
	}
}

// A demotion waits for the end of a scan: entries that it would clear are what the scan finds out by which record is the newest.
func TestTier_NotDemotedUnderAScan(t *testing.T) {
	s := demoted(t, "/store", tiny())
	check := fillKeys(t, s, 2000)
	commit(t, s)
	for k := range 1000 {
		must(t, s.Set(key8(k), fmt.Appendf(nil, "value %d", k))) // written twice: once in each version
	}
	commit(t, s)
	seen := map[string]bool{}
	must(t, s.Scan(t.Context(), func(key, value []byte) bool {
		if len(seen) == 0 {
			demoteAll(t, s)
		}
		if seen[string(key)] {
			t.Errorf("key %x is visited twice", key)
		}
		seen[string(key)] = true
		return true
	}))
	if len(seen) != 2000 {
		t.Errorf("%d of 2000 keys were visited", len(seen))
	}
	demoteAll(t, s)
	if s.cold.standing.Load() == nil {
		t.Error("nothing was demoted after the scan")
	}
	check(s.Get)
}

// Nothing is cleared while somebody is inside the epoch who may have seen the tier before.
func TestTier_ClearedAfterTheDrain(t *testing.T) {
	o := tiny()
	files := &openHookFS{FS: o.FS}
	o.FS = files
	s := demoted(t, "/store", o)
	check := fillKeys(t, s, 500)
	commit(t, s)
	g := s.epochs.Register()
	defer g.Release()
	var once sync.Once
	enter := func(name string) {
		if filepath.Dir(name) == s.ledger.ImagesPath() {
			once.Do(g.Enter) // before the switch, behind all that the demotion waits for until then
		}
	}
	files.hook.Store(&enter)
	ended := make(chan struct{})
	var failed error
	go func() {
		defer close(ended)
		failed = s.demoteTo(t.Context(), s.current().Cut)
	}()
	eventually(t, "the demotion neither waits for whoever is inside the epoch nor ends", func() bool {
		return testkit.Closed(ended) || s.cold.standing.Load() != nil && testkit.Stands("(*demotion).write(", "SynchronizeUnless(")
	})
	if testkit.Closed(ended) {
		t.Fatal("the demotion has ended while somebody is inside the epoch")
	}
	for k := range 500 {
		if _, e, status := s.index().Find(s.hash(key8(k))); status != index.Found || e.Address() == word.None {
			t.Fatalf("the entry of key %d is cleared", k)
		}
	}
	g.Exit()
	<-ended
	must(t, failed)
	check(s.Get)
}

// A tombstone stays in a merge of files that are not the oldest: what it hides lies below them.
func TestTier_MergesKeepTombstones(t *testing.T) {
	o := tiny()
	s := demoted(t, "/store", o)
	fillKeys(t, s, 5000)
	next := 10000
	more := func() { // files, until they are merged
		t.Helper()
		if next == 12000 {
			t.Fatalf("they are not merged: %+v", s.cold.refs())
		}
		for range 10 {
			must(t, s.Set(key8(next), []byte("new")))
			next++
		}
		commit(t, s)
		demoteAll(t, s)
		_, err := s.mergeColdOnce(nil, true)
		must(t, err)
	}
	for more(); len(s.cold.refs()) > 1; more() {
	}
	for k := range 10 {
		must(t, s.Delete(key8(k)))
	}
	for !slices.ContainsFunc(s.cold.refs(), func(r index.ShareRef) bool { return r.From != word.FirstAddress && r.Level > 0 }) {
		more()
	}
	gone := func() {
		for k := range 10 {
			if v, err := s.Get(nil, key8(k)); err != ErrNotFound {
				t.Errorf("key %d: %q, %v", k, v, err)
			}
		}
	}
	gone()
	must(t, s.Set(key8(1), []byte("last"))) // or nothing is committed, and the merge is not in the version that is opened
	must(t, s.Delete(key8(1)))
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	gone()
}

// A version that is on its way has the cold files that it was begun with, whatever is merged meanwhile.
func TestTier_PendingVersionKeepsItsFiles(t *testing.T) {
	s := demoted(t, "/store", tiny())
	fillKeys(t, s, 500)
	first := commit(t, s)
	check := fillKeys(t, s, 1000)
	commit(t, s)
	m, err := s.ledger.Manifest(first)
	must(t, err)
	must(t, s.demoteTo(t.Context(), m.Cut))
	s.background.commit.Stop()
	p, err := s.BeginCheckpoint()
	must(t, err)
	demoteAll(t, s)
	merged := s.cold.merged.Load()
	s.mergeCold()
	if s.cold.merged.Load() == merged {
		t.Fatal("nothing was merged: the test tests nothing")
	}
	must(t, s.collect())
	s.commitRound()
	w, err := s.OpenVersion(t.Context(), p.Version())
	must(t, err)
	check(w.Get)
	must(t, w.Close())
}

// What a cold file holds is verified: damage anywhere in it is told, by name, and never a wrong value.
func TestTier_EveryBlockIsVerified(t *testing.T) {
	disk := fsx.NewCrash(fsx.CrashOptions{})
	o := tiny()
	o.FS = disk
	s := demoted(t, "/store", o)
	fillKeys(t, s, 500)
	commit(t, s)
	demoteAll(t, s)
	must(t, s.Set(key8(0), []byte("value 0")))
	v := commit(t, s)
	name := s.ledger.ImagePath(s.cold.refs()[0].ID)
	size := s.cold.refs()[0].Bytes
	must(t, s.Close())
	for off := int64(100); off < size; off += 1021 {
		f, err := disk.Open(name, fsx.Read|fsx.Write)
		must(t, err)
		block := make([]byte, size)
		_, err = f.ReadAt(block, 0)
		must(t, err)
		block[off] ^= 1
		_, err = f.WriteAt(block, 0)
		must(t, err)
		told := 0
		s, err := Open("/store", o)
		if err == nil {
			w, err := s.OpenVersion(t.Context(), v)
			must(t, err)
			_, err = w.Verify(t.Context(), func(d Damage) {
				if told++; d.File != name {
					t.Errorf("damage at %d is told of %s", off, d.File)
				}
			})
			must(t, err)
			if n := w.Verified(); n != w.Info().LogBytes {
				t.Errorf("Verify has gone over %d of %d bytes of log", n, w.Info().LogBytes)
			}
			for k := range 500 {
				if value, err := s.Get(nil, key8(k)); err == nil && string(value) != fmt.Sprintf("value %d", k) || err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("damage at %d: key %d is %q, %v", off, k, value, err)
				}
			}
			must(t, s.Close())
		} else if errors.Is(err, ErrCorrupt) {
			told++
		}
		if told == 0 {
			t.Errorf("damage at %d of %d is not told: %v", off, size, err)
		}
		block[off] ^= 1
		_, err = f.WriteAt(block, 0)
		must(t, err)
		must(t, f.Close())
	}
}

// A version with cold files travels whole: to a remote and from there into an empty directory or a view, and as a stream.
func TestTier_Travels(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	o := tiny()
	o.Remote = remote
	s := demoted(t, "/store", o)
	fillKeys(t, s, 1500)
	commit(t, s)
	demoteAll(t, s)
	must(t, s.Delete(key8(7)))
	base := commit(t, s)
	demoteAll(t, s)
	s.mergeCold()
	must(t, s.Set(key8(1500), []byte("value 1500")))
	v := commit(t, s)
	want := scanned(t, s.Scan)
	if len(want) != 1500 || len(s.current().Cold) == 0 {
		t.Fatalf("%d keys in version %d with %d cold files", len(want), v, len(s.current().Cold))
	}
	w, err := OpenRemote(t.Context(), remote, v, nil)
	must(t, err)
	sameState(t, "OpenRemote", scanned(t, w.Scan), want)
	if value, err := w.Get(nil, key8(8)); err != nil || string(value) != "value 8" {
		t.Errorf("OpenRemote: key 8 is %q, %v", value, err)
	}
	must(t, w.Close())

	dir := filepath.Join(t.TempDir(), "store")
	for _, version := range []checkpoint.Version{base, v} {
		var stream bytes.Buffer
		w, err := s.OpenVersion(t.Context(), version)
		must(t, err)
		if version == base {
			_, err = w.WriteTo(&stream)
		} else {
			_, err = w.WriteDelta(&stream, base)
		}
		must(t, err)
		must(t, w.Close())
		_, err = Import(t.Context(), dir, &stream)
		must(t, err)
	}
	must(t, s.Close())
	imported := mustOpen(t, dir, nil)
	sameState(t, "Import", scanned(t, imported.Scan), want)
	must(t, imported.Close())
	o = tiny()
	o.Remote = remote
	fetched := demoted(t, "/elsewhere", o)
	sameState(t, "opened from the remote", scanned(t, fetched.Scan), want)
	demoteAll(t, fetched)
	sameState(t, "demoted there", scanned(t, fetched.Scan), want)
}
