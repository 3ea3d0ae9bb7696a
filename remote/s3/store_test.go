package s3

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/hlog"
)

// model is a store with what it should hold, and what it held at versions whose copy was acknowledged.
type model struct {
	t     *testing.T
	store *hlog.Store
	now   map[string]string
	acked checkpoint.Version
	at    map[checkpoint.Version]map[string]string
	step  int
}

func openModel(t *testing.T, r checkpoint.Remote) *model {
	t.Helper()
	s, err := hlog.Open(t.TempDir(), &hlog.Options{MemoryBytes: 8 << 20, Remote: r, KeepVersions: 100})
	must(t, err)
	m := &model{t: t, store: s, now: make(map[string]string), at: make(map[checkpoint.Version]map[string]string)}
	t.Cleanup(func() { _ = s.Close() })
	return m
}

// change sets some keys to values of their own.
func (m *model) change() {
	m.t.Helper()
	for range 200 {
		m.step++
		k, v := fmt.Sprintf("key %d", rand.IntN(500)), fmt.Sprintf("value %d %s", m.step, strings.Repeat("x", rand.IntN(100)))
		must(m.t, m.store.Set([]byte(k), []byte(v)))
		m.now[k] = v
	}
}

// checkpoint commits a version and returns whether its copy was acknowledged.
func (m *model) checkpoint() bool {
	m.t.Helper()
	p, err := m.store.BeginCheckpoint()
	must(m.t, err)
	held := make(map[string]string, len(m.now))
	for k, v := range m.now {
		held[k] = v
	}
	m.at[p.Version()] = held
	_, err = p.Wait(soon(m.t))
	if err != nil && !errors.Is(err, hlog.ErrRemote) {
		m.t.Fatalf("version %d: %v", p.Version(), err)
	}
	if err == nil {
		m.acked = p.Version()
	}
	return err == nil
}

// wantOnEmptyMachine opens the remote in an empty directory: nothing that was acknowledged may be missing, and what is there is
// a version as it was.
func (m *model) wantOnEmptyMachine(r checkpoint.Remote) {
	m.t.Helper()
	must(m.t, m.openedFrom(r, m.t.TempDir()))
}

// openedFrom does the work of wantOnEmptyMachine in a directory, and returns the error of Open.
func (m *model) openedFrom(r checkpoint.Remote, dir string) error {
	m.t.Helper()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 8 << 20, Remote: r})
	if err != nil {
		return err
	}
	defer s.Close()
	info, _ := s.Current()
	v := info.Version
	if v < m.acked {
		m.t.Fatalf("the remote opens at version %d, and %d was acknowledged", v, m.acked)
	}
	want := m.at[v]
	if want == nil {
		m.t.Fatalf("the remote opens at version %d, which was never begun", v)
	}
	n := 0
	must(m.t, s.Scan(soon(m.t), func(k, value []byte) bool {
		n++
		if want[string(k)] != string(value) {
			m.t.Errorf("version %d: %s is %q, want %q", v, k, value, want[string(k)])
		}
		return true
	}))
	if n != len(want) {
		m.t.Errorf("version %d: %d keys, want %d", v, n, len(want))
	}
	return nil
}

// Every verb fails in every way on its way to the real server: no checkpoint says what is not so, and the next one that
// gets through brings all.
func TestStore_VerbsFail(t *testing.T) {
	g := startGateway(t)
	r := g.remote(t)
	faulty := remotetest.NewFaulty(r)
	m := openModel(t, faulty)
	for _, verb := range []remotetest.Verb{remotetest.Put, remotetest.PutIfAbsent, remotetest.Get, remotetest.List, remotetest.Delete} {
		for _, mode := range []remotetest.Mode{remotetest.Before, remotetest.After, remotetest.Partial, remotetest.Truncate} {
			for _, sticky := range []bool{false, true} {
				if sticky && testing.Short() && mode != remotetest.After {
					continue // each takes the mirror's six attempts
				}
				m.change()
				faulty.Inject(remotetest.Fault{Verb: verb, Mode: mode, Nth: 1 + rand.IntN(2), Sticky: sticky})
				acked := m.checkpoint()
				faulty.Clear()
				if acked {
					m.wantOnEmptyMachine(r)
				}
			}
		}
	}
	m.change()
	if !m.checkpoint() {
		t.Error("nothing fails any more, and a checkpoint is not acknowledged")
	}
	m.wantOnEmptyMachine(r)
}

