package compare_test

import "github.com/hybridlog/hybridlog/compare"

// The signatures that programs hold on to: a change of any of them does not compile here.
var (
	_ func(kind, dir string, opts compare.Options) (compare.Engine, error) = compare.Open

	_ interface {
		Get([]byte) ([]byte, error)
		Set(key, value []byte) error
		Size() int64
		Snapshot(uint64) error
		Restore(uint64) error
		Close() error
	} = compare.Engine(nil)
)
