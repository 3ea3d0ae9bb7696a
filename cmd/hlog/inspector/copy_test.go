package inspector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog"
)

// state returns what version v of a remote has, 0 being the head.
func state(t *testing.T, r checkpoint.Remote, v checkpoint.Version) map[string]string {
	t.Helper()
	w, err := hlog.OpenRemote(context.Background(), r, v, nil)
	must(t, err)
	defer w.Close()
	all := map[string]string{}
	must(t, w.Scan(context.Background(), func(key, value []byte) bool {
		all[string(key)] = string(value)
		return true
	}))
	return all
}

// A store that is in use is copied to a remote, later versions as what is new in them, from there to another one, and opens there.
func TestCopy_ToARemote(t *testing.T) {
	dir, one, two := t.TempDir(), t.TempDir(), t.TempDir()
	s := filled(t, dir)
	dirs := map[string]string{"STORE": dir, "dir:ONE": "dir:" + one, "dir:TWO": "dir:" + two}
	before := tree(t, dir)
	says(t, dirs, "copy STORE dir:ONE", exitFine, "version 1:", "version 2:")
	if !maps.Equal(before, tree(t, dir)) {
		t.Error("the store was changed")
	}
	first, err := checkpoint.NewDirRemote(one)
	must(t, err)
	want := map[string]string{"version": "2", "key 2": `a "value"`}
	if got := state(t, first, 0); !maps.Equal(got, want) {
		t.Errorf("the remote has %v, want %v", got, want)
	}
	if got := state(t, first, 1); got["version"] != "1" {
		t.Errorf("version 1 on the remote is %v", got)
	}
	must(t, s.Set([]byte("more"), nil))
	_, err = s.Checkpoint(context.Background())
	must(t, err)
	out, errOut, code := hlogCommand(nil, dirs, "copy", "-version", "3", "STORE", "dir:ONE")
	if code != exitFine || strings.Contains(out, "version 2") {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}
	says(t, dirs, "copy dir:ONE dir:TWO", exitFine, "version 1:", "version 2:", "version 3:")
	says(t, dirs, "copy -version 9 STORE dir:TWO", exitNotFound)
	says(t, dirs, "copy -since 1 STORE dir:TWO", exitUsage)
	must(t, s.Close())

	second, err := checkpoint.NewDirRemote(two)
	must(t, err)
	s, err = hlog.Open(filepath.Join(t.TempDir(), "elsewhere"), &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, Remote: second})
	must(t, err)
	if i, ok := s.Current(); !ok || i.Version != 3 || string(i.Cookie) != "" {
		t.Errorf("the store opens at %+v", i)
	}
	must(t, s.Set([]byte("there"), nil)) // and goes on there
	_, err = s.Checkpoint(context.Background())
	must(t, err)
	must(t, s.Close())
	says(t, dirs, "verify -deep dir:TWO", exitFine, "version 4: whole")
	says(t, dirs, "copy STORE dir:TWO", exitFine, "version 3: N bytes") // which has it, and more
	if got := state(t, second, 0); len(got) != 4 {
		t.Errorf("the head has moved back: %v", got)
	}
}

// A remote that goes on from elsewhere, or has another store, stays as it is.
func TestCopy_ToARemoteOfAnother(t *testing.T) {
	dir, bucket := t.TempDir(), t.TempDir()
	must(t, filled(t, dir).Close())
	dirs := map[string]string{"STORE": dir, "OTHER": t.TempDir(), "COPY": filepath.Join(t.TempDir(), "copy"), "dir:REMOTE": "dir:" + bucket}
	must(t, filled(t, dirs["OTHER"]).Close())
	says(t, dirs, "copy STORE dir:REMOTE", exitFine)
	says(t, dirs, "copy STORE COPY", exitFine)
	change := func(dir, key string, o hlog.Options) {
		s, err := hlog.Open(dir, &o)
		must(t, err)
		must(t, s.Set([]byte(key), nil))
		_, err = s.Checkpoint(context.Background())
		must(t, err)
		must(t, s.Close())
	}
	remote, err := checkpoint.NewDirRemote(bucket)
	must(t, err)
	change(dirs["COPY"], "branch", hlog.Options{Remote: remote})
	change(dir, "other branch", hlog.Options{})
	want := state(t, remote, 0)
	for _, place := range []string{"STORE", "OTHER"} {
		says(t, dirs, "copy "+place+" dir:REMOTE", exitFailed)
	}
	if got := state(t, remote, 0); !maps.Equal(got, want) {
		t.Errorf("the remote has %v, want %v", got, want)
	}
}

