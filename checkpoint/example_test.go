package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// A directory, on another disk say, is the simplest remote. hlog.Options.Remote takes it.
func ExampleNewDirRemote() {
	path, err := os.MkdirTemp("", "remote")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(path)
	ctx := context.Background()
	remote, err := checkpoint.NewDirRemote(filepath.Join(path, "copies"))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := remote.Put(ctx, "notes/today", []byte("hello, remote")); err != nil {
		fmt.Println(err)
		return
	}
	body, err := remote.Get(ctx, "notes/today", 7, -1)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	fmt.Println(string(text), err)

	_, err = checkpoint.RemoteIdentity(ctx, remote)
	fmt.Println("no store here yet:", errors.Is(err, fs.ErrNotExist))
	// Output:
	// remote <nil>
	// no store here yet: true
}
