package hlog

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/view"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// sharedHash is the listing of a scan as it were if other keys had the hash of some, and newer records: those hide theirs.
type sharedHash struct {
	view.Listing
	hidden map[uint64]index.Triple // by the order of a hash, what the listing has in the place of its triple
}

func (l sharedHash) Next(ctx context.Context) ([]index.Triple, bool, error) {
	triples, more, err := l.Listing.Next(ctx)
	for i, t := range triples {
		if other, ok := l.hidden[t.Order()]; ok {
			triples[i] = other
		}
	}
	return triples, more, err
}

// scannedWith returns what a scan visits that may take so much memory, and for which keys are hidden by the records at some
// addresses, which have the same hash then.
func scannedWith(t *testing.T, w *View, budget int, hidden map[string]word.Address) map[string]string {
	t.Helper()
	return scanned(t, func(ctx context.Context, fn func(key, value []byte) bool) error {
		c := w.version.NewScan(fn)
		l := sharedHash{c.Listing, map[uint64]index.Triple{}}
		for k, a := range hidden {
			h := w.s.hash([]byte(k))
			l.hidden[index.Order(h)] = index.MakeTriple(h, a, 32, false)
		}
		c.Listing, c.Bytes = l, budget
		return c.Run(ctx)
	})
}

// newestOf returns where the newest record of a key lies in the log of a version.
func newestOf(t *testing.T, w *View, key string) word.Address {
	t.Helper()
	a, err := w.version.InLog([]byte(key))
	must(t, err)
	if a == word.None {
		t.Fatalf("no record of %q", key)
	}
	return a
}

// Two keys of one hash are both visited, though the index names one: with the value that each has, if it has one, and whether
// there is much memory or little.
func TestViewScan_KeysOfOneHash(t *testing.T) {
	for _, budget := range []int{1 << 6, 1 << 20} {
		s := demoted(t, "/store", tiny())
		want := map[string]string{}
		set := func(k, v string) {
			must(t, s.Set([]byte(k), []byte(v)))
			want[k] = v
		}
		set("early", "value")
		for i := range 500 {
			set(fmt.Sprint("other ", i), "first")
		}
		for _, v := range []string{"first", "second", "third"} {
			set("once again", v)
			commit(t, s)
		}
		set("alone", "its only value")
		set("deleted", "value")
		commit(t, s)
		must(t, s.Delete([]byte("deleted")))
		delete(want, "deleted")
		for i := range 300 {
			set(fmt.Sprint("other ", i), "second")
		}
		w, err := s.OpenVersion(t.Context(), commit(t, s))
		must(t, err)
		last := newestOf(t, w, "other 299")
		hidden := map[string]word.Address{"early": last, "once again": last, "alone": last, "deleted": last}
		sameState(t, fmt.Sprintf("with %d bytes", budget), scannedWith(t, w, budget, hidden), want)
		sameState(t, "of a version without such keys", scannedWith(t, w, budget, nil), want)
		must(t, w.Close())
		must(t, s.Close())
	}
}

// A key of the tier is visited when a record of the log has its hash, but is of another key, and is not when it is its own.
func TestViewScan_ColdKeysOfOneHash(t *testing.T) {
	for _, budget := range []int{1 << 6, 1 << 20} {
		s := demoted(t, "/store", tiny())
		want := map[string]string{}
		for i := range 200 {
			k := fmt.Sprint("cold ", i)
			must(t, s.Set([]byte(k), []byte("cold")))
			want[k] = "cold"
		}
		commit(t, s)
		demoteAll(t, s)
		for i := range 100 {
			k := fmt.Sprint("cold ", i)
			if i%3 == 0 {
				must(t, s.Delete([]byte(k)))
				delete(want, k)
				continue
			}
			must(t, s.Set([]byte(k), []byte("hot")))
			want[k] = "hot"
		}
		must(t, s.Set([]byte("hot"), []byte("only")))
		want["hot"] = "only"
		w, err := s.OpenVersion(t.Context(), commit(t, s))
		must(t, err)
		if w.tier == nil {
			t.Fatal("nothing was demoted")
		}
		sameState(t, "as it is", scannedWith(t, w, budget, nil), want)
		hidden := map[string]word.Address{}
		for i := range 20 {
			hidden[fmt.Sprint("cold ", 100+i)] = newestOf(t, w, "hot")
		}
		got := scanned(t, func(ctx context.Context, fn func(key, value []byte) bool) error {
			c := w.version.NewScan(fn)
			c.Listing, c.Bytes = besidesOf(c.Listing, w, hidden), budget
			return c.Run(ctx)
		})
		sameState(t, "with hashes shared", got, want)
		must(t, w.Close())
		must(t, s.Close())
	}
}

