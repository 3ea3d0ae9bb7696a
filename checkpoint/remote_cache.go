package checkpoint

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"

	"github.com/hybridlog/hybridlog/internal/lock"
)

// readUnit is how much of a piece is got and kept together: about what a remote sends in the time that it takes to answer.
const readUnit = 64 << 10

// located names a piece on a remote.
type located struct {
	file uint64 // id of the index file, plus one; 0: a piece of log
	p    piece
}

func (n names) located(o located) string {
	if o.file == 0 {
		return n.extent(o.p)
	}
	return n.imagePiece(o.file-1, o.p)
}

// stretch is bytes of a piece that somebody wants.
type stretch struct {
	located
	off int64
	b   []byte // what to fill; nil: only the cache
	n   int64
}

// unitKey names a unit of a piece.
type unitKey struct {
	located
	n int64
}

// unit is one unit, in the cache or on its way into it.
type unit struct {
	key   unitKey
	call  int           // of pieceCache.start, which asked for it
	ready chan struct{} // closed when data or err is there
	data  []byte
	err   error

	newer, older *unit // in the order of use
}

// link makes u the one used last.
func (u *unit) link(order *unit) {
	u.newer, u.older = order, order.older
	u.newer.older, u.older.newer = u, u
}

func (u *unit) unlink() { u.newer.older, u.older.newer = u.older, u.newer }

// pieceCache keeps the units that were used last. Each is got once, however many want it at a time.
type pieceCache struct {
	r     *RemoteReader
	ctx   context.Context // of what is got: several may wait for it
	close context.CancelFunc
	slots chan struct{} // one for each call of the remote that is under way
	all   sync.WaitGroup

	mu    lock.Mutex[lock.Leaf] // of what follows
	calls int                   // of start
	units map[unitKey]*unit
	order unit  // its older is the one used last, its newer the one that was not used for longest
	bytes int64 // of the units that are there
	max   int64
}

func newPieceCache(r *RemoteReader, max int64) *pieceCache {
	c := &pieceCache{r: r, units: make(map[unitKey]*unit), max: max, slots: make(chan struct{}, atATime)}
	c.order.newer, c.order.older = &c.order, &c.order
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// read fills the stretches. Units of one piece that lie side by side are got by one call, and all calls are under way
// together. ErrNotFound when one of the versions that the pieces are of does not stand any more.
func (c *pieceCache) read(ctx context.Context, stands []stand, stretches []stretch) error {
	units, err := c.await(ctx, stands, stretches, false)
	if err != nil {
		return err
	}
	for _, s := range stretches {
		for off := s.off; off < s.off+int64(len(s.b)); {
			u := units[0]
			from := off - u.key.n*readUnit
			off += int64(copy(s.b[off-s.off:], u.data[from:]))
			units = units[1:]
		}
	}
	return nil
}

// await returns the units of the stretches when they are there. One that was on its way already, and fails, says how the remote was
// before this read was begun: that is asked again, once, unless the remote has not answered for long.
func (c *pieceCache) await(ctx context.Context, stands []stand, stretches []stretch, again bool) ([]*unit, error) {
	units, call := c.start(stands, stretches)
	for _, u := range units {
		select {
		case <-u.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		}
		if u.err != nil && u.call != call && !again && !errors.Is(u.err, errLate) {
			return c.await(ctx, stands, stretches, true)
		}
		if u.err != nil {
			return nil, u.err
		}
	}
	return units, nil
}

// start sees to it that all units of the stretches are in the cache or on their way, and returns them in order. Those that it
// has asked for have the number of the call.
func (c *pieceCache) start(stands []stand, stretches []stretch) (units []*unit, call int) {
	var missing []*unit
	c.mu.Lock()
	c.calls++
	call = c.calls
	for _, s := range stretches {
		if s.n == 0 {
			continue
		}
		for n := s.off / readUnit; n <= (s.off+s.n-1)/readUnit; n++ {
			key := unitKey{s.located, n}
			if u := c.units[key]; u != nil {
				u.unlink()
				u.link(&c.order)
				units = append(units, u)
				continue
			}
			u := &unit{key: key, call: call, ready: make(chan struct{})}
			c.units[key] = u
			u.link(&c.order)
			units, missing = append(units, u), append(missing, u)
		}
	}
	c.mu.Unlock()
	for len(missing) > 0 {
		n := 1
		for n < len(missing) && missing[n].key.located == missing[0].key.located && missing[n].key.n == missing[n-1].key.n+1 {
			n++
		}
		now := missing[:n]
		c.all.Go(func() { c.fetch(stands, now) })
		missing = missing[n:]
	}
	return units, call
}

// fetch gets units of one piece that lie side by side.
func (c *pieceCache) fetch(stands []stand, units []*unit) {
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	o := units[0].key.located
	off := units[0].key.n * readUnit
	n := min((units[len(units)-1].key.n+1)*readUnit, o.p.bytes()) - off
	data, err := c.get(o, off, n)
	if errors.Is(err, fs.ErrNotExist) {
		err = c.r.gone(c.ctx, stands, c.r.m.names.located(o))
	}
	err = c.r.failed(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, u := range units {
		if u.err = err; err != nil {
			c.forget(u) // the next who wants it tries again
		} else {
			u.data = data[i*readUnit : min((i+1)*readUnit, len(data))]
			if len(units) > 1 {
				u.data = append([]byte(nil), u.data...) // so that it can go without the others
			}
			if c.units[u.key] == u {
				c.bytes += int64(len(u.data))
			}
		}
		close(u.ready)
	}
	c.shrink()
}

// get returns a part of a piece. One that is read whole is verified.
func (c *pieceCache) get(o located, off, n int64) (data []byte, err error) {
	m, name := c.r.m, c.r.m.names.located(o)
	err = m.retry(c.ctx, func() (err error) {
		body, err := m.remote.Get(c.ctx, name, off, n)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, body.Close()) }()
		data = make([]byte, n)
		got, err := io.ReadFull(body, data)
		switch {
		case err == io.ErrUnexpectedEOF || err == io.EOF:
			return corrupt(name, int(off)+got, "%d bytes missing", int(n)-got)
		case err == nil && n == o.p.bytes() && !o.p.is(data):
			return corrupt(name, 0, "the bytes do not fit their checksum")
		}
		return err
	})
	return data, err
}

// forget takes a unit out. The caller holds mu.
func (c *pieceCache) forget(u *unit) {
	if c.units[u.key] == u {
		u.unlink()
		delete(c.units, u.key)
	}
}

// shrink gives up what was not used for longest, until what stays fits. The caller holds mu.
func (c *pieceCache) shrink() {
	for u := c.order.newer; u != &c.order && c.bytes > c.max; {
		next := u.newer
		if u.data != nil {
			c.bytes -= int64(len(u.data))
			c.forget(u)
		}
		u = next
	}
}
