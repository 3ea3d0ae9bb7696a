package hlog

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// watcher counts the events of a store. It knows the callbacks by their names in Events, so that none is forgotten.
type watcher struct {
	mu    sync.Mutex
	told  map[string]int
	calls [][]any // a name and the arguments, in order
	busy  atomic.Int32
	then  func(name string) // called by every callback; may be nil
}

func (w *watcher) events() (e Events) {
	w.told = map[string]int{}
	fields := reflect.ValueOf(&e).Elem()
	for i := range fields.NumField() {
		name := fields.Type().Field(i).Name
		fields.Field(i).Set(reflect.MakeFunc(fields.Field(i).Type(), func(args []reflect.Value) []reflect.Value {
			w.busy.Add(1)
			defer w.busy.Add(-1)
			call := []any{name}
			for _, a := range args {
				call = append(call, a.Interface())
			}
			if n := w.busy.Load(); n > 1 {
				call = append(call, fmt.Errorf("%d callbacks at a time", n))
			}
			w.mu.Lock()
			w.told[name]++
			w.calls = append(w.calls, call)
			w.mu.Unlock()
			if w.then != nil {
				w.then(name)
			}
			return nil
		}))
	}
	return e
}

func (w *watcher) count(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told[name]
}

// await returns when an event has been told of.
func (w *watcher) await(t *testing.T, name string) {
	t.Helper()
	eventually(t, name, func() bool { return w.count(name) > 0 })
}

// eventful has a store do everything that there is an event for.
func eventful(t *testing.T, s *Store, disk *fsx.ErrFS, w *watcher) {
	ctx := context.Background()
	x := s.NewSession()
	defer x.Close()
	for i := range 5000 {
		must(t, x.Set(key8(i), key8(i)))
	}
	w.await(t, "IndexGrown")
	spill(t, x, 1<<20)
	commit(t, s)
	w.await(t, "SegmentCreated")
	w.await(t, "ImageWritten")

	fault := disk.Inject(fsx.Fault{Class: fsx.ClassRename, Match: "*.manifest", Sticky: true})
	if _, err := s.Checkpoint(ctx); !errors.Is(err, syscall.EIO) {
		t.Errorf("no manifest can be written: %v", err)
	}
	w.await(t, "CheckpointFailed")
	fault.Clear()

	must(t, s.Compact(ctx))
	commit(t, s)
	w.await(t, "SegmentsFreed")
	_, err := s.Restore(ctx, 0)
	must(t, err)

	slow := disk.Hold(fsx.ClassWrite, "*.seg")
	var writer sync.WaitGroup
	writer.Go(func() {
		y := s.NewSession()
		defer y.Close()
		spill(t, y, 2*MinMemoryBytes)
	})
	eventually(t, "the writer to wait for a page", func() bool { return s.Metrics().StallCount > 0 })
	slow.Open()
	writer.Wait()
	w.await(t, "Stalled")
}

// openEventful opens a store that w watches.
func openEventful(t *testing.T, w *watcher) (*Store, *fsx.ErrFS) {
	o := tiny()
	disk := fsx.NewErr(o.FS)
	o.FS, o.KeepVersions, o.Events = disk, 1, w.events()
	r := onRemote(t, 1, 10)
	must(t, r.store.Close())
	o.Remote = r.remote // which the directory is filled from
	return mustOpen(t, "/store", o), disk
}

func TestEvents_EachIsSent(t *testing.T) {
	var w watcher
	s, disk := openEventful(t, &w)
	eventful(t, s, disk, &w)
	stalls := int(s.Metrics().StallCount)
	must(t, s.Close())

	fields := reflect.TypeFor[Events]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; w.count(name) == 0 {
			t.Errorf("no %s", name)
		}
	}
	if w.told["CheckpointBegun"] != w.told["CheckpointDurable"]+w.told["CheckpointFailed"] {
		t.Errorf("checkpoints: %v", w.told)
	}
	stalled := 0
	for _, call := range w.calls {
		for _, arg := range call[1:] {
			switch a := arg.(type) {
			case error:
				if call[0] != "CheckpointFailed" || !errors.Is(a, syscall.EIO) {
					t.Error(call...)
				}
			case string:
				if !strings.HasPrefix(a, "/store/log/") {
					t.Error(call...)
				}
			case checkpoint.Info:
				if a.Version == 0 || a.LogBytes == 0 {
					t.Error(call...)
				}
			default: // versions, bytes, counts, durations
				if reflect.ValueOf(a).IsZero() && call[0] != "Compacted" {
					t.Error(call...)
				}
			}
		}
		if call[0] == "Stalled" {
			stalled += call[1].(int)
		}
	}
	if stalled < stalls {
		t.Errorf("told of %d stalls of %d", stalled, stalls)
	}
}

