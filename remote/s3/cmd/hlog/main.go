// Command hlog is the inspector of the main module, which looks into directories and remotes, and knows buckets as well:
//
//	hlog versions s3://BUCKET/PREFIX?endpoint=URL
//
// Package s3 says what a URL may hold and where credentials are looked for. `hlog help` has the rest.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/hybridlog/hybridlog/cmd/hlog/inspector"
	"github.com/hybridlog/hybridlog/remote/s3"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	remotes := inspector.Remotes{"dir": inspector.Dir(), "s3": {Read: s3.OpenToRead, Write: s3.OpenToWrite}}
	code := inspector.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, remotes)
	stop()
	os.Exit(code)
}
