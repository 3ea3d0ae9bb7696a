package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// A scan whose callback closes the store, at whatever record, ends with ErrClosed: the walk must not read on in
// memory that has been given back.
func TestScan_StoreClosedByCallback(t *testing.T) {
	const keys = 1000 // of 32 bytes: the log's first page, which begins with an empty block, holds 384 of them
	for stop := 1; stop <= keys; stop++ {
		if stop%97 != 0 && (stop+512-384+8)%512 > 16 {
			continue // pages end elsewhere
		}
		s := mustOpen(t, "/store", tiny())
		x := s.NewSession()
		for i := range keys {
			must(t, x.Set(key8(i), key8(i)))
		}
		n := 0
		err := s.Scan(context.Background(), func(k, v []byte) bool {
			if n++; n == stop {
				must(t, s.Close())
			}
			return true
		})
		if n != stop || !errors.Is(err, ErrClosed) && !(stop == keys && err == nil) {
			t.Fatalf("closed at record %d: visited %d, %v", stop, n, err)
		}
	}
}

// Scans and compactions that begin and end at any moment of a Close.
func TestClose_WhileLogIsWalked(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		s := mustOpen(t, "/store", tiny())
		x := s.NewSession()
		for i := range 3000 {
			must(t, x.Set(key8(i), key8(i)))
		}
		commit(t, s)
		var wg sync.WaitGroup
		for _, walk := range []func() error{
			func() error { return s.Scan(context.Background(), func(k, v []byte) bool { return true }) },
			func() error { return s.Compact(context.Background()) },
			func() error { s.Metrics(); return s.check() },
		} {
			wg.Go(func() {
				for {
					if err := walk(); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Errorf("%v", err)
						}
						return
					}
				}
			})
		}
		runtime.Gosched()
		must(t, s.Close())
		within(t, "a walk", wg.Wait)
	}
}

// closing closes the store in a goroutine of its own, and returns when Close has the lock that cuts and restores need. It
// waits there for the cut of a checkpoint, and that for an operation, which leave ends. leave returns when Close has.
func closing(t *testing.T, s *Store) (leave func()) {
	t.Helper()
	g := s.epochs.Register()
	g.Enter()
	_, err := s.BeginCheckpoint()
	must(t, err)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	eventually(t, "Close to wait for the cut", func() bool { return testkit.Stands("[chan receive", ").Close(", ").waitCut(") })
	return func() {
		g.Exit()
		g.Release()
		within(t, "Close", func() { <-closed })
	}
}

// The background is about to begin a checkpoint, and waits for the lock that Close holds.
func TestClose_BackgroundCheckpointIsDue(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	must(t, s.Set([]byte("key"), nil))
	leave := closing(t, s)
	s.background.jobs.Once("interval", step.Apart, s.checkpointIfChanged)
	eventually(t, "a checkpoint that waits for Close", func() bool {
		return testkit.Stands("[sync.Mutex.Lock", ").checkpointIfChanged(", ").begin(")
	})
	leave()
}

// A restore holds compaction off and waits for the checkpoint that Close waits for, too; the background waits for the
// restore.
func TestClose_RestoreIsWaiting(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	must(t, s.Set([]byte("key"), nil))
	v := commit(t, s)
	leave := closing(t, s)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Restore(context.Background(), v); !errors.Is(err, ErrClosed) {
			t.Errorf("restore: %v", err)
		}
	})
	eventually(t, "a restore that waits for the checkpoint", func() bool { return testkit.Stands("[sync.Cond.Wait", ").Restore(", ").drainCommits(") })
	s.kickMaintenance()
	eventually(t, "housekeeping that waits for the restore", func() bool { return testkit.Stands("[sync.Mutex.Lock", ").maintain(") })
	leave()
	within(t, "Restore", wg.Wait)
}

