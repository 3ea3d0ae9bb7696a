// Command hlog looks into the directory of a store, which may be in use, or into a remote, and moves versions. `hlog help` has
// the rest; package inspector is what it does. The command of the module remote/s3 knows buckets, too.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/hybridlog/hybridlog/cmd/hlog/inspector"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := inspector.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, inspector.Remotes{"dir": inspector.Dir()})
	stop()
	os.Exit(code)
}
