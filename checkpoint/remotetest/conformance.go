// Package remotetest holds implementations of [checkpoint.Remote] to their contract, and breaks working ones on
// purpose: [Conformance] is a test that any Remote can run, [Faulty] a Remote that fails as it is told to.
package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Conformance tests a Remote. open returns an empty one, and is called once for each part of the test. Listings may
// be late: what was put must be seen by Get at once, but by List only within a while, for which untilListed, unless it is
// nil, waits.
func Conformance(t *testing.T, open func(t *testing.T) checkpoint.Remote, untilListed func()) {
	if untilListed == nil {
		untilListed = func() {}
	}
	for name, test := range map[string]func(*suite){
		"PutAndGet":        (*suite).putAndGet,
		"PutReplaces":      (*suite).putReplaces,
		"PutIfAbsent":      (*suite).putIfAbsent,
		"OneOfManyCreates": (*suite).oneOfManyCreates,
		"Ranges":           (*suite).ranges,
		"Missing":          (*suite).missing,
		"List":             (*suite).list,
		"Delete":           (*suite).delete,
		"Context":          (*suite).context,
		"Concurrent":       (*suite).concurrent,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{t: t, r: open(t), untilListed: untilListed, ctx: t.Context()}) })
	}
}

type suite struct {
	t           *testing.T
	ctx         context.Context
	r           checkpoint.Remote
	untilListed func()
}

func (s *suite) put(name string, data []byte) {
	s.t.Helper()
	if err := s.r.Put(s.ctx, name, data); err != nil {
		s.t.Fatalf("put %s: %v", name, err)
	}
}

