package contest

import (
	"context"
	"errors"
	"sync"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// hybrid is the store behind the common interface, with what package compare, on equal terms with engines that have nothing
// like it, leaves out: options, scans, snapshots that need not be waited for.
type hybrid struct {
	store *hlog.Store
	ahead struct {
		sync.Mutex
		x *hlog.Session // nil until it is needed
	}
}

// OpenHybrid opens a store as an Engine that is a Beginner, a Reader, a Prefetcher and a Scanner.
func OpenHybrid(dir string, opts hlog.Options) (Engine, error) {
	s, err := hlog.Open(dir, &opts)
	if err != nil {
		return nil, err
	}
	return &hybrid{store: s}, nil
}

// Reads implements Reader.
func (h *hybrid) Reads() uint64 { return h.store.Metrics().ColdReadCount }

// Prefetch implements Prefetcher.
func (h *hybrid) Prefetch(keys [][]byte) {
	h.ahead.Lock()
	defer h.ahead.Unlock()
	if h.ahead.x == nil {
		h.ahead.x = h.store.NewSession()
	}
	h.ahead.x.Prefetch(keys)
}

// Scan implements Scanner.
func (h *hybrid) Scan(ctx context.Context) (keys int, err error) {
	err = h.store.Scan(ctx, func(_, _ []byte) bool {
		keys++
		return true
	})
	return keys, err
}

func (h *hybrid) Get(key []byte) ([]byte, error) {
	v, err := h.store.Get(nil, key)
	if errors.Is(err, hlog.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

func (h *hybrid) Set(key, value []byte) error {
	if len(value) == 0 {
		return h.store.Delete(key)
	}
	return h.store.Set(key, value)
}

func (h *hybrid) Size() int64 {
	m := h.store.Metrics()
	return m.FrameBytes + m.IndexBytes + m.CacheBytes
}

func (h *hybrid) Snapshot(v uint64) error {
	_, err := h.store.Checkpoint(context.Background(), hlog.WithVersion(checkpoint.Version(v)))
	return err
}

func (h *hybrid) BeginSnapshot(v uint64) (func() error, error) {
	p, err := h.store.BeginCheckpoint(hlog.WithVersion(checkpoint.Version(v)))
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := p.Wait(context.Background())
		return err
	}, nil
}

func (h *hybrid) Restore(v uint64) error {
	_, err := h.store.Restore(context.Background(), checkpoint.Version(v))
	return err
}

func (h *hybrid) Close() error {
	h.ahead.Lock()
	defer h.ahead.Unlock()
	if h.ahead.x != nil {
		h.ahead.x.Close()
		h.ahead.x = nil
	}
	return h.store.Close()
}
