package hlogstream

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	js "github.com/nats-io/nats.go/jetstream"
)

// Leases says in a KV bucket who works on which partition. It is used by one worker.
type Leases struct {
	kv js.KeyValue

	mu   sync.Mutex
	seen map[string]sighting // by key
}

// NewLeases returns the leases in a bucket, which is the group's alone. The bucket should keep one value of each key, and
// keep it for ever (js.KeyValueConfig with History 1 and no TTL).
func NewLeases(kv js.KeyValue) *Leases {
	return &Leases{kv: kv, seen: map[string]sighting{}}
}

// sighting is since when a key is seen at a revision.
type sighting struct {
	revision uint64
	since    time.Time
}

// unchanged returns for how long a key has been seen at a revision.
func (l *Leases) unchanged(key string, revision uint64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[key]
	if s.revision != revision {
		s = sighting{revision, time.Now()}
		l.seen[key] = s
	}
	return time.Since(s.since)
}

// holder is the value of a lease; nobody holds one without a worker. Nonce is made anew for each taking: who reads it knows
// that the value is its own, although the answer to its update was lost.
type holder struct {
	Worker string `json:"worker"`
	Nonce  string `json:"nonce"`
}

func leaseKey(partition int) string { return fmt.Sprintf("lease.%04d", partition) }

const workerKeys = "worker."

// lease is a lease that this worker has taken.
type lease struct {
	l     *Leases
	key   string
	value []byte
	epoch uint64 // revision that it was taken with

	mu       sync.Mutex
	revision uint64 // of the last renewal
	renewed  time.Time
}

// errHeld says that somebody else has a lease.
var errHeld = errors.New("hlogstream: lease is held")

// take takes the lease of a partition if it is free for this worker: errHeld if not.
func (l *Leases) take(ctx context.Context, partition int, worker string, leaseTime time.Duration) (*lease, error) {
	key := leaseKey(partition)
	value, err := json.Marshal(holder{worker, rand.Text()})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var revision uint64
	entry, err := l.kv.Get(ctx, key)
	switch {
	case errors.Is(err, js.ErrKeyNotFound):
		revision, err = l.kv.Create(ctx, key, value)
	case err == nil:
		var h holder
		if json.Unmarshal(entry.Value(), &h) == nil && h.Worker != "" && h.Worker != worker && l.unchanged(key, entry.Revision()) < leaseTime {
			return nil, errHeld
		}
		revision, err = l.kv.Update(ctx, key, value, entry.Revision())
	}
	if isConflict(err) {
		revision, err = l.ours(ctx, key, value)
	}
	if err != nil {
		return nil, err
	}
	return &lease{l: l, key: key, value: value, epoch: revision, revision: revision, renewed: began}, nil
}

// isConflict reports whether somebody else has changed the key.
func isConflict(err error) bool {
	if errors.Is(err, js.ErrKeyExists) {
		return true
	}
	var api js.JetStreamError
	return errors.As(err, &api) && api.APIError() != nil && api.APIError().ErrorCode == js.JSErrCodeStreamWrongLastSequence
}

// renew renews the lease; errHeld says that it is lost.
func (h *lease) renew(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := time.Now()
	revision, err := h.l.kv.Update(ctx, h.key, h.value, h.revision)
	if err == nil {
		h.revision, h.renewed = revision, began
		return nil
	}
	if !isConflict(err) {
		return err
	}
	revision, err = h.l.ours(ctx, h.key, h.value)
	if err == nil {
		h.revision, h.renewed = revision, began
	}
	return err
}

// ours returns the revision of a key that has one's own value, as it has when the answer to an update was lost; errHeld if
// it has another.
func (l *Leases) ours(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	entry, err := l.kv.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(entry.Value(), value) {
		return 0, errHeld
	}
	return entry.Revision(), nil
}

// release frees the lease.
func (h *lease) release(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.l.kv.Update(ctx, h.key, []byte(`{"worker":""}`), h.revision)
	if isConflict(err) {
		return nil // somebody has it already
	}
	return err
}

// beat tells that a worker lives.
func (l *Leases) beat(ctx context.Context, worker string) error {
	_, err := l.kv.Put(ctx, workerKeys+worker, []byte("{}"))
	return err
}

// leave tells that a worker goes.
func (l *Leases) leave(ctx context.Context, worker string) error {
	return l.kv.Delete(ctx, workerKeys+worker)
}

// workers returns how many workers live, this one included.
func (l *Leases) workers(ctx context.Context, worker string, leaseTime time.Duration) (n int, err error) {
	lister, err := l.kv.ListKeysFiltered(ctx, workerKeys+">")
	if err != nil {
		return 0, err
	}
	n = 1
	for key := range lister.Keys() {
		if key == workerKeys+worker || !strings.HasPrefix(key, workerKeys) {
			continue
		}
		entry, err := l.kv.Get(ctx, key)
		if errors.Is(err, js.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if l.unchanged(key, entry.Revision()) < leaseTime {
			n++
		}
	}
	return n, nil
}