// A store that was rolled back, and has gone on from there, takes its copy along; all that was copied stays.
func TestCopy_OfARollback(t *testing.T) {
	dir, bucket := t.TempDir(), t.TempDir()
	s := filled(t, dir)
	remote, err := checkpoint.NewDirRemote(bucket)
	must(t, err)
	dirs := map[string]string{"STORE": dir, "dir:REMOTE": "dir:" + bucket, "dir:OTHER": "dir:" + t.TempDir()}
	says(t, dirs, "copy STORE dir:REMOTE", exitFine)
	_, err = s.Restore(context.Background(), 1)
	must(t, err)
	says(t, dirs, "copy STORE dir:REMOTE", exitFine)
	if got := state(t, remote, 0); got["version"] != "1" {
		t.Errorf("the remote has %v, not version 1", got)
	}
	must(t, s.Set([]byte("version"), []byte("3")))
	_, err = s.Checkpoint(context.Background())
	must(t, err)
	want := map[string]string{"version": "3", "key 1": `a "value"`}
	for _, line := range []string{"copy STORE dir:REMOTE", "copy dir:REMOTE dir:OTHER"} {
		says(t, dirs, line, exitFine, "version 3: N bytes")
	}
	other, err := checkpoint.NewDirRemote(strings.TrimPrefix(dirs["dir:OTHER"], "dir:"))
	must(t, err)
	for _, r := range []checkpoint.Remote{remote, other} {
		if got := state(t, r, 0); !maps.Equal(got, want) {
			t.Errorf("the remote has %v, want %v", got, want)
		}
		if got := state(t, r, 2); got["version"] != "2" {
			t.Errorf("version 2 on the remote is %v", got)
		}
	}
}

// A copy that is interrupted, wherever that is, leaves nothing that is not whole, and the next one ends it.
func TestCopy_Interrupted(t *testing.T) {
	dir := t.TempDir()
	must(t, filled(t, dir).Close())
	for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After} {
		for nth, interrupted := 1, true; interrupted; nth++ {
			inner, err := checkpoint.NewDirRemote(t.TempDir())
			must(t, err)
			synctest.Test(t, func(t *testing.T) { // pauses take no time
				interrupted = interruptedCopy(t, dir, remotetest.NewFaulty(inner), mode, nth)
			})
			if nth == 5 && !interrupted {
				t.Error("nothing was interrupted")
			}
		}
	}
}

// interruptedCopy copies to a remote that fails from a call on, for good, and then again; it reports whether there was such a call.
func interruptedCopy(t *testing.T, dir string, r *remotetest.Faulty, mode remotetest.Mode, nth int) bool {
	run := func() (code int, said string) {
		var out, errOut bytes.Buffer
		open := func(context.Context, string) (checkpoint.Remote, error) { return r, nil }
		code = Run(context.Background(), []string{"copy", dir, "far:REMOTE"}, nil, &out, &errOut, Remotes{"far": {Write: open}})
		return code, out.String() + errOut.String()
	}
	r.Inject(remotetest.Fault{Verb: remotetest.Any, Mode: mode, Nth: nth, Sticky: true})
	first, _ := run()
	fired := r.Clear() > 0
	if w, err := hlog.OpenRemote(context.Background(), r, 0, nil); err == nil {
		v := w.Info().Version
		must(t, w.Close())
		if got := state(t, r, 0); got["version"] != fmt.Sprint(v) {
			t.Errorf("after %d calls version %d has %v", nth, v, got)
		}
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, hlog.ErrVersionNotFound) {
		t.Errorf("after %d calls: %v", nth, err)
	}
	if code, said := run(); code != exitFine {
		t.Fatalf("after %d calls the copy does not go on: exit code %d, %s", nth, code, said)
	}
	want := map[string]string{"version": "2", "key 2": `a "value"`}
	if got := state(t, r, 0); !maps.Equal(got, want) {
		t.Errorf("after %d calls the remote has %v, want %v", nth, got, want)
	}
	return fired && first != exitFine
}

// putting is a remote that calls then before the first object of log comes.
type putting struct {
	checkpoint.Remote
	then *func()
}

func (p putting) Put(ctx context.Context, name string, data []byte) error {
	if then := *p.then; then != nil && strings.Contains(name, "/extents/") {
		*p.then = nil
		then()
	}
	return p.Remote.Put(ctx, name, data)
}

