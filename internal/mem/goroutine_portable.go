//go:build invariants && !amd64

package mem

import (
	"bytes"
	"runtime"
	"strconv"
)

// Goroutine returns a number that no other goroutine has as long as the calling one lives.
func Goroutine() uintptr {
	var b [64]byte
	fields := bytes.Fields(b[:runtime.Stack(b[:], false)]) // goroutine 7 [running]:
	n, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		panic(err)
	}
	return uintptr(n)
}
