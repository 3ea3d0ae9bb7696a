package fuzz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// everSeen is every version that a store has had, and what each was.
type everSeen struct {
	named   map[Version]*entry
	unnamed []*entry // by closing: the store chose their ids
}

func (h *everSeen) add(o *Outcome) {
	for _, all := range []map[Version]*entry{o.current, o.must, o.may} {
		for id, e := range all {
			if e != nil {
				h.named[id] = e
			}
		}
	}
	if n := len(h.unnamed); o.unnamed != nil && (n == 0 || h.unnamed[n-1] != o.unnamed) {
		h.unnamed = append(h.unnamed, o.unnamed)
	}
}

// states returns what a version may consist of.
func (h *everSeen) states(v Version, cookie []byte) []State {
	if e := h.named[v]; e != nil {
		return []State{e.state}
	}
	var all []State
	for _, e := range h.unnamed {
		if e.mayHave(cookie) {
			all = append(all, e.state)
		}
	}
	return all
}

// copies makes copies of a store while its disk is written to.
type copies struct {
	history everSeen
	outcome func() *Outcome
	every   int64 // calls between the beginnings of two copies
	running []*fileCopier
	made    uint64
	counts  [numVerdicts]int
	lost    int // copies that lacked a file
	err     error
}

// at is called before a write-class call.
func (c *copies) at(disk *fsx.CrashFS, call fsx.Call) {
	c.history.add(c.outcome())
	if call.N%c.every == 0 {
		if _, err := disk.Open(storeDir+"/STORE", fsx.Read); err == nil {
			c.made++
			c.running = append(c.running, newFileCopier(disk, fsx.NewCrash(fsx.CrashOptions{}), storeDir, c.made%2 == 0, c.made))
		}
	}
	kept := c.running[:0]
	for _, f := range c.running {
		if done, err := f.step(); err != nil {
			c.err = errors.Join(c.err, err)
		} else if !done {
			kept = append(kept, f)
		} else if err := c.check(f); err != nil && c.err == nil {
			c.err = fmt.Errorf("copy that ended at call %d, random order %v, %d files went: %w", call.N, f.random, f.lost, err)
		}
	}
	c.running = kept
}

// check opens a copy: it is refused with a clear error, or shows a version that the store has had, damage apart; and no
// file goes before it has committed a version of its own.
func (c *copies) check(f *fileCopier) error {
	if f.lost > 0 {
		c.lost++
	}
	disk := f.to.(*fsx.CrashFS)
	var on fsx.FS = disk
	if c.made%3 > 0 {
		on = Stepped(disk, step.New(c.made))
	}
	v, err := checkCopy(disk, storeDir, c.history.states, on)
	c.counts[v]++
	return err
}

func checkCopy(to fsx.FS, dir string, states func(Version, []byte) []State, on fsx.FS) (verdict, error) {
	if err := fsx.WriteFileAtomic(to, filepath.Join(dir, fsx.LockName), nil); err != nil {
		return 0, err
	}
	before := contents(to, dir)
	_, err := fsx.ReadFile(to, filepath.Join(dir, "versions", "NONE"), 1<<10)
	none := err == nil
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 4 << 20, PageBytes: 16 << 10, FS: on})
	if err != nil {
		if after := contents(to, dir); after != before {
			return refused, fmt.Errorf("open refused (%w), but files have changed: before\n%s after\n%s", err, before, after)
		}
		if !isDamage(err) {
			return refused, fmt.Errorf("open: %w", err)
		}
		return refused, nil
	}
	v := harmless
	note := func(what string, err error) error {
		if err != nil && !isDamage(err) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err != nil {
			v = noticed
		}
		return nil
	}
	err = readCopy(s, states, none, note)
	if err == nil {
		err = filesStay(to, dir, before)
	}
	if err == nil {
		err = goOnFromCopy(s, note)
	}
	if e := s.Close(); e != nil && err == nil {
		err = note("close", e)
	}
	return v, err
}

// readCopy compares every version of a copy with what it may be.
func readCopy(s *hlog.Store, states func(Version, []byte) []State, none bool, note func(string, error) error) error {
	infos, err := s.Versions()
	if err != nil {
		return err
	}
	if len(infos) == 0 {
		if !none {
			return disagree("the copy opened as an empty store")
		}
		return readAnyOf(s, []State{{}}, note)
	}
	for _, i := range infos {
		want := states(i.Version, i.Cookie)
		if len(want) == 0 {
			return disagree("version %d has never been", i.Version)
		}
		if i.Current {
			if err := readAnyOf(s, want, note); err != nil {
				return fmt.Errorf("opened at version %d: %w", i.Version, err)
			}
		}
		w, err := s.OpenVersion(context.Background(), i.Version)
		if err == nil {
			err = errors.Join(readAnyOf(w, want, note), w.Close())
		}
		if err := note(fmt.Sprintf("view of version %d", i.Version), err); err != nil {
			return err
		}
	}
	return nil
}

