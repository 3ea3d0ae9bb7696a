//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd || windows)

package fsx

import "os"

// lockFile does nothing: on this platform only the registry keeps two owners apart.
func lockFile(*os.File, bool) error { return nil }

// unlockFile has nothing to end.
func unlockFile(*os.File) error { return nil }
