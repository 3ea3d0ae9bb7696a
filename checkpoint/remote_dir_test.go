package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDirRemote_Conformance(t *testing.T) {
	t.Run("os", func(t *testing.T) {
		remotetest.Conformance(t, func(t *testing.T) checkpoint.Remote {
			r, err := checkpoint.NewDirRemote(filepath.Join(t.TempDir(), "remote"))
			must(t, err)
			return r
		}, nil)
	})
	t.Run("crashfs", func(t *testing.T) {
		remotetest.Conformance(t, func(t *testing.T) checkpoint.Remote {
			r, err := checkpoint.NewDirRemoteOn(fsx.NewCrash(fsx.CrashOptions{}), "remote")
			must(t, err)
			return r
		}, nil)
	})
}

func TestDirRemote_Names(t *testing.T) {
	outer := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outer, "secret"), []byte("mine"), 0o644))
	r, err := checkpoint.NewDirRemote(filepath.Join(outer, "remote"))
	must(t, err)
	for _, name := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../secret", "a/../../secret", ".hidden", "a/.b",
		"a b", "a\\b", "a\x00", "ä", "a:b", "*", strings.Repeat("a", 600)} {
		if checkpoint.ValidName(name) {
			t.Errorf("%q is valid", name)
		}
		_, absent := r.PutIfAbsent(t.Context(), name, []byte("x"))
		_, get := r.Get(t.Context(), name, 0, -1)
		for verb, err := range map[string]error{
			"put": r.Put(t.Context(), name, []byte("x")), "put if absent": absent, "get": get, "delete": r.Delete(t.Context(), name),
		} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s %q: %v, want fs.ErrInvalid", verb, name, err)
			}
		}
		if objects, err := r.List(t.Context(), name); err != nil || len(objects) > 0 {
			t.Errorf("list %q: %v, %v", name, objects, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(outer, "secret")); string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestDirRemote_CrashAtEveryCall: an object is there or not there, whole, and what was acknowledged is there.
func TestDirRemote_CrashAtEveryCall(t *testing.T) {
	states := 0
	for k := int64(1); ; k++ {
		disk := fsx.NewCrash(fsx.CrashOptions{})
		disk.CrashAt(k)
		acked, tried, err := putSome(t.Context(), disk)
		for i := range uint64(8) {
			c := []fsx.Crash{{Keep: fsx.KeepNone}, {Keep: fsx.KeepAll}, {Keep: fsx.KeepSubset, Seed: i, Torn: i%2 == 0}}[min(i, 2)]
			states++
			checkObjects(t, disk.Clone(c), acked, tried)
		}
		if err == nil {
			break
		}
	}
	t.Logf("%d crash states", states)
}

// TestDirRemote_ErrorAtEveryCall: the same when a call fails instead, and a second attempt succeeds.
func TestDirRemote_ErrorAtEveryCall(t *testing.T) {
	for class := range fsx.NumClasses {
		for _, fault := range []fsx.Fault{{Class: class}, {Class: class, After: true}} {
			for fault.Nth = 1; ; fault.Nth++ {
				disk := fsx.NewCrash(fsx.CrashOptions{})
				failing := fsx.NewErr(disk)
				injection := failing.Inject(fault)
				acked, tried, err := putSome(t.Context(), failing)
				checkObjects(t, disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), acked, tried)
				if err != nil {
					if acked, tried, err = putSome(t.Context(), failing); err != nil {
						t.Fatalf("%+v: second attempt: %v", fault, err)
					}
					checkObjects(t, disk.Clone(fsx.Crash{Keep: fsx.KeepNone}), acked, tried)
				}
				if injection.Fired() == 0 {
					break
				}
			}
		}
	}
}

// putSome writes objects until something fails. acked are the values that are certain, tried one that may be.
func putSome(ctx context.Context, fsys fsx.FS) (acked, tried map[string]string, err error) {
	acked, tried = map[string]string{}, map[string]string{}
	r, err := checkpoint.NewDirRemoteOn(fsys, "remote")
	if err != nil {
		return acked, tried, err
	}
	for _, c := range [][2]string{{"a/x", "one"}, {"b/c/y", "two"}, {"a/x", "three, longer"}, {"STORE", "four"}} {
		name, value := c[0], c[1]
		tried[name] = value
		if name == "STORE" {
			_, err = r.PutIfAbsent(ctx, name, []byte(value))
		} else {
			err = r.Put(ctx, name, []byte(value))
		}
		if err != nil {
			return acked, tried, err
		}
		acked[name] = value
		delete(tried, name)
	}
	tried["b/c/y"] = "" // absent
	if err = r.Delete(ctx, "b/c/y"); err == nil {
		delete(acked, "b/c/y")
	}
	return acked, tried, err
}

