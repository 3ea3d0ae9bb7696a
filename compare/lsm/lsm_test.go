package lsm

import (
	"encoding/binary"
	"testing"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// newTree returns a tree in memory that has so much of it, half of that for the memtable.
func newTree(t *testing.T, memory int64) *Tree {
	t.Helper()
	tree, err := Open("/lsm", Options{Options: base.Options{FS: fsx.NewCrash(fsx.CrashOptions{Direct: true}), MemoryBytes: memory, KeepVersions: 2},
		MaxRuns: 10, Density: 16, MemtableBytes: memory / 2, FalsePositives: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func keyOf(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }

func set(t *testing.T, tree *Tree, i int) {
	t.Helper()
	if err := tree.Set(keyOf(i), make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, tree *Tree, i int) {
	t.Helper()
	if v, err := tree.Get(keyOf(i)); err != nil || len(v) != 100 {
		t.Fatalf("key %d: %d bytes, %v", i, len(v), err)
	}
}

// What the arrays of the memtable hold beyond its records counts, too: else the cache is larger than that of an engine that
// counts everything.
func TestTree_HoldsWhatItWasGiven(t *testing.T) {
	const memory, keys = 4 << 20, 60_000
	tree := newTree(t, memory)
	for i := range keys {
		set(t, tree, i*7919%keys)
	}
	for i := range keys {
		get(t, tree, i)
	}
	if held := tree.Size(); held > memory || held < memory/2 {
		t.Errorf("it holds %d bytes of %d", held, memory)
	}
}

// A block is read once as long as the cache has it, and what no Get has asked for is not counted.
func TestTree_CountsReadsOfGets(t *testing.T) {
	const keys = 10_000
	tree := newTree(t, 16<<20)
	for i := range keys {
		set(t, tree, i)
	}
	get(t, tree, 1)
	if n := tree.Reads(); n != 0 {
		t.Errorf("%d reads for what is in the memtable", n)
	}
	if err := tree.Snapshot(1); err != nil {
		t.Fatal(err)
	}
	for i, want := range []uint64{1, 1, 2} {
		if get(t, tree, []int{1, 2, keys - 1}[i]); tree.Reads() != want {
			t.Errorf("%d reads after get %d, want %d", tree.Reads(), i, want)
		}
	}
}
