package hlog_test

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// A machine without a directory reads any version that a remote keeps.
func ExampleOpenRemote() {
	here, remove := temporary()
	defer remove()
	ctx := context.Background()
	remote, err := checkpoint.NewDirRemote(filepath.Join(here, "bucket"))
	check(err)
	store, err := hlog.Open(filepath.Join(here, "store"), &hlog.Options{Remote: remote})
	check(err)
	check(store.Set([]byte("fruit"), []byte("apple")))
	old, err := store.Checkpoint(ctx)
	check(err)
	check(store.Set([]byte("fruit"), []byte("pear")))
	check(store.Close()) // commits another version

	for _, v := range []checkpoint.Version{old.Version, 0} { // 0: the one at which machines open
		view, err := hlog.OpenRemote(ctx, remote, v, nil)
		check(err)
		value, err := view.Get(nil, []byte("fruit"))
		check(err)
		fmt.Printf("version %d: %s\n", view.Info().Version, value)
		check(view.Close())
	}
	// Output:
	// version 1: apple
	// version 2: pear
}

// Another process serves reads of what a store copies to its remote, and looks now and then whether there is more.
func ExampleFollower() {
	here, remove := temporary()
	defer remove()
	ctx := context.Background()
	remote, err := checkpoint.NewDirRemote(filepath.Join(here, "bucket"))
	check(err)
	store, err := hlog.Open(filepath.Join(here, "store"), &hlog.Options{Remote: remote})
	check(err)
	check(store.Set([]byte("fruit"), []byte("apple")))
	_, err = store.Checkpoint(ctx)
	check(err)

	follower, err := hlog.OpenFollower(ctx, remote, nil)
	check(err)
	defer follower.Close()
	check(store.Set([]byte("fruit"), []byte("pear")))
	check(store.Close())
	show := func() {
		value, err := follower.Get(nil, []byte("fruit"))
		check(err)
		fmt.Printf("at version %d: %s\n", follower.Version(), value)
	}
	show()
	moved, err := follower.Poll(ctx)
	check(err)
	fmt.Println("moved:", moved)
	show()
	// Output:
	// at version 1: apple
	// moved: true
	// at version 2: pear
}
