package compare_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hybridlog/hybridlog/compare"
)

// All engines do the same through one interface: keys and values are bytes, an empty value deletes, any kept version
// can be brought back.
func ExampleOpen() {
	home, err := os.MkdirTemp("", "compare")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(home)
	for _, kind := range compare.Kinds() {
		if err := tour(kind, filepath.Join(home, kind)); err != nil {
			fmt.Println(kind, err)
		}
	}
	// Output:
	// appendlog: "red", then "", then "red" again; memory in use: true
	// hybridlog: "red", then "", then "red" again; memory in use: true
	// lsm: "red", then "", then "red" again; memory in use: true
	// memonly: "red", then "", then "red" again; memory in use: true
}

func tour(kind, dir string) error {
	e, err := compare.Open(kind, dir, compare.Options{MemoryBytes: 8 << 20})
	if err != nil {
		return err
	}
	defer e.Close()
	key := []byte("colour")
	get := func() string {
		value, err := e.Get(key)
		if err != nil {
			return err.Error()
		}
		return string(value)
	}
	if err := e.Set(key, []byte("red")); err != nil {
		return err
	}
	if err := e.Snapshot(10); err != nil { // versions ascend, gaps are allowed
		return err
	}
	before := get()
	if err := e.Set(key, nil); err != nil {
		return err
	}
	deleted := get()
	if err := e.Restore(10); err != nil {
		return err
	}
	fmt.Printf("%s: %q, then %q, then %q again; memory in use: %v\n", kind, before, deleted, get(), e.Size() > 0)
	return nil
}