func checkObjects(t *testing.T, disk *fsx.CrashFS, acked, tried map[string]string) {
	t.Helper()
	r, err := checkpoint.NewDirRemoteOn(disk, "remote")
	must(t, err)
	for _, name := range []string{"a/x", "b/c/y", "STORE"} {
		got := ""
		body, err := r.Get(t.Context(), name, 0, -1)
		if err == nil {
			b, err := io.ReadAll(body)
			must(t, errors.Join(err, body.Close()))
			got = string(b)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		other, both := tried[name]
		if got != acked[name] && !(both && got == other) {
			t.Fatalf("%s is %q, want %q or %q (%v)", name, got, acked[name], other, both)
		}
	}
	objects, err := r.List(t.Context(), "")
	must(t, err)
	for _, o := range objects {
		if _, err := r.Get(t.Context(), o.Name, 0, 1); err != nil {
			t.Fatalf("listed, but: %v", err)
		}
	}
}

func TestDirRemote_RemovesWhatCrashedWritersLeft(t *testing.T) {
	root := t.TempDir()
	r, err := checkpoint.NewDirRemote(root)
	must(t, err)
	must(t, r.Put(t.Context(), "a/b", []byte("x")))
	left := filepath.Join(root, "a", ".1234-1.tmp")
	must(t, os.WriteFile(left, []byte("half"), 0o644))
	release, err := fsx.OS().Lock(root, true) // another process is writing
	must(t, err)
	_, err = checkpoint.NewDirRemote(root)
	must(t, err)
	if _, err := os.Stat(left); err != nil {
		t.Errorf("removed under a writer: %v", err)
	}
	must(t, release())
	_, err = checkpoint.NewDirRemote(root)
	must(t, err)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	objects, err := r.List(t.Context(), "")
	if err != nil || len(objects) != 1 || objects[0].Name != "a/b" {
		t.Errorf("%v, %v", objects, err)
	}
}

// A process that is stopped in the middle of a put holds nobody up, wherever that is: a store that is paused must not keep the
// next owner of its remote from taking it over.
func TestDirRemote_StoppedWriter(t *testing.T) {
	for _, at := range []fsx.Class{fsx.ClassOpen, fsx.ClassWrite, fsx.ClassSync, fsx.ClassRename, fsx.ClassSyncDir} {
		for _, verb := range []string{"put", "put if absent"} {
			root := filepath.Join(t.TempDir(), "remote")
			first, err := checkpoint.NewDirRemote(root)
			must(t, err)
			must(t, first.Put(t.Context(), "dir/before", []byte("there")))
			stopping := fsx.NewErr(fsx.OS())
			stopped, err := checkpoint.NewDirRemoteOn(stopping, root)
			must(t, err)
			must(t, stopped.Put(t.Context(), "dir/more", []byte("there")))
			gate := stopping.Hold(at, "")
			ended := make(chan error, 1)
			go func() {
				if verb == "put" {
					ended <- stopped.Put(t.Context(), "dir/object", []byte("of the one that was stopped"))
					return
				}
				_, err := stopped.PutIfAbsent(t.Context(), "dir/object", []byte("of the one that was stopped"))
				ended <- err
			}()
			must(t, gate.Await(t.Context(), 1))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			other, err := checkpoint.NewDirRemote(root) // the next owner's
			must(t, err)
			if created, err := other.PutIfAbsent(ctx, "dir/claim", []byte("mine")); !created || err != nil {
				t.Errorf("a %s stands at %v: %v, %v", verb, at, created, err)
			}
			must(t, other.Put(ctx, "dir/other", []byte("mine")))
			cancel()
			gate.Open()
			must(t, <-ended)
		}
	}
}

// Of several processes that put the same object when none is there, one is told that it did.
func TestDirRemote_OneOfManyCreates(t *testing.T) {
	root := filepath.Join(t.TempDir(), "remote")
	const callers, objects = 4, 50
	var remotes [callers]checkpoint.Remote
	for i := range remotes {
		var err error
		remotes[i], err = checkpoint.NewDirRemote(root)
		must(t, err)
	}
	for n := range objects {
		won := make(chan int, callers)
		var all sync.WaitGroup
		for i, r := range remotes {
			all.Go(func() {
				created, err := r.PutIfAbsent(t.Context(), fmt.Sprint("o/", n), fmt.Append(nil, i))
				if err != nil {
					t.Error(err)
				}
				if created {
					won <- i
				}
			})
		}
		all.Wait()
		close(won)
		body, err := remotes[0].Get(t.Context(), fmt.Sprint("o/", n), 0, -1)
		must(t, err)
		got, err := io.ReadAll(body)
		must(t, errors.Join(err, body.Close()))
		if len(won) != 1 || fmt.Sprint(<-won) != string(got) {
			t.Fatalf("object %d is %q, and %d have created it", n, got, len(won))
		}
	}
}

// A file system that cannot give a file a name that nothing has is locked instead.
func TestDirRemote_NoRenameNew(t *testing.T) {
	failing := fsx.NewErr(fsx.OS())
	r, err := checkpoint.NewDirRemoteOn(failing, filepath.Join(t.TempDir(), "remote"))
	must(t, err)
	fault := failing.Inject(fsx.Fault{Class: fsx.ClassRename, Nth: 1, Err: errors.ErrUnsupported})
	if created, err := r.PutIfAbsent(t.Context(), "object", []byte("first")); !created || err != nil || fault.Fired() != 1 {
		t.Fatal(created, err)
	}
	if created, err := r.PutIfAbsent(t.Context(), "object", []byte("second")); created || err != nil {
		t.Fatal(created, err)
	}
}
