package hlog

import (
	"context"
	"errors"
	"fmt"
)

// changesOnRemote is Changes for views that were opened on a remote. A read there can take as long as Options.OpenTimeout allows:
// so a goroutine of its own reads, and the caller, who calls fn, can leave when ctx ends. The goroutine ends with the read that
// it waits for, or when one of the views is closed.
func (w *View) changesOnRemote(ctx context.Context, from *View, fn func(Change) bool) error {
	if err := w.relatedOnRemote(ctx, from); err != nil {
		return fmt.Errorf("hlog: changes between versions on a remote: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also when fn panics
	found, more, done := make(chan Change), make(chan bool), make(chan error, 1)
	told := 0
	left := false // of the goroutine, until it is done: the caller has gone
	go func() {
		done <- w.changes(ctx, from, func(c Change) (goOn bool) {
			select {
			case found <- c:
			case <-ctx.Done():
				left = true
				return false
			}
			select {
			case goOn = <-more:
			case <-ctx.Done():
				left = true
			}
			return goOn
		})
	}()
	for {
		select {
		case c := <-found:
			told++
			goOn := fn(c)
			select {
			case more <- goOn:
			case <-ctx.Done():
				return ctx.Err()
			}
		case err := <-done:
			switch {
			case err == nil && left:
				err = ctx.Err()
			case errors.Is(err, ErrVersionNotFound):
				err = fmt.Errorf("hlog: changes between versions on a remote, after %d of them: %w", told, err)
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// relatedOnRemote returns nil if both versions are of one store and stand on their remote still.
func (w *View) relatedOnRemote(ctx context.Context, from *View) error {
	if err := w.start(); err != nil { // Close interrupts what the remote is asked, and waits
		return err
	}
	defer w.end()
	if from == nil {
		return w.remote.Stand(ctx)
	}
	if err := from.start(); err != nil {
		return err
	}
	defer from.end()
	if from.remote == nil {
		return fmt.Errorf("%w: one of them is not on a remote", ErrOtherStore)
	}
	return w.remote.Related(ctx, from.remote)
}
