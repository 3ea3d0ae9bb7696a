package shares

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// unsynced is a file that counts what was written since it was synced last.
type unsynced struct {
	fsx.File
	bytes, most, writes int
}

func (f *unsynced) WriteAt(p []byte, _ int64) (int, error) {
	f.bytes += len(p)
	f.most = max(f.most, f.bytes)
	f.writes++
	return len(p), nil
}

// What a merge writes becomes durable in portions, with a look at what commits are under way before each sync and after it. A
// sync that fails is the merge's failure (R8).
func TestMergedFile_BecomesDurableInPortions(t *testing.T) {
	const chunk = 64 << 10
	f, failing, refused := &unsynced{}, false, errors.New("refused")
	looks, atSync, syncs := 0, 0, 0
	m := &mergedFile{
		File: f, worked: time.Now(), awaited: new(atomic.Int32),
		rest: func(time.Duration) bool { looks++; return false },
		sync: func(fsx.File) error {
			if syncs++; looks == atSync {
				t.Errorf("sync %d begins without a look at commits", syncs)
			}
			atSync = looks
			if failing {
				return refused
			}
			f.bytes = 0
			return nil
		},
	}
	for i := range int64(5 * syncPortion / chunk) {
		if _, err := m.WriteAt(make([]byte, chunk), i*chunk); err != nil {
			t.Fatal(err)
		}
		if syncs > 0 && f.bytes == chunk && looks < atSync+1 {
			t.Errorf("write %d follows a sync without a look at commits", i)
		}
	}
	if f.most > syncPortion || syncs != 4 {
		t.Errorf("%d bytes were written between two syncs, of which there were %d", f.most, syncs)
	}
	m.awaited.Add(1) // somebody waits for the merge
	f.bytes = 0
	before, looked := syncs, looks
	for i := range int64(2 * syncPortion / chunk) {
		if _, err := m.WriteAt(make([]byte, chunk), i*chunk); err != nil {
			t.Fatal(err)
		}
	}
	if syncs != before || looks != looked {
		t.Errorf("a merge that is waited for has synced %d portions, and looked at commits %d times", syncs-before, looks-looked)
	}
	m.awaited.Add(-1)
	m.written = syncPortion
	failing = true
	writes := f.writes
	if _, err := m.WriteAt(make([]byte, chunk), 0); !errors.Is(err, refused) || f.writes != writes {
		t.Errorf("a write behind a sync that failed: %v, written %d times", err, f.writes-writes)
	}
}
