#!/usr/bin/env bash
# thanos-io/objstore, filesystem provider: an upload that fails has replaced the object by what came through, for all to read.
#
# Guess:    a bucket on a file system is a bucket: Upload puts a whole object in the place of the one that was there, or fails and
#           leaves that one, as every other provider does and as its in-memory bucket does.
# Instead:  an object of 1,000 bytes is uploaded anew, the source fails after 100: Upload returns the error, and the object has 100
#           bytes now. While an upload is on its way, Get returns its first part, and then io.EOF, without an error.
# Seen:     objstore v0.0.0-20250804093838-71d60dfee488, go 1.26.
# Source:   Bucket.Upload in providers/filesystem/filesystem.go is os.Create on the object's own name, io.Copy, and Close; there
#           is no other name, no rename and no sync.
# Matters:  it is the provider for tests and for single machines with a mounted disk. A pointer to the newest checkpoint that is
#           uploaded over itself is empty for a moment and gone after a crash, so that a remote that is sound on S3 loses its
#           last whole state here; and a test for torn uploads finds what no object store does. Write objects once, under
#           new names, with their checksum in what names them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/thanos-io/objstore"
	"github.com/thanos-io/objstore/providers/filesystem"
)

var errSource = errors.New("the source has failed")

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// source gives n bytes, calls then, and fails.
type source struct {
	n    int
	then func()
}

func (s *source) Read(p []byte) (int, error) {
	if s.n == 0 {
		s.then()
		return 0, errSource
	}
	n := min(len(p), s.n)
	s.n -= n
	return n, nil
}

// length reads the object and returns how long it is.
func length(b objstore.Bucket) int {
	r, err := b.Get(context.Background(), "newest")
	must(err)
	defer r.Close()
	got, err := io.ReadAll(r)
	must(err)
	return len(got)
}

// replaced uploads an object of 1,000 bytes and then, over it, one whose source calls then after 100 bytes and fails. It
// returns how long the object is after that.
func replaced(b objstore.Bucket, then func()) int {
	ctx := context.Background()
	must(b.Upload(ctx, "newest", bytes.NewReader(make([]byte, 1000))))
	if err := b.Upload(ctx, "newest", &source{n: 100, then: then}); !errors.Is(err, errSource) {
		panic(fmt.Sprint("Upload returned ", err))
	}
	return length(b)
}

func main() {
	files, err := filesystem.NewBucket("bucket")
	must(err)
	during := 0
	after := replaced(files, func() { during = length(files) })
	fmt.Printf("filesystem: 1000 bytes; while they are replaced %d; after the upload has failed %d\n", during, after)
	memory := replaced(objstore.NewInMemBucket(), func() {})
	fmt.Printf("in memory:  1000 bytes; after the upload has failed %d\n", memory)
	if during >= 1000 || after != 100 || memory != 1000 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/thanos-io/objstore@v0.0.0-20250804093838-71d60dfee488 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
