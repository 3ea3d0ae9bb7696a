//go:build !linux

package fsx

import "syscall"

// kernelQueue is what only Linux has.
type kernelQueue struct{}

const kernelQueues = false

func (k *kernelQueue) idle() bool                  { return true }
func (k *kernelQueue) open(int) error              { return syscall.ENOSYS }
func (k *kernelQueue) prepare([]*Request, int) int { return 0 }
func (k *kernelQueue) submit() int                 { return 0 }
func (k *kernelQueue) takeBack() *Request          { return nil }
func (k *kernelQueue) wait(atLeast int) int        { return 0 }
func (k *kernelQueue) event(i int) *Request        { return nil }

func (r *Request) conclude() {}