// Operations of all kinds, cold ones and those that load the index among them, under way while the store closes.
func TestClose_DuringOperations(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 6
	}
	o := tiny()
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	const keys = 20000
	for i := range keys {
		must(t, x.Set(key8(i), key8(i)))
	}
	for round := range rounds {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				x := s.NewSession()
				var batch [][]byte
				for i := g; ; i += 7919 {
					k := key8(i % keys)
					batch = append(batch, k)
					var err error
					switch i % 5 {
					case 0:
						err = x.Set(k, k)
					case 1:
						err = s.RMW(k, func(old []byte) []byte { return old })
					case 2:
						if len(batch) > 64 {
							err = x.MultiGet(batch, func(int, []byte, error) {})
							batch = batch[:0]
						}
					default:
						var v []byte
						if v, err = s.Get(nil, k); err == nil && binary.BigEndian.Uint64(v) != uint64(i%keys) {
							t.Errorf("key %d is %x", i%keys, v)
						}
					}
					if errors.Is(err, ErrClosed) {
						return
					}
					must(t, err)
				}
			})
		}
		testkit.Pause(time.Duration(round%4) * time.Millisecond)
		must(t, s.Close())
		within(t, "an operation", wg.Wait)
		s = mustOpen(t, "/store", o)
	}
}

// What a thousand stores took from the process they have given back: goroutines, descriptors, mappings.
func TestClose_GivesEverythingBack(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		rounds := 1000
		if testing.Short() || testkit.Race {
			rounds = 60
		}
		openAndClose(t, "/store", tiny().FS, rounds)
	})
	t.Run("disk", func(t *testing.T) { openAndClose(t, t.TempDir(), fsx.OS(), 20) })
}

func openAndClose(t *testing.T, dir string, fs fsx.FS, rounds int) {
	o := tiny()
	o.FS, o.KeepVersions = fs, 2
	cycle := func(i int) {
		s, err := Open(dir, o)
		must(t, err)
		must(t, s.Set(key8(i), make([]byte, 2000)))
		if i%20 == 0 { // spill: a cache of cold records, a descriptor per segment
			x := s.NewSession()
			evict(t, s)
			if _, err := x.Get(nil, key8(i)); err != nil {
				t.Fatal(err)
			}
			w, err := s.OpenVersion(context.Background(), commit(t, s))
			must(t, err)
			if _, err := w.Get(nil, key8(i)); err != nil {
				t.Fatal(err)
			}
		}
		must(t, s.Close())
	}
	for i := range 2 {
		cycle(i) // what the runtime itself takes for good is taken now
	}
	goroutines, files, mapped := resources(t)
	for i := range rounds {
		cycle(i)
	}
	var g, f int
	var m int64
	if !testkit.Soon(func() bool { // goroutines that have been told to end may take a moment
		g, f, m = resources(t)
		return g <= goroutines && f <= files && m <= mapped+MinMemoryBytes
	}) {
		t.Fatalf("goroutines %d, then %d; descriptors %d, then %d; bytes mapped %d, then %d", goroutines, g, files, f, mapped, m)
	}
}

// resources returns what the process holds: mapped is what is mapped for writing beside what the Go runtime has taken,
// and beside the stacks of threads, which have a guard page below: with cgo there is one of 8 MiB more whenever the
// runtime needs another thread, and it stays.
func resources(t *testing.T) (goroutines, files int, mapped int64) {
	runtime.GC()
	goroutines = runtime.NumGoroutine()
	if runtime.GOOS != "linux" {
		return goroutines, 0, 0
	}
	fds, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	if testkit.Race { // the detector maps as it likes
		return goroutines, len(fds), 0
	}
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	guard := int64(0) // end of the last mapping, if that is a page without any access, else 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		n, _ := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode)
		if n == 3 && strings.HasPrefix(mode, "rw") && from != guard {
			mapped += to - from
		}
		if guard = 0; strings.HasPrefix(mode, "---") && to-from == int64(os.Getpagesize()) {
			guard = to
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return goroutines, len(fds), mapped - int64(m.Sys)
}

func TestClose_Twice(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	must(t, s.Close())
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("the second Close returned %v", err)
	}
	var wg sync.WaitGroup
	s = mustOpen(t, "/store", tiny())
	must(t, s.Set([]byte("key"), nil))
	results := make([]error, 8)
	for i := range results {
		wg.Go(func() { results[i] = s.Close() })
	}
	within(t, "Close", wg.Wait)
	first := 0
	for _, err := range results {
		if err == nil {
			first++
		} else if !errors.Is(err, ErrClosed) {
			t.Errorf("close: %v", err)
		}
	}
	if first != 1 {
		t.Errorf("%d calls of Close closed the store", first)
	}
}

// A process may have many stores that do little: as long as nothing happens in one, it has no goroutine.
func TestOpen_IdleStoreHasNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	o := tiny()
	o.CheckpointEvery = time.Hour
	s := mustOpen(t, "/store", o)
	must(t, s.Set([]byte("key"), nil))
	commit(t, s)
	testkit.Eventually(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}
