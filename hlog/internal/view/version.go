package view

import (
	"context"
	"slices"
	"sync"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/cold"
	"github.com/hybridlog/hybridlog/hlog/internal/coldcache"
	"github.com/hybridlog/hybridlog/hlog/internal/ledger"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Store is what a version has of the store that it is a version of.
type Store struct {
	Log      *reclog.Log
	Segments *reclog.Segments
	Queues   fsx.Queues
	Cache    *coldcache.Cache // of records that were read; nil: there is none
	Reads    *xsync.Counter   // of records, one at a time

	Hash       func(key []byte) uint64
	OpenShare  func(index.ShareRef) (index.ShareFile, error)
	IndexFault func(err error) error // names the file in an error of the index of the version
	ColdFault  func(err error) error // names the file in an error of package cold

	ScanBytes  int // memory that a scan may take,
	ProbeBytes int // and its probes, if it follows chains
}

// Below is the cold tier of a version. It is safe for concurrent use.
type Below interface {
	// Find appends the value of key, whose hash is h, to dst, if the tier has one.
	Find(dst, key []byte, h uint64) (value []byte, found bool, err error)
	// Over calls fn for every key that the tier has a value of, in the order of their hashes, until it returns false or an
	// error.
	Over(ctx context.Context, fn func(key, value []byte) (more bool, err error)) error
	// Verify reads all of it, and calls damaged for each damage, until that returns an error.
	Verify(ctx context.Context, damaged func(error) error) error
	Tier() *cold.Tier
}

// Version is a committed version, open for reading. Its methods are safe for concurrent use. Whoever has made it keeps its files,
// and closes the index after the last call.
type Version struct {
	Store
	Manifest *checkpoint.Manifest
	Index    *index.Index   // of the version
	Epochs   *epoch.Manager // of Index
	Below    Below          // nil: there is nothing below the log
	Untold   *Untold        // nil: it is scanned along its chains
	Ended    func() error   // why calls that are under way end early, nil as long as they need not

	begin   word.Address
	readers sync.Pool // of *reader
}

// Init readies a Version whose fields are set.
func (v *Version) Init() {
	v.begin = word.Address(ledger.LogBegin(v.Manifest))
	v.readers.New = func() any { return &reader{guard: v.Epochs.Register(), cold: v.Log.NewReader()} }
}

// reader is what one call reads records with.
type reader struct {
	guard *epoch.Guard
	cold  *reclog.Reader
	rec   []byte
}

func (v *Version) borrow() *reader       { return v.readers.Get().(*reader) }
func (v *Version) giveBack(r *reader)    { v.readers.Put(r) }
func (v *Version) order(k []byte) uint64 { return index.Order(v.Hash(k)) }

// Get appends the value that key has in the version to dst, if it has one.
func (v *Version) Get(dst, key []byte) (value []byte, found bool, err error) {
	r := v.borrow()
	defer v.giveBack(r)
	_, rec, sh, err := v.find(r, key)
	switch {
	case err != nil:
		return dst, false, err
	case rec == nil:
		return v.findBelow(dst, key)
	case rec.State().Tombstone():
		return dst, false, nil
	}
	value = rec.Value(sh)
	return append(slices.Grow(dst, len(value)), value...), true, nil
}

// InLog returns where the newest record of key lies in the log of the version, word.None if there is none. The empty state,
// which is nil, has none.
func (v *Version) InLog(key []byte) (word.Address, error) {
	if v == nil {
		return word.None, nil
	}
	r := v.borrow()
	defer v.giveBack(r)
	a, _, _, err := v.find(r, key)
	return a, err
}

// findBelow appends the value of a key to dst that the version's log has nothing of.
func (v *Version) findBelow(dst, key []byte) (value []byte, found bool, err error) {
	if v.Below == nil {
		return dst, false, nil
	}
	if value, found, err = v.Below.Find(dst, key, v.Hash(key)); !found {
		value = dst
	}
	return value, found, err
}

// find returns the newest record of key in the log of the version, and its address; nil if it has none.
func (v *Version) find(r *reader, key []byte) (word.Address, record.Bytes, record.Shape, error) {
	a, err := v.entry(r, v.Hash(key))
	if err != nil {
		return word.None, nil, record.Shape{}, err
	}
	for a >= v.begin {
		rec, sh, err := v.read(r, a)
		if err != nil {
			return word.None, nil, record.Shape{}, err
		}
		if string(rec.Key(sh)) == string(key) && !v.excluded(a, rec) {
			return a, rec, sh, nil
		}
		if rec.Link().Prev() >= a {
			return word.None, nil, record.Shape{}, v.Segments.Corrupt(uint64(a), "chain does not descend")
		}
		a = rec.Link().Prev()
	}
	return word.None, nil, record.Shape{}, nil
}

// entry returns where the chain of h begins.
func (v *Version) entry(r *reader, h uint64) (word.Address, error) {
	for {
		r.guard.Enter()
		_, e, status := v.Index.Find(h)
		r.guard.Exit()
		if status != index.NeedLoad {
			return e.Address(), nil
		}
		if err := v.Index.Load(h); err != nil {
			return 0, v.IndexFault(err)
		}
	}
}

// read returns the record at a, from the cache or from disk.
func (v *Version) read(r *reader, a word.Address) (record.Bytes, record.Shape, error) {
	if rec, ok := v.Cache.Get(a, r.rec[:0]); ok {
		r.rec = rec
		sh, _ := record.Bytes(rec).Shape()
		return rec, sh, nil
	}
	rec, sh, err := r.cold.Read(a)
	v.Reads.Inc()
	if err == nil {
		v.Cache.Put(a, rec)
	}
	return rec, sh, err
}

// newestIs reports whether the record at a, which the version has, is the newest of key in it.
func (v *Version) newestIs(a word.Address, key []byte) (bool, error) {
	r := v.borrow()
	defer v.giveBack(r)
	if e, err := v.entry(r, v.Hash(key)); err != nil || e == a {
		return e == a, err
	}
	at, _, _, err := v.find(r, key)
	return at == a, err
}
