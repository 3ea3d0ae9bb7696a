package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// Whoever does not write manifests waits for none of them (B1).
func TestCommit_KeepsNobodyWaiting(t *testing.T) {
	d := newDesk(t)
	d.write(20)
	d.commit()
	d.write(20)
	first, err := d.begin()
	must(t, err)
	d.Cut(first, d.tail.Load(), false, 0)
	asked := false
	d.fs.once("open", ".manifest.tmp", func() {
		asked = true
		testkit.Within(t, "the ledger", func() {
			d.Hold(0, "a test").Release()
			d.Lineage()
			d.Changed(d.tail.Load())
			d.Live()
			if c, _ := d.image(); c.Drop() != nil {
				t.Error("a claim cannot be dropped")
			}
			if m, err := d.Pin(0); err != nil || m.Version != 1 {
				t.Errorf("pinned %v, %v", m, err)
			}
			d.Unpin(1)
			second, err := d.begin()
			if err != nil {
				t.Error(err)
				return
			}
			d.Cut(second, d.tail.Load(), false, 0)
		})
	})
	for _, v := range []checkpoint.Version{2, 3} {
		p := d.Next()
		if _, err := d.Commit(p, nil, 4096, false, durable); err != nil || p.Version != v {
			t.Fatalf("version %d: %v", p.Version, err)
		}
		d.Finish(p, nil)
		d.Dealt()
	}
	if !asked || !d.Idle() {
		t.Fatalf("asked %v, idle %v", asked, d.Idle())
	}
}

// What a manifest names that is being written stays, though newer files have come to stand in between (B4).
func TestManifest_IndexReplacedWhileItIsWritten(t *testing.T) {
	for _, amend := range []bool{false, true} {
		d := newDesk(t)
		d.write(20)
		d.commit()
		if !amend {
			must(t, d.restore(0)) // so that the version is not amended
		}
		claim, old := d.image()
		if !claim.publish(d.put(old)) {
			t.Fatal("the image is of no use")
		}
		claim.end() // as if it could not have been named just then
		replaced, collected, written := make(chan struct{}), make(chan struct{}), make(chan struct{})
		d.fs.once("list", "log", func() {
			d.fs.once("open", ".manifest.tmp", func() {
				claim, ref := d.image()
				claim.publish(d.put(ref))
				claim.end()
				close(replaced)
				<-collected
			})
			go func() {
				defer close(written)
				if amend {
					d.Amend()
				} else {
					d.write(1)
					d.commit()
				}
			}()
			<-replaced
		})
		testkit.Within(t, "the collection", d.collect)
		if len(d.missing(nil, []uint64{old.ID})) > 0 {
			t.Errorf("amend %v: the image is gone while it is being named", amend)
		}
		close(collected)
		<-written
		if m := d.Current(); m.Image == nil || m.Image.ID != old.ID {
			t.Errorf("amend %v: the version names %+v", amend, IndexOf(m).Image)
		}
		d.collect()
		if gone := d.missing(nil, append(IndexOf(d.Current()).IDs(), d.stands().IDs()...)); len(gone) > 0 {
			t.Errorf("amend %v: gone: %v", amend, gone)
		}
	}
}

// A file that is made while the collector lists the files is not garbage (B5).
func TestCollect_FileMadeMeanwhile(t *testing.T) {
	d := newDesk(t)
	d.write(1)
	d.commit()
	var c *Claim
	var ref checkpoint.ImageRef
	d.fs.once("list", "images", func() { c, ref = d.image() })
	d.collect()
	if c == nil || len(d.missing(nil, []uint64{ref.ID})) > 0 {
		t.Fatal("the file is gone, or the collector does not list files")
	}
	if !d.stand(c, ref) {
		t.Fatal("it is of no use")
	}
	d.collect()
	if len(d.missing(nil, IndexOf(d.Current()).IDs())) > 0 || IndexOf(d.Current()).Image == nil {
		t.Error("the image that the current version names is gone")
	}
}