// killer kills the server when so many requests have been sent, while the last of them is under way, and starts it again
// some time later.
type killer struct {
	next   http.RoundTripper
	server *gateway
	left   atomic.Int64
	killed atomic.Int64
	wg     sync.WaitGroup
	err    error // of the last start; of wg
}

func (k *killer) RoundTrip(req *http.Request) (*http.Response, error) {
	if k.left.Add(-1) == 0 {
		k.killed.Add(1)
		k.wg.Go(func() {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // sent, at work, or answered
			k.server.kill()
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // the mirror tries again meanwhile
			k.err = k.server.start()
		})
	}
	return k.next.RoundTrip(req)
}

// The server is killed and started again in the middle of uploads: what was acknowledged is there, whole.
func TestStore_ServerIsKilled(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	k := &killer{next: &http.Transport{}, server: g}
	o.Transport = k
	r, err := New(t.Context(), o)
	must(t, err)
	m := openModel(t, r)
	rounds := 15
	if os.Getenv("HLOG_FUZZ") == "long" {
		rounds = 300
	}
	acked := 0
	for i := range rounds {
		m.change()
		k.left.Store(int64(1 + rand.IntN(3)))
		if m.checkpoint() {
			acked++
		}
		k.left.Store(0)
		k.wg.Wait()
		must(t, k.err)
		if i%5 == 4 {
			m.wantOnEmptyMachine(r)
		}
	}
	if k.killed.Load() < int64(rounds)/2 {
		t.Errorf("the server was killed %d times in %d rounds", k.killed.Load(), rounds)
	}
	t.Logf("killed %d times; %d of %d checkpoints acknowledged", k.killed.Load(), acked, rounds)
	m.change()
	if !m.checkpoint() {
		t.Error("the server is up, and a checkpoint is not acknowledged")
	}
	m.wantOnEmptyMachine(r)
}

// The server is killed while an empty machine fetches: Open brings all, or an error after which the same directory does.
func TestStore_ServerIsKilledDuringFetch(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	k := &killer{next: &http.Transport{}, server: g}
	o.Transport = k
	r, err := New(t.Context(), o)
	must(t, err)
	m := openModel(t, r)
	for range 4 {
		m.change()
		if !m.checkpoint() {
			t.Fatal("nothing fails, and a checkpoint is not acknowledged")
		}
	}
	rounds, failed := 6, 0
	if os.Getenv("HLOG_FUZZ") == "long" {
		rounds = 200
	}
	for range rounds {
		dir := t.TempDir()
		k.left.Store(int64(1 + rand.IntN(6)))
		if err := m.openedFrom(r, dir); err != nil {
			failed++
			k.wg.Wait()
			must(t, m.openedFrom(r, dir))
		}
		k.left.Store(0)
		k.wg.Wait()
		must(t, k.err)
	}
	if k.killed.Load() < int64(rounds)/2 {
		t.Errorf("the server was killed %d times in %d rounds", k.killed.Load(), rounds)
	}
	t.Logf("killed %d times; %d of %d openings failed at first", k.killed.Load(), failed, rounds)
}

// full is a bucket that takes no more objects, while it is on.
type full struct {
	next http.RoundTripper
	on   atomic.Bool
	code string
}

func (f *full) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.on.Load() && req.Method == http.MethodPut {
		d := double{answer: func(int64, *http.Request) (int, string) {
			if f.code == "InsufficientStorage" {
				return http.StatusInsufficientStorage, fault(f.code)
			}
			return http.StatusServiceUnavailable, fault(f.code)
		}}
		return d.RoundTrip(req)
	}
	return f.next.RoundTrip(req)
}

