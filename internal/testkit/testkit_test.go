package testkit

import (
	"sync"
	"testing"
)

// wait is where the goroutine of the test stands.
func wait(mu *sync.Mutex) {
	mu.Lock()
	defer mu.Unlock()
}

func TestStands_FindsWhereAGoroutineWaits(t *testing.T) {
	if Stands("testkit.wait(") {
		t.Fatal("nobody waits yet")
	}
	var mu sync.Mutex
	mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait(&mu)
	}()
	Eventually(t, "the goroutine", func() bool { return Stands("[sync.Mutex.Lock", "testkit.wait(") })
	if Stands("[chan receive", "testkit.wait(") || Closed(done) {
		t.Error("it waits for a lock")
	}
	mu.Unlock()
	Within(t, "the goroutine", func() { <-done })
	if !Closed(done) {
		t.Error("it has ended")
	}
}

func TestSoon_AsksUntilItIsTrue(t *testing.T) {
	n := 0
	if !Soon(func() bool { n++; return n == 200 }) || n != 200 {
		t.Errorf("asked %d times", n)
	}
}

func TestSizeOf(t *testing.T) {
	for value, want := range map[string]int{"": 2, "ci": 3, "long": 4} {
		t.Setenv("HLOG_FUZZ", value)
		if value == "" && testing.Short() {
			want = 1
		}
		if got := Scaled(1, 2, 3, 4); got != want {
			t.Errorf("HLOG_FUZZ=%s: %d, want %d", value, got, want)
		}
	}
	t.Setenv("HLOG_FUZZ", "lnog")
	defer func() {
		if recover() == nil {
			t.Error("a size that there is not has been taken for another")
		}
	}()
	SizeOf()
}