// get returns a range of an object.
func (s *suite) get(name string, off, n int64) []byte {
	s.t.Helper()
	body, err := s.r.Get(s.ctx, name, off, n)
	if err != nil {
		s.t.Fatalf("get %s: %v", name, err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		s.t.Fatalf("read %s: %v", name, err)
	}
	return data
}

func (s *suite) wantMissing(name string) {
	s.t.Helper()
	body, err := s.r.Get(s.ctx, name, 0, -1)
	if err == nil {
		body.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatalf("get %s: %v, want fs.ErrNotExist", name, err)
	}
}

// wantList compares a listing with "name:size" strings.
func (s *suite) wantList(prefix string, want ...string) {
	s.t.Helper()
	s.untilListed()
	objects, err := s.r.List(s.ctx, prefix)
	if err != nil {
		s.t.Fatalf("list %q: %v", prefix, err)
	}
	var got []string
	for _, o := range objects {
		got = append(got, fmt.Sprintf("%s:%d", o.Name, o.Size))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Fatalf("list %q: %v, want %v", prefix, got, want)
	}
}

func (s *suite) putAndGet() {
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB, the size of a large piece
	for name, data := range map[string][]byte{
		"a": []byte("alpha"), "x/y/z.manifest": {0, 1, 2}, "x/y_1": {}, "X/y-2": []byte("case matters"), "x/big": big,
	} {
		s.put(name, data)
		if got := s.get(name, 0, -1); !bytes.Equal(got, data) {
			s.t.Errorf("%s: got %d bytes, want the %d that were put", name, len(got), len(data))
		}
	}
}

func (s *suite) putReplaces() {
	s.put("a", []byte("a long first value"))
	s.put("a", []byte("second"))
	if got := s.get("a", 0, -1); string(got) != "second" {
		s.t.Errorf("got %q", got)
	}
	s.put("a", nil)
	if got := s.get("a", 0, -1); len(got) != 0 {
		s.t.Errorf("got %q", got)
	}
}

func (s *suite) putIfAbsent() {
	for i, want := range []bool{true, false, false} {
		created, err := s.r.PutIfAbsent(s.ctx, "x/a", fmt.Appendf(nil, "value %d", i))
		if err != nil || created != want {
			s.t.Fatalf("call %d: created %v, %v", i, created, err)
		}
		if got := s.get("x/a", 0, -1); string(got) != "value 0" {
			s.t.Fatalf("call %d: got %q", i, got)
		}
	}
	s.put("x/b", []byte("put"))
	if created, err := s.r.PutIfAbsent(s.ctx, "x/b", []byte("other")); created || err != nil {
		s.t.Fatalf("over a put: created %v, %v", created, err)
	}
	if err := s.r.Delete(s.ctx, "x/a"); err != nil {
		s.t.Fatal(err)
	}
	if created, err := s.r.PutIfAbsent(s.ctx, "x/a", []byte("again")); !created || err != nil {
		s.t.Fatalf("after a delete: created %v, %v", created, err)
	}
}

func (s *suite) oneOfManyCreates() {
	for round := range 10 {
		name := fmt.Sprintf("race/%d", round)
		var winners atomic.Int64
		var wg sync.WaitGroup
		for i := range int64(8) {
			wg.Go(func() {
				created, err := s.r.PutIfAbsent(s.ctx, name, bytes.Repeat([]byte{byte(i)}, 1000))
				if err != nil {
					s.t.Errorf("put if absent: %v", err)
				}
				if created {
					winners.Add(1 + i<<8)
				}
			})
		}
		wg.Wait()
		got := s.get(name, 0, -1)
		if n := winners.Load(); n&0xff != 1 || !bytes.Equal(got, bytes.Repeat([]byte{byte(n >> 8)}, 1000)) {
			s.t.Fatalf("%d created; %d bytes are there", n&0xff, len(got))
		}
	}
}

func (s *suite) ranges() {
	s.put("a", []byte("0123456789"))
	for _, c := range []struct {
		off, n int64
		want   string
	}{
		{0, 10, "0123456789"}, {0, -1, "0123456789"}, {3, 4, "3456"}, {3, -1, "3456789"}, {8, 5, "89"},
		{10, 5, ""}, {10, -1, ""}, {99, 5, ""}, {0, 0, ""}, {5, 0, ""},
	} {
		if got := s.get("a", c.off, c.n); string(got) != c.want {
			s.t.Errorf("[%d, +%d): got %q, want %q", c.off, c.n, got, c.want)
		}
	}
}

func (s *suite) missing() {
	s.wantMissing("a")
	s.wantMissing("x/y/z")
	s.put("x/y/z", nil)
	s.wantMissing("x/y/zz")
	s.wantList("nothing/here/")
}

func (s *suite) list() {
	s.wantList("")
	for i, name := range []string{"a", "b/a", "b/aa", "b/ab/c", "ba", "c/d/e/f"} {
		s.put(name, make([]byte, i))
	}
	s.wantList("", "a:0", "b/a:1", "b/aa:2", "b/ab/c:3", "ba:4", "c/d/e/f:5")
	s.wantList("b/", "b/a:1", "b/aa:2", "b/ab/c:3")
	s.wantList("b", "b/a:1", "b/aa:2", "b/ab/c:3", "ba:4")
	s.wantList("b/a", "b/a:1", "b/aa:2", "b/ab/c:3")
	s.wantList("b/ab/", "b/ab/c:3")
	s.wantList("c/d/e", "c/d/e/f:5")
	s.wantList("d")
	s.put("a", make([]byte, 9))
	s.wantList("a", "a:9")
}

func (s *suite) delete() {
	s.put("x/a", []byte("a"))
	s.put("x/b", []byte("b"))
	for range 2 { // the second finds nothing
		if err := s.r.Delete(s.ctx, "x/a"); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.r.Delete(s.ctx, "y/never/there"); err != nil {
		s.t.Fatal(err)
	}
	s.wantMissing("x/a")
	s.wantList("x/", "x/b:1")
	s.put("x/a", []byte("again"))
	if got := s.get("x/a", 0, -1); string(got) != "again" {
		s.t.Errorf("got %q", got)
	}
}

func (s *suite) context() {
	s.put("a", []byte("alpha"))
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, absent := s.r.PutIfAbsent(ctx, "c", nil)
	_, get := s.r.Get(ctx, "a", 0, -1)
	_, list := s.r.List(ctx, "")
	for verb, err := range map[string]error{
		"put": s.r.Put(ctx, "b", nil), "put if absent": absent, "get": get, "list": list, "delete": s.r.Delete(ctx, "a"),
	} {
		if !errors.Is(err, context.Canceled) {
			s.t.Errorf("%s: %v, want context.Canceled", verb, err)
		}
	}
	s.wantList("", "a:5")
}

// concurrent overwrites few names from many goroutines: a reader sees one value or another, whole.
func (s *suite) concurrent() {
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for i := range 15 {
				name := fmt.Sprintf("d%d/n%d", i%2, i%3)
				if err := s.r.Put(s.ctx, name, bytes.Repeat([]byte{byte(g)}, 100*(g+1))); err != nil {
					s.t.Errorf("put %s: %v", name, err)
					return
				}
				body, err := s.r.Get(s.ctx, name, 0, -1)
				if err != nil {
					s.t.Errorf("get %s: %v", name, err)
					return
				}
				got, err := io.ReadAll(body)
				body.Close()
				if err != nil || len(got) == 0 || !bytes.Equal(got, bytes.Repeat(got[:1], 100*(int(got[0])+1))) {
					s.t.Errorf("%s holds %d bytes that nobody put (%v)", name, len(got), err)
				}
				if _, err := s.r.List(s.ctx, "d"); err != nil {
					s.t.Errorf("list: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s.untilListed()
	objects, err := s.r.List(s.ctx, "")
	if err != nil || len(objects) != 6 || slices.ContainsFunc(objects, func(o checkpoint.Object) bool { return !strings.HasPrefix(o.Name, "d") }) {
		s.t.Errorf("list: %v, %v", objects, err)
	}
}