// readAnyOf compares what s shows with several states, one of which it must be, damage apart.
func readAnyOf(s reader, want []State, note func(string, error) error) error {
	var errs error
	for _, w := range want {
		d := &damaged{keys: keys()}
		err := d.readAll(s, w, note)
		if err == nil {
			return nil
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// filesStay reports which segment or image of before is not there any more.
func filesStay(disk fsx.FS, dir, before string) error {
	after := contents(disk, dir)
	for line := range strings.Lines(before) {
		name, _, _ := strings.Cut(line, " ")
		if (strings.HasSuffix(name, ".seg") || strings.HasSuffix(name, ".img")) && !strings.Contains(after, name+" ") {
			return disagree("%s has been removed before anything was committed", name)
		}
	}
	return nil
}

// goOnFromCopy writes and commits.
func goOnFromCopy(s *hlog.Store, note func(string, error) error) error {
	if err := s.Set(Key(1), []byte("of the copy")); err != nil {
		return note("set", err)
	}
	if _, err := s.Checkpoint(context.Background()); err != nil {
		return note("checkpoint", err)
	}
	got, err := s.Get(nil, Key(1))
	if err == nil && string(got) != "of the copy" {
		return disagree("%q", got)
	}
	return note("get", err)
}

// TestCopy_FileByFile copies a store file by file while it commits, purges, compacts, goes back and is closed and
// opened: each copy is refused as damaged, untouched, or opens at a version that the store has had.
func TestCopy_FileByFile(t *testing.T) {
	t.Parallel()
	var counts [numVerdicts]int
	lost := 0
	for seed := range scaled(3, 8, 24, 400) {
		disk := fsx.NewCrash(fsx.CrashOptions{Direct: seed%2 == 0})
		options := small
		options.KeepVersions = int(1 + seed%4)
		r := &Runner{FS: disk, Disk: disk, Options: []hlog.Options{options}, HashSeed: seed + 1, Work: step.New(seed)}
		c := &copies{history: everSeen{named: map[Version]*entry{}}, outcome: r.Outcome, every: int64(5 + seed%17)}
		disk.SetHook(func(call fsx.Call) { c.at(disk, call) })
		if err := r.Play(versionsTape(seed, 60)); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		if c.err != nil {
			t.Errorf("seed %d: %v", seed, c.err)
		}
		for i, n := range c.counts {
			counts[i] += n
		}
		lost += c.lost
	}
	t.Logf("%d copies, %d of them without files that went meanwhile: %d whole, %d in which damage was noticed, %d refused",
		counts[harmless]+counts[noticed]+counts[refused], lost, counts[harmless], counts[noticed], counts[refused])
	if counts[harmless] == 0 || counts[refused] == 0 || lost == 0 {
		t.Error("the copies are not of every kind")
	}
}

// TestCopy_OfARunningStoreOnDisk does the same on the operating system's file system, with a store that does not wait
// for the copier.
func TestCopy_OfARunningStoreOnDisk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	from := filepath.Join(root, "store")
	s, err := hlog.Open(from, &hlog.Options{MemoryBytes: 4 << 20, PageBytes: 16 << 10, SegmentBytes: 64 << 10, KeepVersions: 2})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	states := map[Version]State{}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- writeVersions(s, stop, func(v Version, st State) { mu.Lock(); states[v] = st; mu.Unlock() })
	}()
	var counts [numVerdicts]int
	for i := range scaled(3, 6, 16, 400) {
		to := filepath.Join(root, fmt.Sprint("copy", i))
		f := newFileCopier(fsx.OS(), moved{from: from, to: to}, from, i%2 == 0, i)
		for {
			ended, err := f.step()
			if err != nil {
				t.Fatal(err)
			}
			if ended {
				break
			}
		}
		v, err := checkCopy(fsx.OS(), to, func(v Version, _ []byte) []State {
			mu.Lock()
			defer mu.Unlock()
			if states[v] == nil {
				return nil
			}
			return []State{states[v]}
		}, nil)
		if err != nil {
			t.Fatalf("copy %d: %v", i, err)
		}
		counts[v]++
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := errors.Join(<-done, s.Close()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d versions; copies: %d whole, %d in which damage was noticed, %d refused", len(states), counts[harmless], counts[noticed], counts[refused])
}

// writeVersions writes and commits until it is told to stop. known is told of each version before it can be copied.
func writeVersions(s *hlog.Store, stop chan struct{}, known func(Version, State)) error {
	live := State{}
	for n := uint64(1); ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		for i := range 40 {
			k, v := Key(int(n*7+uint64(i))%wideKeys), Value(n<<8+uint64(i), 50*i)
			if err := s.Set(k, v); err != nil {
				return err
			}
			live[string(k)] = string(v)
		}
		st := State{}
		for k, v := range live {
			st[k] = v
		}
		known(Version(n), st)
		if _, err := s.Checkpoint(context.Background(), hlog.WithVersion(Version(n))); err != nil {
			return err
		}
	}
}

// moved has what is below from below to, on the operating system's file system.
type moved struct{ from, to string }

func (m moved) move(name string) string { return m.to + strings.TrimPrefix(name, m.from) }

func (m moved) Open(name string, f fsx.Flag) (fsx.File, error) { return fsx.OS().Open(m.move(name), f) }

func (m moved) MkdirAll(dir string) error { return fsx.OS().MkdirAll(m.move(dir)) }
