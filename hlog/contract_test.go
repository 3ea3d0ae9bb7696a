package hlog_test

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// The signatures that programs hold on to: a change of any of them does not compile here.
var (
	_ func(string, *hlog.Options) (*hlog.Store, error) = hlog.Open

	_ = hlog.Options{MemoryBytes: int64(0), MutableFraction: float64(0), PageBytes: int(0), SegmentBytes: int64(0), KeepVersions: int(0),
		CheckpointEvery: time.Duration(0), Remote: checkpoint.Remote(nil), ReadOnly: false, Logger: (*slog.Logger)(nil)}

	_ func(*hlog.Store, []byte, []byte) ([]byte, error)                                       = (*hlog.Store).Get
	_ func(*hlog.Store, []byte, []byte) error                                                 = (*hlog.Store).Set
	_ func(*hlog.Store, []byte) error                                                         = (*hlog.Store).Delete
	_ func(*hlog.Store, []byte, func([]byte) []byte) error                                    = (*hlog.Store).RMW
	_ func(*hlog.Store, context.Context, func(key, value []byte) bool) error                  = (*hlog.Store).Scan
	_ func(*hlog.Store, context.Context) error                                                = (*hlog.Store).Compact
	_ func(*hlog.Store) hlog.Metrics                                                          = (*hlog.Store).Metrics
	_ func(*hlog.Store) error                                                                 = (*hlog.Store).Close
	_ func(*hlog.Store) *hlog.Session                                                         = (*hlog.Store).NewSession
	_ func(*hlog.Store, context.Context, ...hlog.CheckpointOption) (checkpoint.Info, error)   = (*hlog.Store).Checkpoint
	_ func(*hlog.Store, ...hlog.CheckpointOption) (*hlog.PendingCheckpoint, error)            = (*hlog.Store).BeginCheckpoint
	_ func(checkpoint.Version) hlog.CheckpointOption                                          = hlog.WithVersion
	_ func([]byte) hlog.CheckpointOption                                                      = hlog.WithCookie
	_ func(*hlog.PendingCheckpoint) checkpoint.Version                                        = (*hlog.PendingCheckpoint).Version
	_ func(*hlog.PendingCheckpoint, context.Context) (checkpoint.Info, error)                 = (*hlog.PendingCheckpoint).Wait
	_ func(*hlog.PendingCheckpoint, context.Context) (*hlog.View, error)                      = (*hlog.PendingCheckpoint).View
	_ func(*hlog.Store) ([]checkpoint.Info, error)                                            = (*hlog.Store).Versions
	_ func(*hlog.Store, context.Context, checkpoint.Version) (checkpoint.Info, error)         = (*hlog.Store).Restore
	_ func(*hlog.Store, context.Context, checkpoint.Version) (*hlog.View, error)              = (*hlog.Store).OpenVersion
	_ func(*hlog.Store, context.Context, checkpoint.Version) error                            = (*hlog.Store).Purge
	_ func(*hlog.View, []byte, []byte) ([]byte, error)                                        = (*hlog.View).Get
	_ func(*hlog.View, context.Context, func(key, value []byte) bool) error                   = (*hlog.View).Scan
	_ func(*hlog.View) error                                                                  = (*hlog.View).Close
	_ func(*hlog.View) int64                                                                  = (*hlog.View).Size
	_ func(*hlog.View, io.Writer) (int64, error)                                              = (*hlog.View).WriteTo
	_ func(*hlog.View, io.Writer, checkpoint.Version) (int64, error)                          = (*hlog.View).WriteDelta
	_ func(context.Context, string, io.Reader) (checkpoint.Info, error)                       = hlog.Import
	_ func(*hlog.Session, []byte, []byte) ([]byte, error)                                     = (*hlog.Session).Get
	_ func(*hlog.Session, []byte, []byte) error                                               = (*hlog.Session).Set
	_ func(*hlog.Session, []byte) error                                                       = (*hlog.Session).Delete
	_ func(*hlog.Session, []byte, func([]byte) []byte) error                                  = (*hlog.Session).RMW
	_ func(*hlog.Session, [][]byte, func(i int, value []byte, err error)) error               = (*hlog.Session).MultiGet
	_ func(*hlog.Session, [][]byte, [][]byte) error                                           = (*hlog.Session).MultiSet
	_ func(*hlog.Session, [][]byte, func(i int, old []byte) []byte) error                     = (*hlog.Session).MultiRMW
	_ func(*hlog.Session) error                                                               = (*hlog.Session).Close
	_ func(*hlog.Session) (*hlog.Table[uint64, uint64], error)                                = hlog.NewTable[uint64, uint64]
	_ func(*hlog.Table[uint64, uint64], uint64) (uint64, bool, error)                         = (*hlog.Table[uint64, uint64]).Get
	_ func(*hlog.Table[uint64, uint64], uint64, uint64) error                                 = (*hlog.Table[uint64, uint64]).Set
	_ func(*hlog.Table[uint64, uint64], uint64) error                                         = (*hlog.Table[uint64, uint64]).Delete
	_ func(*hlog.Table[uint64, uint64], uint64, func(v *uint64, existed bool)) error          = (*hlog.Table[uint64, uint64]).Update
	_ func(*hlog.Table[uint64, uint64], []uint64, []uint64, []bool) error                     = (*hlog.Table[uint64, uint64]).MultiGet
	_ func(*hlog.Table[uint64, uint64], []uint64, []uint64) error                             = (*hlog.Table[uint64, uint64]).MultiSet
	_ func(*hlog.Table[uint64, uint64], []uint64, func(i int, v *uint64, existed bool)) error = (*hlog.Table[uint64, uint64]).MultiUpdate
	_                                                                                         = []error{hlog.ErrNotFound, hlog.ErrClosed, hlog.ErrLocked, hlog.ErrReadOnly, hlog.ErrTooLarge, hlog.ErrCorrupt, hlog.ErrVersionNotFound, hlog.ErrVersionOrder, hlog.ErrFormat}
	_                                                                                         = hlog.CorruptionError{File: "", Offset: int64(0), Reason: ""}

	_                                         = checkpoint.Info{Version: checkpoint.Version(uint64(0)), Parent: checkpoint.Version(0), Created: time.Time{}, DeltaBytes: int64(0), LogBytes: int64(0), Cookie: []byte(nil)}
	_ func(string) (checkpoint.Remote, error) = checkpoint.NewDirRemote
)
