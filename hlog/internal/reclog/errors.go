package reclog

import "errors"

var (
	// ErrClosed reports that the log was closed before the call or while it waited.
	ErrClosed = errors.New("hlog: closed")

	// ErrLogFull reports that the addresses of the log are used up.
	ErrLogFull = errors.New("hlog: log addresses are used up")

	// ErrNotDurable reports that a sync failed whose pages had left memory: what it covered is lost, and no later sync can
	// be believed. It comes with the error of that sync.
	ErrNotDurable = errors.New("hlog: an earlier sync failed after its pages had been dropped from memory; the log can no longer be made durable")
)
