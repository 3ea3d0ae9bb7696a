package hlog

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

// With few descriptors a store of many segments and versions does everything it does with many, and leaves some to the
// application.
func TestDescriptors_FewInTheProcess(t *testing.T) {
	for _, limit := range []int{64, 256} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChildFewDescriptors$", "-test.v")
		cmd.Env = append(os.Environ(), fmt.Sprint("HLOG_LIMIT_DESCRIPTORS=", limit), "HLOG_DIR="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("limit %d: %v: %s", limit, err, out)
		}
	}
}

// TestChildFewDescriptors is the process under the limit.
func TestChildFewDescriptors(t *testing.T) {
	var limit uint64
	if n, _ := fmt.Sscan(os.Getenv("HLOG_LIMIT_DESCRIPTORS"), &limit); n == 0 {
		t.Skip("runs as a child only")
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}))
	ctx, dir := context.Background(), os.Getenv("HLOG_DIR")
	o := &Options{MemoryBytes: MinMemoryBytes, PageBytes: MinPageBytes, SegmentBytes: 32 << 10, FS: fsx.OS(), NoCompaction: true}
	application := func() {
		t.Helper()
		f, err := os.Open(dir)
		must(t, err)
		must(t, f.Close())
	}
	const keys = 4_000
	fill := func(s *Store, v string) {
		t.Helper()
		for i := range keys {
			must(t, s.Set(key8(i), append(make([]byte, 1000), v...)))
		}
		application()
	}
	check := func(s *Store, v string) {
		t.Helper()
		for i := range keys {
			got, err := s.Get(nil, key8(i))
			if err != nil || string(got[1000:]) != v {
				t.Fatalf("key %d: %v", i, err)
			}
		}
		application()
	}
	s := mustOpen(t, dir, o)
	fill(s, "one") // more segments than descriptors, none of them synced yet
	first := commit(t, s)
	fill(s, "two")
	commit(t, s)
	check(s, "two")
	_, err := s.Restore(ctx, first)
	must(t, err)
	check(s, "one")
	fill(s, "three")
	commit(t, s)
	must(t, s.Compact(ctx))
	check(s, "three")
	must(t, s.Close())
	s = mustOpen(t, dir, o)
	check(s, "three")
	must(t, s.Close())
}
