package shares

import (
	"testing"

	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
	"github.com/hybridlog/hybridlog/internal/word"
)

// nowhere is a file that takes what is written to it.
type nowhere struct{ fsx.File }

func (nowhere) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }

// Whoever writes a run lets others have the processor between two writes, but not while somebody waits for the run.
func TestRunFile_YieldsUnlessAwaited(t *testing.T) {
	files := &Files{}
	d := New(Config{Pace: Pace{Uncovered: 4}}, files)
	defer files.Close()
	d.Adopt(nil, 0, 1)
	yields := 0
	f := &runFile{File: nowhere{}, awaited: &files.awaited, yield: func() { yields++ }}
	write := func(want int) {
		t.Helper()
		yields = 0
		for range 3 {
			if n, err := f.WriteAt(make([]byte, 512), 0); n != 512 || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
		if yields != want {
			t.Errorf("yielded %d times, want %d", yields, want)
		}
	}
	write(3)

	d.Log(4096, 8192, []index.Logged{{Triple: index.MakeTriple(1, 4096, 32, false), Version: word.MakeRecordVersion(1)}})
	r, ok := d.TakeRun(true)
	if !ok {
		t.Fatal("there is no run to be written")
	}
	done := make(chan error, 1)
	go func() { done <- d.WriteRunsUpTo(8192) }()
	testkit.Eventually(t, "somebody waits for the run", func() bool { return files.awaited.Load() == 1 })
	write(0)
	d.FinishRun(r, nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	write(3)
}
