package checkpoint_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// unfilled returns a machine whose directory waits to be filled.
func unfilled(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t, 9)
	d, err := checkpoint.OpenDirWith(m.fs, "behind", checkpoint.OpenOptions{Identity: identity, Fill: true})
	m.ok(err)
	m.d = d
	return m
}

// A fill brings the version that it was asked for, whatever the head is by then, may be repeated, and copies go on from it
// only where the remote's head is still that one (J4).
func TestFill_BringsTheVersionItWasAskedFor(t *testing.T) {
	ctx := context.Background()
	for _, moved := range []bool{false, true} {
		remote := newRemote(t)
		m := newMachine(t, 1)
		upload := func(v checkpoint.Version) {
			m.commit(v, delta{log: 20_000, image: 3_000})
			_, err := m.mirror(remote).Upload(ctx, v)
			m.ok(err)
		}
		upload(1)
		upload(2)
		if moved {
			upload(3)
		}
		e := unfilled(t)
		mirror := e.mirror(remote)
		fetched, err := mirror.Fill(ctx, 2)
		e.ok(err)
		if e.current() != 2 || e.content(2) != m.content(2) || fetched < 43_000 {
			t.Errorf("moved %v: at %d with %d bytes, or differs", moved, e.current(), fetched)
		}
		again, err := mirror.Fill(ctx, 2)
		if e.ok(err); again != 0 {
			t.Errorf("moved %v: %d bytes the second time", moved, again)
		}
		if _, err := mirror.Fill(ctx, 1); !errors.Is(err, checkpoint.ErrNotEmpty) {
			t.Errorf("moved %v: another version into the same directory: %v", moved, err)
		}
		e.ok(e.d.TakeOver())
		e.commit(9, delta{log: 4096})
		if _, err := mirror.Upload(ctx, 9); moved != errors.Is(err, checkpoint.ErrDiverged) || !moved && err != nil {
			t.Errorf("moved %v: the copy of a version upon it: %v", moved, err)
		}
	}
}

// purging is a remote on which a version is purged just before the first of its pieces is asked for.
type purging struct {
	checkpoint.Remote
	purge func()
}

func (p *purging) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if strings.Contains(name, "/extents/") && p.purge != nil {
		purge := p.purge
		p.purge = nil
		purge()
	}
	return p.Remote.Get(ctx, name, off, n)
}

// A version that stands no more is not found, also when its pieces go while they are fetched; the directory waits on.
func TestFill_OfWhatIsPurged(t *testing.T) {
	ctx := context.Background()
	remote := newRemote(t)
	m := newMachine(t, 1)
	mirror := m.mirror(remote)
	for v := checkpoint.Version(1); v <= 2; v++ {
		m.commit(v, delta{log: 20_000, trim: m.d.MaxEnd()})
		_, err := mirror.Upload(ctx, v)
		m.ok(err)
	}
	e := unfilled(t)
	filling := e.mirror(&purging{remote, func() {
		_, err := mirror.Retain(ctx, 1)
		m.ok(err)
	}})
	for i := range 2 {
		if _, err := filling.Fill(ctx, 1); !errors.Is(err, checkpoint.ErrNotFound) || e.d.Current() != nil {
			t.Errorf("fill %d: %v, at %v", i, err, e.d.Current())
		}
	}
	if _, err := checkpoint.OpenDirWith(e.fs, "behind", checkpoint.OpenOptions{}); !errors.Is(err, checkpoint.ErrFilling) {
		t.Errorf("without a remote: %v", err)
	}
	_, err := filling.Fill(ctx, 2)
	if e.ok(err); e.current() != 2 || e.content(2) != m.content(2) {
		t.Errorf("at %d, or differs", e.current())
	}
}
