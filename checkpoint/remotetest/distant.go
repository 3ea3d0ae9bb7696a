package remotetest

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Trip is how long a Distant takes to answer.
const Trip = time.Second

// Distant is a Remote around another one each of whose reads takes a [Trip] to be answered, however many are under way, and
// which counts them. In a bubble of testing/synctest, what was done takes as many trips as answers were waited for one after the
// other. Safe for concurrent use.
type Distant struct {
	checkpoint.Remote
	// Shows, unless nil, returns what a listing shows of all objects, which are in the order of their names.
	Shows func([]checkpoint.Object) ([]checkpoint.Object, error)

	calls atomic.Int64
}

// NewDistant returns a Distant around inner.
func NewDistant(inner checkpoint.Remote) *Distant { return &Distant{Remote: inner} }

// Calls returns how many calls of Get and List there were.
func (d *Distant) Calls() int64 { return d.calls.Load() }

func (d *Distant) travel(ctx context.Context) error {
	d.calls.Add(1)
	t := time.NewTimer(Trip)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get is that of the other remote, later.
func (d *Distant) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := d.travel(ctx); err != nil {
		return nil, err
	}
	return d.Remote.Get(ctx, name, off, n)
}

// List is that of the other remote, later.
func (d *Distant) List(ctx context.Context, prefix string) ([]checkpoint.Object, error) {
	if err := d.travel(ctx); err != nil {
		return nil, err
	}
	objects, err := d.Remote.List(ctx, prefix)
	if err != nil || d.Shows == nil {
		return objects, err
	}
	slices.SortFunc(objects, func(a, b checkpoint.Object) int { return strings.Compare(a.Name, b.Name) })
	return d.Shows(objects)
}