// A version that its store purges while it is copied does not come to stand on the remote: what was read of it may be gone.
func TestCopy_OfWhatIsPurgedMeanwhile(t *testing.T) {
	for line, want := range map[string]int{"copy": exitFine, "copy -version 1": exitNotFound} {
		dir := t.TempDir()
		must(t, filled(t, dir).Close())
		remote, err := checkpoint.NewDirRemote(t.TempDir())
		must(t, err)
		purge := func() { must(t, os.Remove(filepath.Join(dir, "versions", "0000000000000001.manifest"))) }
		open := func(context.Context, string) (checkpoint.Remote, error) { return putting{remote, &purge}, nil }
		var out, errOut bytes.Buffer
		code := Run(context.Background(), append(strings.Fields(line), dir, "far:REMOTE"), nil, &out, &errOut, Remotes{"far": {Write: open}})
		if said := strings.Contains(out.String(), "version 1: was purged meanwhile"); code != want || said != (want == exitFine) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", line, code, want, out.String(), errOut.String())
		}
		if w, err := hlog.OpenRemote(context.Background(), remote, 1, nil); !errors.Is(err, hlog.ErrVersionNotFound) {
			t.Errorf("%s: version 1 on the remote: %v, %v", line, w, err)
		}
		if want == exitFine && state(t, remote, 0)["version"] != "2" {
			t.Errorf("%s: the remote has %v", line, state(t, remote, 0))
		}
	}
}

// A store that was rolled back, and has purged what it was rolled back from, does not take its copy along by itself: what the
// copy is at could be another's. With -over it does, and nothing is lost there.
func TestCopy_OfARollbackThatWasPurged(t *testing.T) {
	dir, bucket := t.TempDir(), t.TempDir()
	s := filled(t, dir)
	remote, err := checkpoint.NewDirRemote(bucket)
	must(t, err)
	dirs := map[string]string{"STORE": dir, "dir:REMOTE": "dir:" + bucket, "DIR": filepath.Join(t.TempDir(), "copy")}
	says(t, dirs, "copy STORE dir:REMOTE", exitFine)
	_, err = s.Restore(context.Background(), 1)
	must(t, err)
	must(t, s.Set([]byte("version"), []byte("3")))
	_, err = s.Checkpoint(context.Background())
	must(t, err)
	must(t, s.Purge(context.Background(), 2))
	before := tree(t, bucket)
	_, errOut, code := hlogCommand(nil, dirs, "copy", "STORE", "dir:REMOTE")
	for _, want := range []string{"version 2", "rollback", "-over"} {
		if code != exitFailed || !strings.Contains(errOut, want) {
			t.Errorf("exit code %d, does not say %q: %s", code, want, errOut)
		}
	}
	if !maps.Equal(before, tree(t, bucket)) {
		t.Error("the remote was changed")
	}
	says(t, dirs, "copy -over STORE DIR", exitUsage)
	for range 2 {
		says(t, dirs, "copy -over STORE dir:REMOTE", exitFine, "version 3: N bytes")
		if got := state(t, remote, 0); got["version"] != "3" || got["key 2"] != "" {
			t.Errorf("the remote opens at %v", got)
		}
	}
	if got := state(t, remote, 2); got["version"] != "2" {
		t.Errorf("version 2 on the remote is %v", got)
	}
	says(t, dirs, "copy STORE dir:REMOTE", exitFine, "version 3: N bytes")
	says(t, dirs, "verify -deep dir:REMOTE", exitFine, "version 1: whole", "version 2: whole", "version 3: whole")
}

// -over takes the remote to where the store is from wherever it is: also from where somebody has gone on from the store's version.
// Where that cannot be, because both have versions of one id, nothing moves.
func TestCopy_OverWhatWentOn(t *testing.T) {
	for _, id := range []checkpoint.Version{3, 4} {
		dir, bucket := t.TempDir(), t.TempDir()
		s := filled(t, dir)
		remote, err := checkpoint.NewDirRemote(bucket)
		must(t, err)
		dirs := map[string]string{"STORE": dir, "dir:REMOTE": "dir:" + bucket}
		says(t, dirs, "copy STORE dir:REMOTE", exitFine)
		there, err := hlog.Open(filepath.Join(t.TempDir(), "elsewhere"), &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, Remote: remote})
		must(t, err)
		must(t, there.Set([]byte("version"), []byte("there")))
		_, err = there.Checkpoint(context.Background(), hlog.WithVersion(id))
		must(t, err)
		must(t, there.Close())
		if id == 3 {
			says(t, dirs, "copy -over STORE dir:REMOTE", exitFine)
			if got := state(t, remote, 0); got["version"] != "2" {
				t.Errorf("the store is at version 2, and the remote opens at %v", got)
			}
		} else {
			for range 2 { // versions 3 and 4
				must(t, s.Set([]byte("version"), []byte("here")))
				_, err = s.Checkpoint(context.Background())
				must(t, err)
			}
			says(t, dirs, "copy -over STORE dir:REMOTE", exitFailed)
			if got := state(t, remote, 0); got["version"] != "there" {
				t.Errorf("the copy has failed, and the remote opens at %v", got)
			}
		}
		if got := state(t, remote, id); got["version"] != "there" {
			t.Errorf("version %d of the other is %v", id, got)
		}
	}
}
