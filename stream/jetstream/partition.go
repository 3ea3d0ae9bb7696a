package hlogstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
)

// partition is a partition that this worker has. One goroutine runs it, from the lease to its end.
type partition struct {
	c      *Config
	n      int
	epoch  uint64 // of the lease
	lost   func() bool
	store  *hlog.Store
	batch  Batch
	out    outbox
	at     atomic.Pointer[cookie] // as of the last batch that was applied
	reader Reader

	batches chan []Message // that were read, in order
	used    chan []Message // and slices for others; either has room for all slices, so that nobody waits to send

	mu      sync.Mutex
	pending bool   // a version is on its way
	durable cookie // of the newest version that is durable
	sent    uint64 // messages that are out

	wake     chan struct{} // the publisher
	failures chan error    // of the publisher and of commits
	helpers  sync.WaitGroup
}

// run works on the partition until ctx ends, which is no error, or something fails. When it returns nil all that was applied
// is durable, on the remote, too.
func (p *partition) run(ctx context.Context, began time.Time) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	inner, stop := context.WithCancel(ctx)
	p.helpers.Go(func() { p.publish(inner) })
	p.helpers.Go(func() { p.read(inner) })
	p.c.Events(Event{Partition: p.n, Kind: Opened, Sequence: p.at.Load().sequence, Took: time.Since(began)})
	err := p.work(inner)
	stop()
	p.helpers.Wait()
	p.reader.Close()
	return p.close(err)
}

// open opens the store at its newest version and the source behind it.
func (p *partition) open(ctx context.Context) (err error) {
	o := p.c.Options
	o.RemoteEpoch = p.epoch
	o.Cookie = p.cookie
	if p.c.Remote != nil {
		if o.Remote, err = p.c.Remote(p.n); err != nil {
			return err
		}
	}
	dir := p.c.dir(p.n)
	if p.store, err = hlog.Open(dir, &o); isRefused(err) {
		// The directory went on when somebody else had the partition: nothing of that was ever acknowledged.
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		p.store, err = hlog.Open(dir, &o)
	}
	if err != nil {
		return err
	}
	if err := p.resume(ctx); err != nil {
		return errors.Join(err, p.store.Abort())
	}
	return nil
}

// isRefused reports whether the remote belongs to somebody else by now.
func isRefused(err error) bool {
	return errors.Is(err, hlog.ErrFenced) || errors.Is(err, hlog.ErrDiverged)
}

// cookie is that of a version that Close commits.
func (p *partition) cookie() []byte {
	if at := p.at.Load(); at != nil {
		return at.bytes()
	}
	return nil
}

// resume finds out where the store stands, and begins to read there.
func (p *partition) resume(ctx context.Context) error {
	var at cookie
	if info, ok := p.store.Current(); ok {
		if at, ok = parseCookie(info.Cookie); !ok {
			return fmt.Errorf("%w: version %d of partition %d", ErrCookie, info.Version, p.n)
		}
	} else if _, err := p.store.Checkpoint(ctx, hlog.WithCookie(at.bytes())); err != nil { // something to go back to
		return err
	}
	first, last, err := p.c.Source.Bounds(ctx, p.n)
	if err != nil {
		return err
	}
	switch {
	case first > at.sequence+1 && (p.c.AcceptGap == nil || !p.c.AcceptGap(p.n, at.sequence, first)):
		return fmt.Errorf("%w: partition %d was read up to %d, and begins at %d", ErrSourceGap, p.n, at.sequence, first)
	case last < at.sequence:
		return fmt.Errorf("%w: partition %d was read up to %d, and ends at %d", ErrSourceShort, p.n, at.sequence, last)
	}
	if p.c.Outputs != nil {
		if p.sent, err = p.c.Outputs.Last(ctx, p.n); err != nil {
			return err
		}
		if p.sent > at.emitted || p.sent < at.removed {
			return fmt.Errorf("%w: partition %d has emitted %d, of which at least %d went out, and there are %d", ErrOutput, p.n, at.emitted, at.removed, p.sent)
		}
	}
	p.out = outbox{last: at.emitted, removed: at.removed}
	p.durable = at
	p.at.Store(&at)
	p.batch = Batch{Partition: p.n, Session: p.store.NewSession(), outbox: &p.out}
	p.reader, err = p.c.Source.Open(ctx, p.n, at.sequence+1)
	return err
}

// work applies batches until ctx ends. Another one is read meanwhile, and its keys are asked for.
func (p *partition) work(ctx context.Context) error {
	due := time.NewTicker(p.c.CheckpointEvery)
	defer due.Stop()
	check := time.NewTicker(p.c.LeaseTime / 8)
	defer check.Stop()
	var ahead []Message
	for {
		batch := ahead
		if ahead = nil; batch == nil {
			select {
			case batch = <-p.batches:
			case <-due.C:
				if err := p.checkpoint(ctx); err != nil {
					return err
				}
			case <-check.C:
			case err := <-p.failures:
				return err
			case <-ctx.Done():
				return nil // what was read and not applied is read again
			}
		}
		select { // what is due, however many batches there are
		case <-due.C:
			if err := p.checkpoint(ctx); err != nil {
				return err
			}
		case err := <-p.failures:
			return err
		default:
		}
		if p.lost() {
			return errHeld
		}
		select {
		case ahead = <-p.batches:
			p.prefetch(ahead)
		default:
		}
		if err := p.apply(batch); err != nil {
			return err
		}
		if batch != nil {
			p.used <- batch
		}
	}
}

