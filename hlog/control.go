package hlog

import "github.com/hybridlog/hybridlog/internal/word"

// control is the one word that every operation loads when it enters: what the store is doing, and the version that
// the operation belongs to.
//
//	63       62       61          60    48 47                     0
//	+--------+--------+-----------+-------+------------------------+
//	| closed | paused | contended |   0   |      log version       |
//	+--------+--------+-----------+-------+------------------------+
//
// The log version counts checkpoints and restores, from 1; records carry its low bits. It is not the version id that
// users see.
type control uint64

const (
	closedBit control = 1 << 63
	pausedBit control = 1 << 62
	// contendedBit is set while some update takes precedence (fairness.go).
	contendedBit control = 1 << 61
	versionBits          = 48
)

// extraordinary are the bits with which only the general paths of operations deal.
const extraordinary = closedBit | pausedBit | contendedBit

// open reports whether operations may run.
func (c control) open() bool { return c&(closedBit|pausedBit) == 0 }

// closed reports whether the store is closed.
func (c control) closed() bool { return c&closedBit != 0 }

// contended reports whether some update takes precedence over others.
func (c control) contended() bool { return c&contendedBit != 0 }

// logVersion returns the counter.
func (c control) logVersion() uint64 { return uint64(c) & (1<<versionBits - 1) }

// version returns the version that records carry.
func (c control) version() word.RecordVersion { return word.MakeRecordVersion(uint64(c)) }
