//go:build unix

package fuzz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// limitedRole writes until a limit on the size of files stops it, has the limit taken away, and goes on.
func limitedRole() error {
	signal.Ignore(syscall.SIGXFSZ)
	opts := writerOptions
	opts.SegmentBytes = 1 << 20
	s, err := hlog.Open(os.Getenv(dirVar), &opts)
	if err != nil {
		return err
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	limited := old
	limited.Cur = 96 << 10 // less than a segment is allocated
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limited); err != nil {
		return err
	}
	want := State{}
	good, bad := 0, 0
	for i := range 2000 {
		k, v := Key(i%600), Value(uint64(i), 12000)
		switch err := s.Set(k, v); {
		case err == nil:
			want[string(k)] = string(v)
			good++
		case errors.Is(err, syscall.EFBIG):
			bad++
		default:
			return fmt.Errorf("set: %w", err)
		}
	}
	if _, err := s.Checkpoint(context.Background()); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("checkpoint beyond the limit: %w", err)
	}
	if err := checkState(s, want); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	if err := s.Set(Key(1), []byte("again")); err != nil {
		return fmt.Errorf("without the limit: %w", err)
	}
	want[string(Key(1))] = "again"
	if _, err := s.Checkpoint(context.Background()); err != nil {
		return fmt.Errorf("without the limit: %w", err)
	}
	if err := errors.Join(checkState(s, want), s.Close()); err != nil {
		return err
	}
	if s, err = hlog.Open(os.Getenv(dirVar), &opts); err != nil {
		return err
	}
	fmt.Println("done", good, bad)
	return errors.Join(checkState(s, want), s.Close())
}

// TestFull_FileSizeLimit has the operating system refuse to let files grow.
func TestFull_FileSizeLimit(t *testing.T) {
	out, err := child("limited", t.TempDir(), 0).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "done ") {
		t.Fatalf("%s%v", out, err)
	}
	var good, bad int
	if _, err := fmt.Sscanf(string(out), "done %d %d", &good, &bad); err != nil || good == 0 || bad == 0 {
		t.Fatalf("%s: %d sets went through, %d were refused", out, good, bad)
	}
}

// TestTruncated_WhileOpen cuts the segments of an open store off: what was in them is ErrCorrupt, what is in memory
// stays readable, and nothing dies.
func TestTruncated_WhileOpen(t *testing.T) {
	dir := t.TempDir()
	s, err := hlog.Open(dir, &writerOptions)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := State{}
	for i := range 800 {
		k, v := Key(i), Value(uint64(i), 12000)
		if err := s.Set(k, v); err != nil {
			t.Fatal(err)
		}
		want[string(k)] = string(v)
	}
	if _, err := s.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(dir + "/log/*.seg")
	if err != nil || len(segments) < 4 {
		t.Fatal(segments, err)
	}
	for i, name := range segments {
		if err := os.Truncate(name, int64(i%3)*4096); err != nil {
			t.Fatal(err)
		}
	}
	lost, found := 0, 0
	for k, v := range want {
		switch got, err := s.Get(nil, []byte(k)); {
		case err == nil && string(got) == v:
			found++
		case isDamage(err):
			lost++
		default:
			t.Fatalf("key %x: %d bytes, %v", clip(k), len(got), err)
		}
	}
	if lost == 0 || found == 0 {
		t.Errorf("%d keys lost, %d found", lost, found)
	}
	if err := s.Scan(t.Context(), func(_, _ []byte) bool { return true }); !isDamage(err) {
		t.Errorf("scan: %v", err)
	}
	if err := s.Set(Key(3), []byte("new")); err != nil {
		t.Error(err)
	}
	if v, err := s.Get(nil, Key(3)); err != nil || string(v) != "new" {
		t.Errorf("a key that was set again: %q, %v", v, err)
	}
}

// TestCopied_WhileWritten copies the directory of a store that is being written, file by file. The copy opens at a
// version that was whole, or says that it is damaged.
func TestCopied_WhileWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := writerOptions
	opts.KeepVersions = 1000
	s, err := hlog.Open(dir, &opts)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		h := history{{seed: 5}}
		for {
			for range 100 {
				if err := apply(s, 5, h[0].ops); err != nil {
					stopped <- err
					return
				}
				h[0].ops++
			}
			_, err := s.Checkpoint(context.Background(), hlog.WithCookie(h.encode()))
			select {
			case <-stop:
				stopped <- err
				return
			default:
			}
			if err != nil {
				stopped <- err
				return
			}
		}
	}()
	whole := 0
	for range scaled(2, 3, 10, 200) {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
			continue // a file went away meanwhile: that is not a copy
		}
		if _, err := verifyKilled(to, false, killed{}); err == nil {
			whole++
		} else if !isDamage(err) {
			t.Errorf("copy: %v", err)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	testkit.Counted(t, "%d copies were whole", whole)
}
