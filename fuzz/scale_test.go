package fuzz

import (
	"os"
	"testing"
)

// scaled returns how much of a test to do: with -short, usually, and with HLOG_FUZZ=long.
func scaled(short, usual, long int) uint64 {
	switch {
	case os.Getenv("HLOG_FUZZ") == "long":
		return uint64(long)
	case testing.Short():
		return uint64(short)
	}
	return uint64(usual)
}