// A bucket that is full, or a server that asks to slow down: versions stay in the directory, Wait says that they are not on
// the remote, and the next checkpoint after that brings them all.
func TestStore_BucketIsFull(t *testing.T) {
	g := startGateway(t)
	for _, code := range []string{"InsufficientStorage", "SlowDown"} {
		t.Run(code, func(t *testing.T) {
			o := g.options()
			f := &full{next: &http.Transport{}, code: code}
			o.Transport = f
			r, err := New(t.Context(), o)
			must(t, err)
			m := openModel(t, r)
			m.change()
			if !m.checkpoint() {
				t.Fatal("the first version was not copied")
			}
			f.on.Store(true)
			m.change()
			if m.checkpoint() {
				t.Error("a version was acknowledged that cannot be there")
			}
			if n := m.store.Metrics().RemoteLagVersions; n != 1 {
				t.Errorf("%d versions are not on the remote, want 1", n)
			}
			f.on.Store(false)
			m.wantOnEmptyMachine(r)
			m.change()
			if !m.checkpoint() || m.store.Metrics().RemoteLagVersions != 0 {
				t.Error("there is room again, and not all was copied")
			}
			m.wantOnEmptyMachine(r)
		})
	}
}

// A prefix that another store uses is refused, and left as it is.
func TestStore_PrefixOfAnotherStore(t *testing.T) {
	g := startGateway(t)
	r := g.remote(t)
	m := openModel(t, r)
	m.change()
	m.checkpoint()
	before := listedWith(t, r, "HINT") // which is put after the checkpoint has been answered

	dir := t.TempDir()
	other, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 8 << 20})
	must(t, err)
	must(t, other.Set([]byte("k"), []byte("v")))
	must(t, other.Close())
	if s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 8 << 20, Remote: r}); !errors.Is(err, checkpoint.ErrStoreMismatch) {
		t.Errorf("%v, want ErrStoreMismatch", err)
		if err == nil {
			s.Close()
		}
	}
	after, err := r.List(t.Context(), "")
	must(t, err)
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the remote holds %v, and held %v", after, before)
	}
	m.wantOnEmptyMachine(r)
}

// listedWith returns what a remote holds, once an object of that name is there.
func listedWith(t *testing.T, r checkpoint.Remote, name string) []checkpoint.Object {
	t.Helper()
	for ctx := soon(t); ; {
		all, err := r.List(ctx, "")
		must(t, err)
		if slices.ContainsFunc(all, func(o checkpoint.Object) bool { return o.Name == name }) {
			return all
		}
	}
}

// Credentials that are taken away while a store runs fail its copies at once, name no secret, and lose nothing.
func TestStore_CredentialsAreTakenAway(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	denied := &denier{next: &http.Transport{}}
	o.Transport = denied
	r, err := New(t.Context(), o)
	must(t, err)
	m := openModel(t, r)
	m.change()
	m.checkpoint()
	denied.on.Store(true)
	m.change()
	p, err := m.store.BeginCheckpoint()
	must(t, err)
	before := denied.calls.Load()
	_, err = p.Wait(soon(t))
	var c *ConfigError
	if !errors.Is(err, hlog.ErrRemote) || !errors.As(err, &c) || strings.Contains(err.Error(), testSecret) {
		t.Errorf("%v, want ErrRemote with a ConfigError", err)
	}
	if n := denied.calls.Load() - before; n > 2 {
		t.Errorf("%d requests after the server had said no", n)
	}
	denied.on.Store(false)
	m.change()
	if !m.checkpoint() {
		t.Error("not acknowledged, though the credentials are good again")
	}
	m.wantOnEmptyMachine(r)
}

// denier denies every request, while it is on.
type denier struct {
	next  http.RoundTripper
	on    atomic.Bool
	calls atomic.Int64
}

func (d *denier) RoundTrip(req *http.Request) (*http.Response, error) {
	d.calls.Add(1)
	if d.on.Load() {
		x := double{answer: func(int64, *http.Request) (int, string) { return http.StatusForbidden, fault("AccessDenied") }}
		return x.RoundTrip(req)
	}
	return d.next.RoundTrip(req)
}

// A large piece goes up in one request, with its checksum.
func TestPut_LargeObjectInOneRequest(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	d := &denier{next: &http.Transport{}}
	o.Transport = d
	r, err := New(t.Context(), o)
	must(t, err)
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	before := d.calls.Load()
	must(t, r.Put(t.Context(), "large", data))
	if n := d.calls.Load() - before; n != 1 {
		t.Errorf("%d requests", n)
	}
	body, err := r.Get(t.Context(), "large", int64(len(data))-3, 10)
	must(t, err)
	defer body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil || got.String() != "def" {
		t.Errorf("%q, %v", got.String(), err)
	}
}
