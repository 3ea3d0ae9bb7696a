package hlog

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/shares"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// stoppedCommit returns a store without a run of its index, and has a commit wait before its manifest is written, until goOn is
// called. Who lets it go first rests for as long as rest says. Files of the index that are made meanwhile are counted.
func stoppedCommit(t *testing.T, rest time.Duration) (s *Store, p *PendingCheckpoint, made *atomic.Int64, goOn func()) {
	t.Helper()
	o := tiny()
	o.indexPace.Uncovered, o.giveWay = 64*reclog.BlockBytes, rest
	files := &openHookFS{FS: o.FS}
	o.FS = files
	s = mustOpen(t, "/store", o)
	begun, release := make(chan struct{}), make(chan struct{})
	made = new(atomic.Int64)
	var once sync.Once
	hook := func(name string) {
		switch {
		case strings.HasSuffix(name, ".img"):
			made.Add(1)
		case strings.HasSuffix(name, ".manifest.tmp"):
			once.Do(func() {
				close(begun)
				<-release
			})
		}
	}
	files.hook.Store(&hook)
	goOn = sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	for k := 0; s.log.Tail() < uint64(word.FirstAddress)+56*reclog.BlockBytes; k++ { // more than makes a run due, less than a commit wants
		must(t, s.Set(key8(k), make([]byte, 100)))
	}
	p, err := s.BeginCheckpoint()
	must(t, err)
	within(t, "the manifest", func() { <-begun })
	return s, p, made, goOn
}

// A run that is due, and that the commit does not want, is written after the commit (R6).
func TestGiveWay_RunsAfterTheCommit(t *testing.T) {
	s, p, made, goOn := stoppedCommit(t, time.Hour)
	eventually(t, "the run gives way", func() bool { // others give way, too
		return made.Load() > 0 || testkit.Stands("shares.(*Index).WriteRuns(", "hlog.(*Store).giveWay")
	})
	if n := made.Load(); n > 0 {
		t.Errorf("%d files of the index were made while the commit was under way", n)
	}
	goOn()
	within(t, "the commit", func() { _, err := p.Wait(t.Context()); must(t, err) })
	eventually(t, "the run", func() bool { return made.Load() > 0 && s.disk.Written() > 0 })
	must(t, s.Close())
}

// A merge that is under way lets a commit go first between two writes (R6).
func TestGiveWay_MergesBetweenWrites(t *testing.T) {
	s, p, _, goOn := stoppedCommit(t, time.Millisecond)
	gaveWay, yields := 0, 0
	files := &shares.Files{
		Root: s.root, Queues: s.queues, Ledger: s.ledger, Life: s.life, SegmentShift: 18, Made: s.disk.Made,
		Rest: func(worked time.Duration) bool {
			gave := s.giveWayAfter(worked)
			if gave {
				gaveWay++
			}
			return gave
		},
		Yield: func() { yields++ },
	}
	write := func(kind ledger.Kind, want int) {
		t.Helper()
		w := files.NewWriter(kind, nil)
		f, _, err := w.Create()
		must(t, err)
		gaveWay = 0
		for i := range int64(2) {
			_, err := f.WriteAt(make([]byte, reclog.BlockBytes), i*reclog.BlockBytes)
			must(t, err)
		}
		if gaveWay != want {
			t.Errorf("%v has let the commit that is under way go first %d times, want %d", kind, gaveWay, want)
		}
		must(t, w.Drop())
	}
	write(ledger.Merge, 2)
	write(ledger.Demotion, 2)
	if yields > 0 {
		t.Errorf("those who have given way have yielded %d times", yields)
	}
	write(ledger.Run, 0) // a commit may wait for it
	if yields != 2 {
		t.Errorf("who writes a run has yielded %d times, want 2", yields)
	}
	end := s.compactor.haste.begin()
	write(ledger.Merge, 0) // so does somebody for this
	end()
	goOn()
	within(t, "the commit", func() { _, err := p.Wait(t.Context()); must(t, err) })
	must(t, s.Close())
}

// A cut that waits for units is given way to like a commit, by who writes a run as well: but not while somebody waits for what
// he does, nor in a store that is closing (R6).
func TestGiveWay_ToUnitsThatACutWaitsFor(t *testing.T) {
	o := tiny()
	o.giveWay = time.Hour
	s := mustOpen(t, t.TempDir(), o)
	s.units.patience = time.Hour
	ways := map[string]func() bool{
		"between writes":          func() bool { return s.giveWayAfter(0) },
		"between writes of a run": s.yield,
	}
	for name, way := range ways {
		if way() {
			t.Errorf("%s: without a cut", name)
		}
	}
	x := s.NewSession()
	inside, goOn, unit := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		unit <- x.Unit(func() error {
			close(inside)
			<-goOn
			return nil
		})
	}()
	<-inside
	cut := make(chan error, 1)
	go func() {
		p, err := s.BeginCheckpoint()
		if err == nil {
			_, err = p.Wait(t.Context())
		}
		cut <- err
	}()
	eventually(t, "a cut that waits for the unit", s.units.IsShut)
	end := s.compactor.haste.begin()
	for name, way := range ways {
		if way() {
			t.Errorf("%s: although somebody waits", name)
		}
	}
	end()
	gave := make(chan string, len(ways))
	for name, way := range ways {
		go func() {
			if !way() {
				name += ": not to the cut"
			}
			gave <- name
		}()
	}
	eventually(t, "those who give way", func() bool {
		return len(gave) > 0 || s.background.givingWay.Load() == int32(len(ways))
	})
	if n := len(gave); n > 0 {
		t.Errorf("%d went on while a cut waited for a unit", n)
	}
	close(goOn)
	within(t, "the unit, the cut and those who have given way", func() {
		must(t, <-unit)
		must(t, <-cut)
		for range ways {
			if name := <-gave; ways[name] == nil {
				t.Error(name)
			}
		}
	})
	must(t, x.Close())
	must(t, s.Close())
}

// Nobody gives way when there is no commit, nor while somebody waits for what he does, nor in a store that is closing (R6).
func TestGiveWay_OnlyToCommits(t *testing.T) {
	s, p, _, goOn := stoppedCommit(t, time.Hour)
	end := s.compactor.haste.begin()
	within(t, "somebody in haste", s.giveWay)
	end()
	goOn()
	within(t, "the commit", func() { _, err := p.Wait(t.Context()); must(t, err) })
	within(t, "somebody without a commit", s.giveWay)
	must(t, s.Close())

	s, _, _, goOn = stoppedCommit(t, time.Hour)
	eventually(t, "the run gives way", func() bool { return s.background.givingWay.Load() > 0 })
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	goOn()
	within(t, "Close", func() { must(t, <-closed) })
}
