package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/compare"
)

// contestants are the engines asked for, of those an experiment is about, with the same options each.
func (e *env) contestants(opts compare.Options, of ...string) []contest.Contestant {
	var out []contest.Contestant
	for _, kind := range e.pick(of...) {
		out = append(out, contest.Contestant{Name: kind, Open: func(dir string) (contest.Engine, error) {
			return compare.Open(kind, dir, opts)
		}})
	}
	return out
}

// engineMemory is what the engines of an experiment are given, -memory before its own.
func (e *env) engineMemory(own int64) int64 { return or(e.memory, own) }

// slowRemote is a remote whose uploads take a microsecond for every byte, as in the thesis.
type slowRemote struct{ compare.Remote }

const remotePerByte = time.Microsecond

func (s slowRemote) wait(ctx context.Context, size int64) error {
	t := time.NewTimer(time.Duration(size) * remotePerByte)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Put implements compare.Remote.
func (s slowRemote) Put(ctx context.Context, name string, body io.Reader, size int64) error {
	if err := s.wait(ctx, size); err != nil {
		return err
	}
	return s.Remote.Put(ctx, name, body, size)
}

// PutIfAbsent implements compare.Remote.
func (s slowRemote) PutIfAbsent(ctx context.Context, name string, body io.Reader, size int64) (bool, error) {
	if err := s.wait(ctx, size); err != nil {
		return false, err
	}
	return s.Remote.PutIfAbsent(ctx, name, body, size)
}

// failed puts the engine's name before an error.
func failed(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
