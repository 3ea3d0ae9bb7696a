package hlograft

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/hlog"
)

// snapshot is a version that was cut to be sent to other replicas. All who send the state of one index share one (T9).
type snapshot struct {
	state   *state
	index   uint64
	pending *hlog.PendingCheckpoint
	users   atomic.Int64 // calls of SaveSnapshot that are to come or under way, and one for being the newest

	mu   sync.Mutex
	view *hlog.View // opened by the first who writes it
}

// open returns the view of the version, the same to all.
func (p *snapshot) open(ctx context.Context) (*hlog.View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.view == nil {
		view, err := p.pending.View(ctx)
		if err != nil {
			return nil, err
		}
		p.view = view
		// The view keeps the version from here on, and not the checkpoint: it is durable, so that this does not wait.
		if _, err := p.pending.Wait(ctx); err != nil {
			return nil, err
		}
	}
	return p.view, nil
}

// release ends a use. After the last one the version is pinned no more.
func (p *snapshot) release() {
	if p.users.Add(-1) > 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.view != nil {
		p.view.Close() // ErrClosed when the store has closed it
	}
}
