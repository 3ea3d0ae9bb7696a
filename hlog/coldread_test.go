package hlog

import (
	"bytes"
	"context"
	"runtime"
	"sync/atomic"
	"testing"
)

// pausedRead lets the first read of the log that read causes wait while meanwhile runs. Reads of the background, which may
// hold what meanwhile needs, go on.
func pausedRead(t *testing.T, hooks *readHookFS, read, meanwhile func()) {
	t.Helper()
	reached, goOn := make(chan struct{}), make(chan struct{})
	var paused atomic.Bool
	hooks.set(func(string) {
		stack := make([]byte, 64<<10) // ends with who has created the goroutine
		stack = stack[:runtime.Stack(stack, false)]
		if bytes.Contains(stack, []byte("hlog.pausedRead in goroutine")) && paused.CompareAndSwap(false, true) {
			close(reached)
			<-goOn
		}
	})
	defer hooks.set(nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		read()
	}()
	within(t, "the read", func() { <-reached })
	meanwhile()
	close(goOn)
	within(t, "the read", func() { <-done })
}

// The key's record is moved to the tail, and the log's beginning past where it was, while a read is on its way down
// the chain to it.
func TestColdRead_RecordCompactedMeanwhile(t *testing.T) {
	for _, op := range []string{"get", "rmw", "rmw that deletes"} {
		for _, keep := range []int{1, 8} { // with and without the old segments
			t.Run(op, func(t *testing.T) {
				o := tiny()
				hooks := &readHookFS{FS: o.FS}
				o.FS, o.NoReadCache, o.NoCompaction, o.KeepVersions = hooks, true, true, keep
				s := mustOpen(t, "/store", o)
				x := s.NewSession()
				chain := colliding(t, s, 1, 2)[0]
				must(t, x.Set(chain[0], []byte("below")))
				spill(t, x, 300<<10) // another segment
				must(t, x.Set(chain[1], []byte("above")))
				evict(t, s)
				commit(t, s)
				pausedRead(t, hooks, func() {
					switch op {
					case "get":
						if v, err := x.Get(nil, chain[0]); err != nil || string(v) != "below" {
							t.Errorf("get: %q, %v", v, err)
						}
					case "rmw":
						must(t, x.RMW(chain[0], func(old []byte) []byte { return append(old, " more"...) }))
						if v, err := x.Get(nil, chain[0]); err != nil || string(v) != "below more" {
							t.Errorf("get: %q, %v", v, err)
						}
					default:
						must(t, x.RMW(chain[0], func(old []byte) []byte { return nil }))
						if v, err := x.Get(nil, chain[0]); err != ErrNotFound {
							t.Errorf("get: %q, %v", v, err)
						}
					}
				}, func() {
					must(t, s.Compact(context.Background()))
					commit(t, s)
					must(t, s.ledger.Retain(s.opts.KeepVersions))
					must(t, s.collect())
					if v, err := s.Get(nil, chain[1]); err != nil || string(v) != "above" {
						t.Errorf("get: %q, %v", v, err)
					}
				})
			})
		}
	}
}

// The branch that a read is on its way down is left by a restore and purged, segments and all.
func TestColdRead_BranchPurgedMeanwhile(t *testing.T) {
	for _, op := range []string{"get", "rmw", "multi get"} {
		t.Run(op, func(t *testing.T) {
			o := tiny()
			hooks := &readHookFS{FS: o.FS}
			o.FS, o.NoReadCache, o.NoCompaction = hooks, true, true
			s := mustOpen(t, "/store", o)
			x := s.NewSession()
			chain := colliding(t, s, 1, 2)[0]
			must(t, x.Set(chain[0], []byte("before")))
			v := commit(t, s)
			spill(t, x, 600<<10) // segments of its own
			must(t, x.Set(chain[0], []byte("abandoned")))
			spill(t, x, 600<<10)
			must(t, x.Set(chain[1], []byte("above")))
			evict(t, s)
			abandoned := commit(t, s)
			check := func(v []byte, err error) {
				t.Helper()
				if err != nil || string(v) != "before" && string(v) != "abandoned" {
					t.Errorf("%s: %q, %v", op, v, err)
				}
			}
			pausedRead(t, hooks, func() {
				switch op {
				case "get":
					check(x.Get(nil, chain[0]))
				case "rmw":
					must(t, x.RMW(chain[0], func(old []byte) []byte {
						check(old, nil)
						return []byte("after")
					}))
				default:
					must(t, x.MultiGet(chain, func(i int, v []byte, err error) {
						if i == 0 {
							check(v, err)
						}
					}))
				}
			}, func() {
				_, err := s.Restore(context.Background(), v)
				must(t, err)
				must(t, s.Purge(context.Background(), abandoned))
			})
			want := "before"
			if op == "rmw" {
				want = "after"
			}
			if v, err := s.Get(nil, chain[0]); err != nil || string(v) != want {
				t.Errorf("afterwards: %q, %v, want %q", v, err, want)
			}
		})
	}
}
