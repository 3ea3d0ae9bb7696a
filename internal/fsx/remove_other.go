//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package fsx

func (p place) remove() error { return p.unlink() }
