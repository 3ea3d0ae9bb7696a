package hlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
)

// fillImages writes keys [0, n) and returns the check that they are in a version or store.
func fillImages(t *testing.T, s *Store, n int) (check func(get func(dst, key []byte) ([]byte, error))) {
	t.Helper()
	for k := range n {
		must(t, s.Set(key8(k), fmt.Appendf(nil, "value %d", k)))
	}
	return func(get func(dst, key []byte) ([]byte, error)) {
		t.Helper()
		for k := range n {
			if v, err := get(nil, key8(k)); err != nil || string(v) != fmt.Sprintf("value %d", k) {
				t.Fatalf("key %d: %q, %v", k, v, err)
			}
		}
	}
}

// A version whose operations took long to leave has a long fuzzy end, more than makes an image due. Its image is
// written once all the same.
func TestImage_OncePerVersion(t *testing.T) {
	s := mustOpen(t, "/store", tiny())
	x := s.NewSession()
	defer x.Close()
	must(t, x.Set(key8(1), []byte("value")))
	g := s.epochs.Register()
	defer g.Release()
	g.Enter()
	p, err := s.BeginCheckpoint()
	must(t, err)
	pace(s, 64<<10)
	spill(t, x, 128<<10)
	g.Exit()
	_, err = p.Wait(context.Background())
	must(t, err)
	if m := s.current(); m.Cut-members(m).fuzzy < 64<<10 {
		t.Fatalf("the fuzzy end is only %d bytes long", m.Cut-members(m).fuzzy)
	}
	s.writeImageIfDue()
	waitClaims(t, s)
	first := newestImage(s)
	if first == nil {
		t.Fatal("no image")
	}
	for range 3 {
		s.writeImageIfDue()
		waitClaims(t, s)
	}
	if last := newestImage(s); last.ID != first.ID {
		t.Errorf("images %d to %d of one version", first.ID, last.ID)
	}
}

// A store that has a remote is opened without it for a while.
func TestRemote_LeftOutForAWhile(t *testing.T) {
	remote, err := checkpoint.NewDirRemote(t.TempDir())
	must(t, err)
	with, without := tiny(), tiny()
	without.FS = with.FS
	with.Remote = remote
	s := mustOpen(t, "/store", with)
	pace(s, never)
	check := fillImages(t, s, 500)
	commit(t, s)
	must(t, s.Close())
	s = mustOpen(t, "/store", without)
	pace(s, 1)
	must(t, s.Close())
	s = mustOpen(t, "/store", with)
	check(s.Get)
}

// An image of one version that is finished when the store is at a later one, and nothing is committed any more: the later
// one names it all the same, so that opening does not replay what the image has.
func TestClose_NamesAnImageThatWasLate(t *testing.T) {
	o := tiny()
	o.NoCompaction = true
	s := mustOpen(t, "/store", o)
	x := s.NewSession()
	pace(s, never)
	for i := range 20_000 {
		must(t, x.Set(key8(i), key8(i)))
	}
	commit(t, s)
	claim := claimImage(s)
	late, err := s.writeImage(context.Background(), claim)
	must(t, err)
	must(t, x.Set(key8(1), key8(2)))
	v := commit(t, s)
	published, err := claim.Publish(func(ledger.Index) (ledger.Index, bool) { return ledger.Index{Image: late}, true })
	if must(t, err); !published {
		t.Fatal("the image is of no use")
	}
	must(t, s.Close())
	s = mustOpen(t, "/store", o)
	m, err := s.ledger.Manifest(v)
	must(t, err)
	if m.Image == nil || m.Image.ID != late.ID {
		t.Fatalf("version %d names %+v, the image was %+v", v, m.Image, late)
	}
	got, err := s.Get(nil, key8(1))
	if err != nil || string(got) != string(key8(2)) {
		t.Fatalf("%x, %v", got, err)
	}
}
