package hlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/bits"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// refusing is a file system whose kernel answers requests for asynchronous I/O with an error.
type refusing struct {
	fsx.FS
	aio *fsx.AIO
}

func (r refusing) AIO() *fsx.AIO { return r.aio }

// logLines collects what is logged.
type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

func (l *logLines) logger() *slog.Logger { return slog.New(l) }

// with returns the lines that have a text in them.
func (l *logLines) with(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.lines {
		if strings.Contains(s, text) {
			found = append(found, s)
		}
	}
	return found
}

// coldMulti writes more than the memory holds, and reads it back many keys at a time.
func coldMulti(t *testing.T, s *Store) {
	t.Helper()
	x := s.NewSession()
	defer x.Close()
	const keys = 600
	value := bytes.Repeat([]byte("v"), 10<<10)
	for i := range keys {
		must(t, x.Set(key8(i), value))
	}
	evict(t, s)
	var batch [][]byte
	for i := range keys {
		batch = append(batch, key8(i))
	}
	got := 0
	must(t, x.MultiGet(batch, func(i int, v []byte, err error) {
		if got++; err != nil || !bytes.Equal(v, value) {
			t.Errorf("key %d: %d bytes, %v", i, len(v), err)
		}
	}))
	if got != keys {
		t.Fatalf("%d keys were told of", got)
	}
}

// A store that is refused asynchronous I/O works, says so once, and has it when the kernel has some again.
func TestOpen_AsynchronousIORefused(t *testing.T) {
	if bits.UintSize == 32 {
		t.Skip("no kernel is asked on 32 bits")
	}
	const limit = "fs.aio-max-nr"
	refuse := true
	var mu sync.Mutex
	aio := fsx.NewAIO(func() error {
		mu.Lock()
		defer mu.Unlock()
		if refuse {
			return syscall.EAGAIN
		}
		return nil
	}, 0)
	log := &logLines{}
	s := mustOpen(t, filepath.Join(t.TempDir(), "store"), &Options{
		MemoryBytes: MinMemoryBytes, FS: refusing{fsx.OS(), aio}, Logger: log.logger(), NoReadCache: true,
	})
	if m := s.Metrics(); m.DirectFiles != 0 || m.BufferedFiles != 0 {
		t.Errorf("before any file is open: %d direct, %d buffered", m.DirectFiles, m.BufferedFiles)
	}
	coldMulti(t, s)
	m := s.Metrics()
	if m.DirectFiles == 0 {
		if m.BufferedFiles == 0 || m.AsyncReads {
			t.Errorf("%d direct, %d buffered, asynchronous %v", m.DirectFiles, m.BufferedFiles, m.AsyncReads)
		}
		t.Skip("the file system has no direct I/O")
	}
	if m.AsyncReads || !strings.Contains(m.String(), "by goroutines") {
		t.Errorf("refused, and Metrics say asynchronous: %v\n%s", m.AsyncReads, m.String())
	}
	testkit.Eventually(t, "a line in the log", func() bool { return len(log.with(limit)) > 0 })
	mu.Lock()
	refuse = false
	mu.Unlock()
	coldMulti(t, s)
	if m := s.Metrics(); !m.AsyncReads && kernelHasQueues(t) {
		t.Error("the kernel has contexts again, and reads are not asynchronous")
	}
	if lines := log.with(limit); len(lines) != 1 {
		t.Errorf("logged %d times: %q", len(lines), lines)
	}
}

// kernelHasQueues reports whether the kernel of this machine takes requests of a queue.
func kernelHasQueues(t *testing.T) bool {
	t.Helper()
	s := mustOpen(t, filepath.Join(t.TempDir(), "other"), &Options{MemoryBytes: MinMemoryBytes})
	coldMulti(t, s)
	return s.Metrics().AsyncReads
}

// Metrics tell direct files from buffered ones.
func TestMetrics_BufferedFiles(t *testing.T) {
	for _, direct := range []bool{true, false} {
		o := tiny()
		o.FS = fsx.NewCrash(fsx.CrashOptions{Direct: direct})
		s := mustOpen(t, "/store", o)
		coldMulti(t, s)
		m := s.Metrics()
		if (m.DirectFiles > 0) != direct || (m.BufferedFiles > 0) == direct || !direct && m.AsyncReads {
			t.Errorf("granted %v: %d direct, %d buffered, asynchronous %v", direct, m.DirectFiles, m.BufferedFiles, m.AsyncReads)
		}
	}
}
