package remotetest

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// ErrInjected is what a failing call returns.
var ErrInjected = errors.New("remotetest: injected failure")

// Verb is one of the five verbs of a Remote, or several of them, added.
type Verb uint

// The verbs.
const (
	Put Verb = 1 << iota
	PutIfAbsent
	Get
	List
	Delete
	Write = Put | PutIfAbsent | Delete // what changes the remote
	Any   = Write | Get | List
)

// Mode is what happens to a call that fails.
type Mode uint8

const (
	// Before fails without effect: the request was lost.
	Before Mode = iota
	// After does the call, then fails: the answer was lost.
	After
	// Partial leaves the first half of the object that is put, then fails. A Get returns half of the bytes, then fails.
	// Other verbs, PutIfAbsent among them, fail without effect.
	Partial
	// Truncate does what Partial does to a Get but reports success, and is Before for other verbs.
	Truncate
	// Block waits until the context ends, and returns its error.
	Block
)

// Fault is what goes wrong, and when.
type Fault struct {
	Verb   Verb
	Mode   Mode
	Nth    int    // which of the calls, from 1; 0 = the next
	Sticky bool   // all later ones too
	Match  string // only calls with this in the name or prefix
}

// Faulty is a Remote around another one that fails as it is told to, and counts. Safe for concurrent use.
type Faulty struct {
	inner checkpoint.Remote

	mu     sync.Mutex
	fault  *Fault
	seen   int // calls that fault picked
	fired  int
	calls  map[Verb]int
	bytes  int64
	frozen []checkpoint.Object // what List shows; nil = the truth
}

// NewFaulty returns a Faulty around inner. Nothing fails until it is told to.
func NewFaulty(inner checkpoint.Remote) *Faulty {
	return &Faulty{inner: inner, calls: make(map[Verb]int)}
}

// Inject puts a fault to work, in place of the one before.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault.Nth = max(fault.Nth, 1)
	f.fault, f.seen, f.fired = &fault, 0, 0
}

// Clear ends the fault and returns how many calls it failed.
func (f *Faulty) Clear() (fired int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = nil
	return f.fired
}

// Calls returns how many calls of the verbs there were.
func (f *Faulty) Calls(v Verb) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for verb, calls := range f.calls {
		if verb&v != 0 {
			n += calls
		}
	}
	return n
}

// PutBytes returns the bytes of all puts that were asked for.
func (f *Faulty) PutBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes
}

// Freeze has List show what there is now, until Thaw: a listing that is late.
func (f *Faulty) Freeze(ctx context.Context) error {
	objects, err := f.inner.List(ctx, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = append([]checkpoint.Object{}, objects...)
	return err
}

// Thaw has List show the truth again.
func (f *Faulty) Thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = nil
}

// enter counts a call and returns its fault, if it has one.
func (f *Faulty) enter(v Verb, name string, bytes int) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[v]++
	f.bytes += int64(bytes)
	if f.fault == nil || f.fault.Verb&v == 0 || !strings.Contains(name, f.fault.Match) {
		return nil
	}
	f.seen++
	if f.seen < f.fault.Nth || f.seen > f.fault.Nth && !f.fault.Sticky {
		return nil
	}
	f.fired++
	return f.fault
}

// run makes a call, or has it fail. partial is what Partial does before it fails.
func (f *Faulty) run(ctx context.Context, fault *Fault, call, partial func() error) error {
	switch {
	case fault == nil:
		return call()
	case fault.Mode == Block:
		<-ctx.Done()
		return ctx.Err()
	case fault.Mode == After:
		return errors.Join(call(), ErrInjected)
	case fault.Mode == Partial && partial != nil:
		return errors.Join(partial(), ErrInjected)
	}
	return ErrInjected
}

func (f *Faulty) Put(ctx context.Context, name string, data []byte) error {
	return f.run(ctx, f.enter(Put, name, len(data)),
		func() error { return f.inner.Put(ctx, name, data) },
		func() error { return f.inner.Put(ctx, name, data[:len(data)/2]) })
}

func (f *Faulty) PutIfAbsent(ctx context.Context, name string, data []byte) (created bool, err error) {
	put := func() (err error) {
		created, err = f.inner.PutIfAbsent(ctx, name, data)
		return err
	}
	err = f.run(ctx, f.enter(PutIfAbsent, name, len(data)), put, nil)
	return created && err == nil, err
}

func (f *Faulty) Get(ctx context.Context, name string, off, n int64) (body io.ReadCloser, err error) {
	fault := f.enter(Get, name, 0)
	get := func() error {
		body, err = f.inner.Get(ctx, name, off, n)
		return err
	}
	if fault == nil || fault.Mode != Partial && fault.Mode != Truncate {
		if err := f.run(ctx, fault, get, nil); err != nil {
			if body != nil {
				body.Close()
			}
			return nil, err
		}
		return body, nil
	}
	if err := get(); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	end := io.EOF
	if fault.Mode == Partial {
		end = ErrInjected
	}
	return &half{data: data[:len(data)/2], end: end, Closer: body}, nil
}

// half is a body that ends early.
type half struct {
	io.Closer
	data []byte
	end  error
}

func (h *half) Read(p []byte) (int, error) {
	n := copy(p, h.data)
	h.data = h.data[n:]
	if n == 0 {
		return 0, h.end
	}
	return n, nil
}

func (f *Faulty) List(ctx context.Context, prefix string) (objects []checkpoint.Object, err error) {
	list := func() error {
		f.mu.Lock()
		frozen := f.frozen
		f.mu.Unlock()
		if frozen == nil {
			objects, err = f.inner.List(ctx, prefix)
			return err
		}
		for _, o := range frozen {
			if strings.HasPrefix(o.Name, prefix) {
				objects = append(objects, o)
			}
		}
		return ctx.Err()
	}
	if err := f.run(ctx, f.enter(List, prefix, 0), list, nil); err != nil {
		return nil, err
	}
	return objects, nil
}

func (f *Faulty) Delete(ctx context.Context, name string) error {
	return f.run(ctx, f.enter(Delete, name, 0), func() error { return f.inner.Delete(ctx, name) }, nil)
}
