//go:build !linux

package fsx

import "syscall"

// kernelQueue is what only Linux has.
type kernelQueue struct{}

func (k *kernelQueue) ready() bool            { return false }
func (k *kernelQueue) open(int) error         { return syscall.ENOSYS }
func (k *kernelQueue) prepare([]*Request) int { return 0 }
func (k *kernelQueue) submit() int            { return 0 }
func (k *kernelQueue) takeBack() *Request     { return nil }
func (k *kernelQueue) wait(atLeast int) int   { return 0 }
func (k *kernelQueue) event(i int) *Request   { return nil }
func (k *kernelQueue) close() error           { return nil }

func (r *Request) settle() {}
