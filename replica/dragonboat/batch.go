package hlograft

import (
	"context"
	"reflect"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/hybridlog/hybridlog/hlog"
)

// Batch is what [Config].Apply works on: commands, and the state that they change. It is good until Apply returns.
type Batch struct {
	// Entries are the commands, in the order of their indexes. Apply sets the Result of each and nothing else.
	Entries []statemachine.Entry
	// Session has the operations on the state, also for many keys at a time: Get, Set, Delete, RMW, MultiGet, MultiSet,
	// MultiRMW, Prefetch. Apply must not close it. Use Table for typed keys and values.
	Session *hlog.Session
	typed   typed
}

// Reader is what [Config].Query reads the state with. It is for one goroutine, and good until Query returns. Entries that are
// being applied may be seen in part.
type Reader struct {
	store *hlog.Store
	typed typed
}

// Get appends the value of key to dst and returns the extended slice; hlog.ErrNotFound when it has none. The errors are
// those of hlog.Session.Get.
func (r *Reader) Get(dst, key []byte) ([]byte, error) { return r.typed.session.Get(dst, key) }

// MultiGet calls fn once for every key, in order; see hlog.Session.MultiGet.
func (r *Reader) MultiGet(keys [][]byte, fn func(i int, value []byte, err error)) error {
	return r.typed.session.MultiGet(keys, fn)
}

// Scan calls fn once for every key that has a value, in no particular order, until fn returns false; see hlog.Store.Scan.
func (r *Reader) Scan(ctx context.Context, fn func(key, value []byte) bool) error {
	return r.store.Scan(ctx, fn)
}

// Table returns a typed view of the state that a batch works on. It is made once for each pair of types and is good until
// Apply returns. ErrOptions of hlog when K or V holds pointers.
func Table[K comparable, V any](b *Batch) (*hlog.Table[K, V], error) {
	return tableOf[K, V](&b.typed)
}

// Value returns the value that a typed key has, and whether it has one.
func Value[K comparable, V any](r *Reader, key K) (value V, ok bool, err error) {
	t, err := tableOf[K, V](&r.typed)
	if err != nil {
		return value, false, err
	}
	return t.Get(key)
}

// typed is a session and the tables over it that were asked for.
type typed struct {
	session *hlog.Session
	tables  map[reflect.Type]any
}

func tableOf[K comparable, V any](t *typed) (*hlog.Table[K, V], error) {
	kind := reflect.TypeFor[hlog.Table[K, V]]()
	if table, ok := t.tables[kind]; ok {
		return table.(*hlog.Table[K, V]), nil
	}
	table, err := hlog.NewTable[K, V](t.session)
	if err != nil {
		return nil, err
	}
	if t.tables == nil {
		t.tables = map[reflect.Type]any{}
	}
	t.tables[kind] = table
	return table, nil
}
