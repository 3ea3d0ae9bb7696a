package main

import (
	"context"
	"errors"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
)

func TestFeed_KeepsASecondStoreEqual(t *testing.T) {
	if err := run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// A batch that a crash has cut off is dropped, and a publisher that another has replaced is refused.
func TestFeed_OfPublishersThatReplaceEachOther(t *testing.T) {
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	j, stop, err := serve(t.TempDir())
	must(err)
	defer stop()
	stream, err := createFeed(ctx, j, "f")
	must(err)
	open := func() *hlog.Store {
		s, err := hlog.Open(t.TempDir(), &hlog.Options{MemoryBytes: 8 << 20, KeepVersions: 2})
		must(err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	first, second := open(), open()
	set := func(value string, keys ...string) {
		for _, k := range keys {
			must(first.Set([]byte(k), []byte(value)))
		}
	}
	old, err := newPublisher(ctx, j, "f", first)
	must(err)
	defer func() { old.close() }()
	set("1", "a", "b", "c")
	must(publishVersion(ctx, first, old))

	set("2", "a", "d") // sent, but without the end of the batch; then it is undone
	_, err = first.Checkpoint(ctx)
	must(err)
	cut, err := first.OpenVersion(ctx, 0)
	must(err)
	must(old.changes(ctx, cut, old.batch(cut)))
	must(cut.Close())
	_, err = first.Restore(ctx, old.last.Info().Version)
	must(err)
	must(first.Delete([]byte("b")))

	next, err := newPublisher(ctx, j, "f", first)
	must(err)
	defer func() { next.close() }()
	must(publishVersion(ctx, first, next))
	r := newReader(second)
	must(r.follow(ctx, stream, next.last.Info().Version))
	must(same(ctx, next.last, second))

	set("3", "a")
	if err := publishVersion(ctx, first, old); err == nil {
		t.Fatal("a publisher that was replaced goes on")
	}
	must(publishVersion(ctx, first, next))
	must(r.follow(ctx, stream, next.last.Info().Version))
	must(same(ctx, next.last, second))

	// Nobody keeps the version that readers are at: they are led to the next from the empty state.
	at := next.last.Info().Version
	must(old.close())
	must(next.close())
	must(first.Delete([]byte("c")))
	for range 4 {
		set("4", "e")
		_, err := first.Checkpoint(ctx)
		must(err)
	}
	if err := first.Purge(ctx, at); err != nil && !errors.Is(err, hlog.ErrVersionNotFound) {
		t.Fatal(err)
	}
	last, err := newPublisher(ctx, j, "f", first)
	must(err)
	defer func() { last.close() }()
	if last.last != nil {
		t.Fatalf("the store still has version %d", at)
	}
	set("5", "f")
	must(publishVersion(ctx, first, last))
	must(r.follow(ctx, stream, last.last.Info().Version))
	must(same(ctx, last.last, second))
}