// A callback may use the store: no lock is held, and nobody who holds one waits for it.
func TestEvents_CallbacksUseTheStore(t *testing.T) {
	var w watcher
	ready := make(chan struct{})
	var s *Store
	var used sync.Map // name -> how often it has used the store
	var failed atomic.Pointer[error]
	w.then = func(name string) {
		<-ready
		n, _ := used.LoadOrStore(name, new(int))
		if *n.(*int)++; *n.(*int) > 2 {
			return // what it does causes events
		}
		if err := useEverything(s); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			failed.Store(&err)
		}
	}
	s, disk := openEventful(t, &w)
	close(ready)
	eventful(t, s, disk, &w)
	within(t, "Close", func() { must(t, s.Close()) })
	if err := failed.Load(); err != nil {
		t.Error(*err)
	}
	n := 0
	used.Range(func(any, any) bool { n++; return true })
	if fields := reflect.TypeFor[Events]().NumField(); n != fields {
		t.Errorf("%d of %d callbacks have used the store", n, fields)
	}
}

// useEverything calls what there is to call on a store, but Close. The disk may fail, and the store close, meanwhile.
func useEverything(s *Store) error {
	ctx := context.Background()
	key := []byte("used")
	_ = s.Metrics().String()
	s.Current()
	infos, versionsErr := s.Versions()
	_, getErr := s.Get(nil, key)
	errs := []error{
		versionsErr, getErr,
		s.Set(key, key),
		s.RMW(key, func(old []byte) []byte { return key }),
		s.Scan(ctx, func(_, _ []byte) bool { return true }),
		s.Compact(ctx),
	}
	_, err := s.Checkpoint(ctx)
	errs = append(errs, err)
	view, err := s.OpenVersion(ctx, 0)
	if err == nil {
		_, err = view.Get(nil, key)
		errs = append(errs, view.Close())
	}
	errs = append(errs, err)
	for _, i := range infos {
		errs = append(errs, s.Purge(ctx, i.Version))
	}
	_, err = s.Restore(ctx, 0)
	errs = append(errs, err)
	for i, err := range errs {
		expected := false
		for _, e := range []error{nil, ErrNotFound, ErrClosed, ErrVersionNotFound, ErrVersionInUse, ErrRestored, syscall.EIO} {
			expected = expected || errors.Is(err, e)
		}
		if !expected {
			return fmt.Errorf("call %d: %w", i, err)
		}
	}
	return nil
}

// A callback that blocks holds up the ones after it, and nothing else.
func TestEvents_BlockedCallback(t *testing.T) {
	block, begun := make(chan struct{}), make(chan checkpoint.Version, 8)
	o := tiny()
	o.Events.CheckpointBegun = func(v checkpoint.Version) {
		begun <- v
		<-block
	}
	s := mustOpen(t, "/store", o)
	within(t, "a store with a blocked callback", func() {
		x := s.NewSession()
		for range 3 {
			spill(t, x, 1<<20)
			commit(t, s)
		}
		_, err := s.Restore(context.Background(), 1)
		must(t, err)
	})
	if n := len(begun); n != 1 {
		t.Errorf("%d callbacks while the first is blocked", n)
	}
	close(block)
	within(t, "Close", func() { must(t, s.Close()) })
	for v := checkpoint.Version(1); v <= 3; v++ {
		if got := <-begun; got != v {
			t.Errorf("told of version %d, not %d", got, v)
		}
	}
}

// What is sent while a store opens is kept until it has opened: nothing is called for one that fails to.
func TestEvents_NothingBeforeStart(t *testing.T) {
	var w watcher
	n := notifier{Events: w.events()}
	n.job = step.NewJobs(nil).Add("events", step.Apart, n.callAll)
	n.indexGrown(128)
	n.stalled(time.Second)
	n.stalled(time.Millisecond)
	if testkit.Stands(").callAll(") || len(w.calls) > 0 {
		t.Errorf("before start there is a goroutine, or one has called: %v", w.calls)
	}
	n.job.Start()
	n.job.Finish()
	n.indexGrown(256) // too late
	n.job.Finish()
	want := [][]any{{"IndexGrown", 128}, {"Stalled", 2, time.Second}}
	if !reflect.DeepEqual(w.calls, want) {
		t.Errorf("%v, want %v", w.calls, want)
	}
}
