package cold

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// farFile is a file that lies a second away, behind somebody who keeps what was read last: nothing of what is long.
type farFile struct {
	io.ReaderAt
	asked *atomic.Int64 // of all files
	mu    sync.Mutex
	there map[int64]time.Time // by block: when it is there
}

func (f *farFile) ReadAt(p []byte, off int64) (int, error) {
	now := time.Now()
	ready, asks := now, false
	f.mu.Lock()
	for at := off; at < off+int64(len(p)); at += BlockBytes {
		if _, ok := f.there[at]; !ok {
			f.there[at], asks = now.Add(time.Second), true
		}
		if f.there[at].After(ready) {
			ready = f.there[at]
		}
	}
	f.mu.Unlock()
	if asks {
		f.asked.Add(1)
	}
	testkit.Pause(ready.Sub(now))
	if len(p) > 64<<10 {
		f.mu.Lock()
		clear(f.there)
		f.mu.Unlock()
	}
	return f.ReaderAt.ReadAt(p, off)
}

// What a search takes comes after two answers, however many shares there are: what describes each, its filter included, and
// the records of those that may have the key.
func TestTier_FetchAsksAllSharesAtOnce(t *testing.T) {
	shares, records := 6, testkit.UnderRace(20_000, 40_000)
	f := newFiles()
	var refs index.Shares
	begin := word.Address(word.FirstAddress)
	for i := range shares {
		var list []Record
		for n := range records {
			list = append(list, recordOf(fmt.Sprintf("share %d, key %d", i, n), []byte("value")))
		}
		SortRecords(list)
		end := word.Address(i+1) << 20
		refs = append(refs, mustWrite(t, f, 1<<30, begin, end, list)...)
		begin = end
	}
	synctest.Test(t, func(t *testing.T) {
		for i := range shares { // the first is the oldest
			key, asked := fmt.Sprintf("share %d, key %d", i, 7), &atomic.Int64{}
			var named []*Share
			for _, r := range refs {
				named = append(named, NameShare(&farFile{ReaderAt: f.byID[r.ID], asked: asked, there: map[int64]time.Time{}}, r))
			}
			tier, err := NewTier(begin, 1, refs, named)
			if err != nil {
				t.Fatal(err)
			}
			filters := NewFilters(1 << 20)
			began := time.Now()
			if err := tier.Fetch(filters, orderOf([]byte(key))); err != nil {
				t.Fatal(err)
			}
			mustFind(t, tier, filters, key, []byte("value"), true)
			if trips := time.Since(began) / time.Second; trips > 2 || asked.Load() > int64(shares)+3 {
				t.Errorf("%s: %d answers one after the other, %d requests for %d shares", key, trips, asked.Load(), shares)
			}
			filters.Close()
		}
	})
}

// Whether a key may be in a share takes one request, however long the share is and however small its records are.
func TestTier_FetchOfTheLongestShare(t *testing.T) {
	const maxBytes = 8 << 20
	f := newFiles()
	var list []Record
	for n := range testkit.UnderRace(100_000, 500_000) {
		list = append(list, recordOf(fmt.Sprintf("%08x", n), []byte("8 bytes.")))
	}
	SortRecords(list)
	begin, end := word.Address(word.FirstAddress), word.Address(2)<<30
	refs := slices.Concat(mustWrite(t, f, maxBytes, begin, end/2, list), mustWrite(t, f, maxBytes, end/2, end, list[:10]))
	synctest.Test(t, func(t *testing.T) {
		const keys = 20
		atOnce := 0
		for i := range keys {
			key, asked := fmt.Sprint("another ", i), &atomic.Int64{}
			var named []*Share
			for _, r := range refs {
				named = append(named, NameShare(&farFile{ReaderAt: f.byID[r.ID], asked: asked, there: map[int64]time.Time{}}, r))
			}
			tier, err := NewTier(end, 1, refs, named)
			if err != nil {
				t.Fatal(err)
			}
			filters := NewFilters(1 << 20)
			if err := tier.Fetch(filters, orderOf([]byte(key))); err != nil {
				t.Fatal(err)
			}
			mustFind(t, tier, filters, key, nil, false)
			if asked.Load() == 2 {
				atOnce++
			}
			filters.Close()
		}
		if atOnce < keys-3 { // a filter takes one in a hundred others for the key
			t.Errorf("%d of %d keys took one request for each share, one of %d bytes and %d records", atOnce, keys, refs[0].Bytes, refs[0].Triples)
		}
	})
}
