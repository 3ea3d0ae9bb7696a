#!/usr/bin/env bash
# gocloud.dev fileblob: IfNotExist holds within one process. Two processes that put one key if it is absent both succeed.
#
# Guess:    IfNotExist is atomic: of all who write one key with it, one succeeds, and the others get FailedPrecondition. On a
#           local directory that is link(2), or renameat2 with RENAME_NOREPLACE, and holds for whoever uses the directory.
# Instead:  of 500 keys that two processes began to put at the same moment, both were told nil for some 100, and the later one
#           has replaced the earlier one's blob. With two goroutines of one process there was one winner each time.
# Seen:     gocloud.dev v0.49.0, go 1.26, Linux 6.18.
# Source:   Close of writerWithSidecar and writer in fileblob/fileblob.go: a mutex of the package, Stat, the file of
#           attributes, Rename.
# Matters:  a lock or a log on put-if-absent is tried out on a directory, mostly by several processes on one machine, since
#           one needs no lock: two leaders, or an entry of a log that was acknowledged and replaced. The same code on S3 is
#           right, so that the fault is searched in the code. Test with a real server, or with goroutines in one process.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"
)

const (
	rounds = 500
	apart  = 2 * time.Millisecond
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// contend puts one key for each round, if it is absent, and returns a string with 1 for each that succeeded.
func contend(prefix string, start time.Time) string {
	ctx := context.Background()
	bucket, err := fileblob.OpenBucket("bucket", nil)
	must(err)
	defer bucket.Close()
	var won strings.Builder
	for i := range rounds {
		for begin := start.Add(time.Duration(i) * apart); time.Now().Before(begin); {
		}
		err := bucket.WriteAll(ctx, prefix+strconv.Itoa(i), []byte("value"), &blob.WriterOptions{IfNotExist: true})
		switch {
		case err == nil:
			won.WriteString("1")
		case gcerrors.Code(err) == gcerrors.FailedPrecondition:
			won.WriteString("0")
		default:
			panic(err)
		}
	}
	return won.String()
}

// both returns in how many rounds two contenders have won, and in how many one has.
func both(a, b string) (two, one int) {
	for i := range rounds {
		switch {
		case a[i] == '1' && b[i] == '1':
			two++
		case a[i] == '1' || b[i] == '1':
			one++
		}
	}
	return two, one
}

func main() {
	if len(os.Args) > 1 {
		ns, err := strconv.ParseInt(os.Args[1], 10, 64)
		must(err)
		fmt.Print(contend("processes", time.Unix(0, ns)))
		return
	}
	must(os.Mkdir("bucket", 0o700))
	var results [2]string
	var all sync.WaitGroup
	start := time.Now().Add(time.Second)
	for i := range results {
		all.Go(func() {
			out, err := exec.Command(os.Args[0], strconv.FormatInt(start.UnixNano(), 10)).Output()
			must(err)
			results[i] = string(out)
		})
	}
	all.Wait()
	two, one := both(results[0], results[1])
	fmt.Printf("two processes, %d keys: both were told that they made it for %d, one for %d\n", rounds, two, one)
	start = time.Now()
	for i := range results {
		all.Go(func() { results[i] = contend("goroutines", start) })
	}
	all.Wait()
	twoInside, oneInside := both(results[0], results[1])
	fmt.Printf("two goroutines: both for %d, one for %d\n", twoInside, oneInside)
	if two == 0 || twoInside != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get gocloud.dev/blob@v0.49.0 gocloud.dev/blob/fileblob@v0.49.0 gocloud.dev/gcerrors@v0.49.0 >/dev/null 2>&1
go build -o contend .
./contend