// besidesOf returns a listing that names a record for each of some keys besides, which have none in the log.
func besidesOf(l view.Listing, w *View, hidden map[string]word.Address) view.Listing {
	var more []index.Triple
	for k, a := range hidden {
		more = append(more, index.MakeTriple(w.s.hash([]byte(k)), a, 32, false))
	}
	return &withBesides{Listing: l, more: index.NewestOf(more)}
}

type withBesides struct {
	view.Listing
	more []index.Triple
	done bool
}

// Next gives out all triples of the listing at once.
func (l *withBesides) Next(ctx context.Context) ([]index.Triple, bool, error) {
	if l.done {
		return nil, false, nil
	}
	l.done = true
	all := append([]index.Triple(nil), l.more...)
	for {
		triples, more, err := l.Listing.Next(ctx)
		if err != nil || !more {
			return index.NewestOf(all), true, err
		}
		all = append(all, triples...)
	}
}

func (l *withBesides) Rewind() {
	l.done = false
	l.Listing.Rewind()
}

// An index that leads to where no record of the version begins is damage, and no reason to leave a key out.
func TestViewScan_BitWithoutARecord(t *testing.T) {
	s := demoted(t, "/store", tiny())
	for i := range 100 {
		must(t, s.Set(key8(i), make([]byte, 100)))
	}
	w, err := s.OpenVersion(t.Context(), commit(t, s))
	must(t, err)
	defer w.Close()
	c := w.version.NewScan(func(_, _ []byte) bool { return true })
	k := key8(7)
	a := newestOf(t, w, string(k))
	c.Listing = sharedHash{c.Listing, map[uint64]index.Triple{index.Order(s.hash(k)): index.MakeTriple(s.hash(k), a+48, 32, false)}}
	if err := c.Run(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("the scan ends with %v", err)
	}
}

// With memory for a few bits and a few keys a scan visits what it does with plenty, also on branches and beside writers.
func TestViewScan_LittleMemory(t *testing.T) {
	o := tiny()
	o.KeepVersions = 20
	r := withShares(t, o, 31)
	for i := range 12 {
		r.churn(r.keys / 8)
		v := r.commit()
		if i%5 == 4 {
			r.restore(v - 2)
		}
	}
	if err := r.sameVersions(r.Store); err != nil {
		t.Fatal(err)
	}
}

// A scan reads no record out of turn: what it visits does not depend on the chains, which another walk has to follow.
func TestViewScan_ReadsInOrder(t *testing.T) {
	s := demoted(t, "/store", tiny())
	want := map[string]string{}
	for round := range 3 {
		for i := 0; i < 2000; i += 1 + round {
			must(t, s.Set(key8(i), key8(i+round)))
			want[string(key8(i))] = string(key8(i + round))
		}
		commit(t, s)
	}
	w, err := s.OpenVersion(t.Context(), 0)
	must(t, err)
	defer w.Close()
	before := s.counters.coldReads.Value()
	sameState(t, "by the shares", scanned(t, w.Scan), want)
	if n := s.counters.coldReads.Value() - before; n > 0 {
		t.Errorf("%d records were read for their own sake", n)
	}
	sameState(t, "along the chains", scanned(t, w.version.ScanChains), want)
	if s.counters.coldReads.Value() == before {
		t.Error("chains are followed without a read: the test shows nothing")
	}
}