// What was claimed before a restore is not published after it (B9), and what it made goes.
func TestClaim_EndsWithItsEra(t *testing.T) {
	d := newDesk(t)
	d.write(1)
	d.commit()
	c, ref := d.image()
	must(t, d.restore(0))
	if d.stand(c, ref) || d.stands().Image != nil || d.there(d.ImagePath(ref.ID)) {
		t.Errorf("an image of what was undone stands: %v, its file is there: %v", d.stands(), d.there(d.ImagePath(ref.ID)))
	}
	if again, next := d.image(); next.ID <= ref.ID {
		t.Errorf("id %d after %d", next.ID, ref.ID)
	} else {
		must(t, again.Drop())
	}
}

// A hold keeps log of versions that are purged, and of a store that has gone elsewhere, until it is released.
func TestHold_OutlivesVersionsAndRestores(t *testing.T) {
	d := newDesk(t)
	first, second := d.twoVersions()
	h := d.Hold(first.Cut, "a test")
	log := h.Log(first.Cut, d.tail.Load())
	d.forget(first, second)
	if gone := d.missing(log, nil); len(gone) > 0 {
		t.Errorf("held, and gone: %v", gone)
	}
	h.Narrow(second.Cut - 1)
	d.collect()
	if gone := d.missing(log, nil); len(gone) == 0 {
		t.Error("nothing of what was given up is gone")
	}
	if gone := d.missing([]checkpoint.Range{{Start: second.Cut - 1, End: second.Cut}}, nil); len(gone) > 0 {
		t.Errorf("held, and gone: %v", gone)
	}
	h.Release()
	h.Release()
	d.collect()
	if gone := d.missing(d.Hold(0, "another").Log(0, d.tail.Load()), nil); len(gone) > 0 {
		t.Errorf("the store's own log is gone: %v", gone)
	}
}

// A claim keeps the log and the files that it is made of, until it has ended.
func TestClaim_KeepsWhatItIsMadeOf(t *testing.T) {
	d := newDesk(t)
	first, second := d.twoVersions()
	old, ref := d.image()
	d.stand(old, ref) // the second version names it
	c := d.Claim(Run, func(now Now) (Want, bool) { return Want{From: first.Cut, Reads: now.Files}, true })
	log := c.Lineage.Log(first.Cut, second.Cut)
	d.forget(first, second)
	if gone := d.missing(log, []uint64{ref.ID}); len(gone) > 0 {
		t.Errorf("claimed, and gone: %v", gone)
	}
	must(t, c.Drop())
	d.collect()
	if gone := d.missing(log, nil); len(gone) == 0 || d.there(d.ImagePath(ref.ID)) {
		t.Errorf("of what was given up only %v is gone", gone)
	}
}

// twoVersions commits two of them, each with some segments of its own.
func (d *desk) twoVersions() (first, second *checkpoint.Manifest) {
	d.write(20) // of 16 blocks to a segment
	first = d.commit()
	d.write(40)
	return first, d.commit()
}

// forget goes on from the first version, and purges the second.
func (d *desk) forget(first, second *checkpoint.Manifest) {
	must(d.t, d.restore(first.Version))
	must(d.t, d.Purge(second.Version))
	d.write(40)
	d.commit()
	d.collect()
}

// A version that could not be committed fails, and those behind it are none the worse.
func TestPending_FailureAndOrder(t *testing.T) {
	d := newDesk(t)
	d.write(1)
	p, err := d.begin()
	must(t, err)
	d.Cut(p, d.tail.Load(), false, 0)
	broken := errors.New("broken")
	d.Next()
	d.Fail(p, broken)
	d.Finish(p, nil)
	select {
	case <-p.Dealing():
		t.Error("dealt with before Dealt")
	default:
	}
	d.Dealt()
	<-p.Dealing()
	<-p.Answering()
	if _, err := p.Answer(); err != broken || p.Failure() != broken {
		t.Errorf("%v, %v", err, p.Failure())
	}
	if _, err := d.Begin(Request{Version: p.Version}); !errors.Is(err, checkpoint.ErrOrder) {
		t.Errorf("an id for the second time: %v", err)
	}
	if m := d.commit(); m.Version != p.Version+1 || m.Parent != 0 {
		t.Errorf("version %d, child of %d", m.Version, m.Parent)
	}
	if d.Changed(d.tail.Load()) {
		t.Error("changed since the commit")
	}
	if next := d.Next(); next != nil {
		t.Errorf("version %d is next", next.Version)
	}
}