// batchesHeld is how many batches there are at a time: one that is applied, one whose keys are asked for, and what is read ahead.
const batchesHeld = 4

// read reads batches until ctx ends.
func (p *partition) read(ctx context.Context) {
	for {
		var m []Message
		select {
		case m = <-p.used:
		case <-ctx.Done():
			return
		}
		m, err := p.reader.Read(ctx, m[:0], p.c.BatchMessages)
		if err != nil {
			p.fail(err)
			return
		}
		if len(m) == 0 { // ctx has ended
			return
		}
		p.batches <- m
	}
}

// prefetch has the keys of messages read that will be asked for.
func (p *partition) prefetch(messages []Message) {
	if p.c.Keys == nil || len(messages) == 0 {
		return
	}
	var keys [][]byte
	for _, m := range messages {
		keys = p.c.Keys(m, keys)
	}
	p.batch.Session.Prefetch(keys)
}

// apply applies a batch. The cookie and the store say the same again when it returns without an error.
func (p *partition) apply(messages []Message) error {
	if len(messages) == 0 {
		return nil
	}
	p.batch.Messages = messages
	if err := p.c.Process(&p.batch); err != nil {
		return fmt.Errorf("%w: messages %d to %d: %w", ErrProcess, messages[0].Sequence, messages[len(messages)-1].Sequence, err)
	}
	p.mu.Lock()
	sent := p.sent
	p.mu.Unlock()
	if err := p.out.remove(p.batch.Session, sent); err != nil {
		return err
	}
	p.at.Store(&cookie{messages[len(messages)-1].Sequence, p.out.last, p.out.removed})
	return nil
}

// checkpoint begins a version of what was applied (X11), unless one is on its way or there is nothing new, or the directory is
// still being filled from the remote: BeginCheckpoint would wait for that, and messages need not.
func (p *partition) checkpoint(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := *p.at.Load()
	if p.pending || at == p.durable || p.store.Metrics().FetchLeft > 0 {
		return nil
	}
	pending, err := p.store.BeginCheckpoint(hlog.WithCookie(at.bytes()))
	if err != nil {
		return err
	}
	p.pending = true
	p.helpers.Go(func() { p.await(ctx, pending, at) })
	return nil
}

// await waits until a version is durable. When it is not on the remote because that is away, the next one tries again.
func (p *partition) await(ctx context.Context, pending *hlog.PendingCheckpoint, at cookie) {
	began := time.Now()
	_, err := pending.Wait(ctx)
	p.mu.Lock()
	p.pending = false
	if err == nil {
		p.durable = at
	}
	p.mu.Unlock()
	switch {
	case err == nil:
		select {
		case p.wake <- struct{}{}:
		default:
		}
		p.c.Events(Event{Partition: p.n, Kind: Committed, Sequence: at.sequence, Took: time.Since(began)})
	case isRefused(err), !errors.Is(err, hlog.ErrRemote) && ctx.Err() == nil:
		p.fail(err)
	case ctx.Err() == nil:
		p.c.Logger.Warn("version is not on the remote yet", "partition", p.n, "sequence", at.sequence, "error", err)
	}
}

// fail tells the goroutine of the partition.
func (p *partition) fail(err error) {
	select {
	case p.failures <- err:
	default:
	}
}

// publishAtOnce is how many messages go out at a time.
const publishAtOnce = 256

// publish sends what durable versions have emitted (X12).
func (p *partition) publish(ctx context.Context) {
	if p.c.Outputs == nil {
		return
	}
	var key []byte
	for {
		p.mu.Lock()
		sent, until := p.sent, p.durable.emitted
		p.mu.Unlock()
		if sent == until {
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		var messages [][]byte
		for n := sent + 1; n <= min(until, sent+publishAtOnce); n++ {
			key = outboxKey(key, n)
			m, err := p.store.Get(nil, key)
			if err != nil {
				p.fail(fmt.Errorf("partition %d, message %d of the outbox: %w", p.n, n, err))
				return
			}
			messages = append(messages, m)
		}
		count, err := p.c.Outputs.Publish(ctx, p.n, sent+1, messages)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			p.c.Logger.Warn("messages did not go out", "partition", p.n, "first", sent+1, "error", err)
			last, err := p.lastSent(ctx)
			if err != nil {
				return
			}
			if last < sent || last > until {
				p.fail(fmt.Errorf("%w: partition %d has sent %d of %d, and there are %d", ErrOutput, p.n, sent, until, last))
				return
			}
			count = int(last - sent)
		}
		p.mu.Lock()
		p.sent = sent + uint64(count)
		p.mu.Unlock()
	}
}

// retryPause is between two questions to a server that is away.
const retryPause = 100 * time.Millisecond

// lastSent asks how many messages are out until there is an answer, or ctx ends.
func (p *partition) lastSent(ctx context.Context) (uint64, error) {
	for {
		last, err := p.c.Outputs.Last(ctx, p.n)
		if err == nil {
			return last, nil
		}
		if err := sleep(ctx, retryPause); err != nil {
			return 0, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the partition. After an error the store may hold a part of a batch, and no version may have that (X11): Abort commits
// none. When somebody else has the partition the directory goes.
func (p *partition) close(err error) error {
	if err == nil {
		return p.store.Close() // commits what was applied, with its cookie
	}
	err = errors.Join(err, p.store.Abort())
	if isRefused(err) || errors.Is(err, errHeld) {
		err = errors.Join(err, os.RemoveAll(p.c.dir(p.n)))
	}
	return err
}
