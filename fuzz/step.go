package fuzz

import (
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// steppedFS is a file system on which a store does its background work step by step (package step).
type steppedFS struct {
	fsx.FS
	work *step.Work
}

func (s steppedFS) Work() *step.Work { return s.work }

// Stepped returns the file system such that a store on it has no goroutines: what it does in the background, and in
// which order, follows from work. A nil work leaves the store its goroutines.
func Stepped(fsys fsx.FS, work *step.Work) fsx.FS {
	if work == nil {
		return fsys
	}
	return steppedFS{fsys, work}
}

// How often a stepped run stops between the operations of one command, and between two commands, to do something in
// the background: once in so many.
const (
	pauseOperations = 12
	pauseCommands   = 2
)
