#!/usr/bin/env bash
# minio-go: ReadAt of an object is done one after the other, and after one that fails all later ones fail with its error.
#
# Guess:    *minio.Object is an io.ReaderAt, which may be called in parallel on the same source: seven goroutines that read
#           seven ranges wait about as long as one. A range that the server refused once can be asked for again.
# Instead:  a lock is held from the request to the last byte. Seven reads from a server that takes 100 ms for each take 700
#           ms, as long as calls in a row, and no more than one request is ever under way. When one of them gets an
#           error (here 403, once), it is kept: each ReadAt after that returns the same error without asking the server, for
#           every range.
# Seen:     minio-go v7.4.1, go 1.26.
# Source:   Object.ReadAt in api-get-object.go takes o.mutex for all of the call, and returns o.prevErr first of all if there
#           is one that is not io.EOF; all requests go through one goroutine of GetObject.
# Matters:  a reader of a columnar file, a zip or a log by ranges (parquet, archive/zip, io.SectionReader) prefetches with
#           goroutines and gets the bandwidth of one connection. One credential that expired for a moment makes a long-lived
#           handle useless, although the next request would succeed. Open one object for each goroutine, or call
#           Core.GetObject with a range.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	parallel = 8
	part     = 1000
	delay    = 100 * time.Millisecond
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	var underWay, most, requests atomic.Int64
	var refuse atomic.Bool
	content := bytes.Repeat([]byte("x"), parallel*part)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		now := underWay.Add(1)
		defer underWay.Add(-1)
		for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
		}
		time.Sleep(delay)
		if refuse.CompareAndSwap(true, false) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
			return
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Unix(1, 0), bytes.NewReader(content))
	}))
	defer server.Close()
	client, err := minio.New(strings.TrimPrefix(server.URL, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("user", "password", ""), Region: "us-east-1", MaxRetries: 1,
	})
	must(err)
	object, err := client.GetObject(context.Background(), "bucket", "object", minio.GetObjectOptions{})
	must(err)
	defer object.Close()

	read := func(i int) error {
		_, err := object.ReadAt(make([]byte, part), int64(i*part))
		return err
	}
	must(read(0)) // the first also asks for the size
	most.Store(0)
	var all sync.WaitGroup
	start := time.Now()
	for i := range parallel - 1 {
		all.Go(func() { must(read(i)) })
	}
	all.Wait()
	took := time.Since(start)
	atOnce := most.Load()
	fmt.Printf("%d reads in parallel, %v each: %v, at most %d request under way\n", parallel-1, delay, took.Round(10*time.Millisecond), atOnce)

	refuse.Store(true)
	err1 := read(1)
	before := requests.Load()
	err2 := read(1)
	err3 := read(2)
	asked := requests.Load() - before
	fmt.Printf("a read that is refused once: %v\nthe same again: %v\nanother range: %v; requests for both: %d\n", err1, err2, err3, asked)
	if atOnce != 1 || took < (parallel-1)*delay || err1 == nil || err2 == nil || err3 == nil || asked != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/minio/minio-go/v7@v7.4.1 >/dev/null 2>&1
go run .
