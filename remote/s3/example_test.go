package s3_test

import (
	"context"
	"fmt"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/remote/s3"
)

// A store whose versions go to a bucket. On an empty machine the same lines bring the newest one back.
func Example() {
	ctx := context.Background()
	remote, err := s3.Open(ctx, "s3://bucket/stores/17?region=eu-west-1") // credentials are in the environment
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := hlog.Open("/var/lib/store", &hlog.Options{Remote: remote})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	if err := store.Set([]byte("key"), []byte("value")); err != nil {
		fmt.Println(err)
		return
	}
	info, err := store.Checkpoint(ctx) // nil: on the disk here, and in the bucket
	fmt.Println(info.Version, err)
}

// What a URL says, without going there.
func ExampleParse() {
	o, err := s3.Parse("s3://bucket/stores/17?endpoint=https://s3.example.com:9000")
	fmt.Println(o.Bucket, o.Prefix, o.Endpoint, err)
	_, err = s3.Parse("s3://me:secret@bucket/stores/17")
	fmt.Println(err)
	// Output:
	// bucket stores/17 https://s3.example.com:9000 <nil>
	// s3: the URL of the remote holds credentials, which belong into the environment or a file
}