// Commits, restores, purges, claims, holds and pins go on at a time, and a collector goes round and round: nobody finds
// a file gone that is kept for him, and in the end nothing else is there (B3 to B5).
func TestCollect_EverythingAtOnce(t *testing.T) {
	d := newDesk(t)
	d.write(40)
	d.commit()
	rounds := 400
	if testing.Short() {
		rounds = 150
	}
	done := make(chan struct{})
	var others sync.WaitGroup
	loop := func(what string, do func(rng *rand.Rand) error) {
		others.Add(1)
		go func() {
			defer others.Done()
			for rng := rand.New(rand.NewPCG(uint64(len(what)), 1)); ; {
				select {
				case <-done:
					return
				default:
				}
				if err := do(rng); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
			}
		}()
	}
	check := func(log []checkpoint.Range, ids []uint64) error {
		if gone := d.missing(log, ids); len(gone) > 0 {
			return fmt.Errorf("gone: %v\n%v", gone, d)
		}
		return nil
	}
	loop("collector", func(*rand.Rand) error {
		_, err := d.Collect(func(uint64) {})
		return err
	})
	loop("a scan", func(*rand.Rand) error {
		h := d.Hold(0, "a scan")
		defer h.Release()
		log := h.Log(0, d.tail.Load())
		return errors.Join(check(log, nil), check(log, nil))
	})
	loop("an open view", func(rng *rand.Rand) error {
		all := d.Versions()
		m, err := d.Pin(all[rng.IntN(len(all))].Version)
		if err != nil {
			return nil // purged
		}
		defer d.Unpin(m.Version)
		log := checkpoint.Log(m.Extents)
		return errors.Join(check(log.Ranges(), IndexOf(m).IDs()), check(log.Ranges(), IndexOf(m).IDs()))
	})
	loop("images", func(rng *rand.Rand) error {
		c, ref := d.image()
		log := c.Lineage.Log(c.From, d.tail.Load())
		if err := check(log, []uint64{ref.ID}); err != nil {
			return err
		}
		if rng.IntN(4) == 0 {
			return c.Drop()
		}
		d.stand(c, ref)
		return nil
	})
	loop("reruns", func(rng *rand.Rand) error {
		c := d.Claim(Run, func(now Now) (Want, bool) {
			return Want{From: now.Lineage.Begin(), Reads: now.Files}, len(now.Files) > 0
		})
		if c == nil {
			return nil
		}
		id, name := c.NewFile()
		d.make(name)
		err := errors.Join(check(nil, c.Reads), check(nil, []uint64{id}))
		_, e := c.Publish(func() bool { return d.put(checkpoint.ImageRef{ID: id, ReplayFrom: d.shelf.Image.ReplayFrom})() })
		return errors.Join(err, e)
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for range rounds {
		d.write(1 + rng.IntN(30))
		m := d.Lineage().Parent
		if rng.IntN(3) == 0 {
			d.Emptied(LogBegin(m) + (m.Cut-LogBegin(m))/2)
		}
		d.commit()
		if rng.IntN(5) == 0 {
			all := d.Versions()
			must(t, d.restore(all[rng.IntN(len(all))].Version))
		}
		must(t, d.Retain(3))
		if t.Failed() {
			break
		}
	}
	close(done)
	others.Wait()
	d.write(1) // nothing lies behind the segment in which the log ends
	d.commit()
	must(t, d.Retain(1))
	d.collect()
	live := d.Live()
	log, ids, err := d.References()
	must(t, err)
	log.AddSet(live.Log)
	ids = append(ids, live.Images...)
	if err := check(log.Ranges(), ids); err != nil {
		t.Error(err)
	}
	entries, err := d.fs.List(d.ImagesPath())
	must(t, err)
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); len(entries) != n {
		t.Errorf("%d index files, %d are kept", len(entries), n)
	}
}

// Retention that is to end purges no further version.
func TestRetainWhile_Ends(t *testing.T) {
	d := newDesk(t)
	for range 6 {
		d.write(1)
		d.commit()
	}
	asked := 0
	must(t, d.RetainWhile(1, func() bool { asked++; return asked <= 2 }))
	if n := len(d.Versions()); n != 4 || asked != 3 {
		t.Errorf("%d versions are left of 6 when 2 were purged, asked %d times", n, asked)
	}
}
