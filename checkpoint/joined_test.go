package checkpoint_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// failsLate is a remote of which a get of log waits, and fails, while it is down.
type failsLate struct {
	checkpoint.Remote
	down  atomic.Bool
	begun chan struct{} // has something for each get that waits
	fail  chan struct{} // closed when they fail
}

func (f *failsLate) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if strings.Contains(name, "extents/") && f.down.Load() {
		f.begun <- struct{}{}
		<-f.fail
		return nil, errors.New("the remote is down")
	}
	return f.Remote.Get(ctx, name, off, n)
}

// A read that finds what it wants on its way, asked for by somebody while the remote was down, does not get his failure: the remote
// is asked again.
func TestRemoteReader_ReadsDoNotInheritFailures(t *testing.T) {
	m, r := newMachine(t, 1), newRemote(t)
	m.commit(1, delta{log: 3000})
	_, err := m.copyTo(r)
	m.ok(err)
	f := &failsLate{Remote: r, begun: make(chan struct{}, 16), fail: make(chan struct{})}
	reader, err := checkpoint.NewRemoteReader(t.Context(), f, checkpoint.RemoteReaderOptions{Attempts: 1})
	m.ok(err)
	defer reader.Close()
	d, err := reader.Directory(t.Context(), "there", 1)
	m.ok(err)
	manifest, err := d.Manifest(1)
	m.ok(err)

	f.down.Store(true)
	m.ok(d.ReadAhead(checkpoint.Range{Start: manifest.DeltaStart, End: manifest.Cut}))
	<-f.begun
	f.down.Store(false)
	read := make(chan error, 1)
	go func() {
		segments, err := d.List(filepath.Join("there", "log"))
		if err != nil || len(segments) == 0 {
			read <- errors.Join(err, errors.New("no log"))
			return
		}
		file, err := d.Open(filepath.Join("there", "log", segments[0].Name), fsx.Read)
		if err != nil {
			read <- err
			return
		}
		defer file.Close()
		_, err = file.ReadAt(make([]byte, 1000), int64(manifest.DeltaStart)%int64(reader.Identity().SegmentBytes))
		read <- err
	}()
	testkit.Pause(20 * time.Millisecond) // most often it has found the read that waits by now
	close(f.fail)
	if err := <-read; err != nil {
		t.Errorf("the remote is up, and the read has the failure of an earlier one: %v", err)
	}
}
