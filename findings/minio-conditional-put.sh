#!/usr/bin/env bash
# minio-go: a conditional put whose answer is lost is repeated behind the caller's back, and its maker is told that somebody
# else was first.
#
# Guess:    PutObject with If-None-Match: * says whether this call made the object, or fails.
# Instead:  when the answer is lost (here: 503 after the object was stored), the put is sent again, meets its own object, and
#           the caller gets 412 PreconditionFailed, which is what the loser of a race gets. With MaxRetries: 1 it gets the 503.
# Seen:     minio-go v7.3.0, go 1.26.
# Source:   executeMethod in api.go repeats every request with a seekable body up to 10 times, conditional or not.
# Matters:  who builds a lock or a log on put-if-absent must set MaxRetries to 1, or compare what is there with what it put:
#           else the one holder of a lock believes that another has it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// put puts an object conditionally, on a server that stores it and then says 503, and returns the status of the error.
func put(retries int) (status, requests int) {
	stored := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		requests++
		switch {
		case r.Header.Get("If-None-Match") != "*":
			w.WriteHeader(http.StatusBadRequest)
		case stored:
			w.WriteHeader(http.StatusPreconditionFailed)
		default:
			stored = true
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	client, err := minio.New(strings.TrimPrefix(server.URL, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("key", "secret", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath, MaxRetries: retries})
	if err != nil {
		panic(err)
	}
	var o minio.PutObjectOptions
	o.SetMatchETagExcept("*")
	_, err = client.PutObject(context.Background(), "bucket", "object", strings.NewReader("data"), 4, o)
	return minio.ToErrorResponse(err).StatusCode, requests
}

func main() {
	status, requests := put(0)
	once, alone := put(1)
	fmt.Printf("as it is set: %d after %d requests; with MaxRetries 1: %d after %d\n", status, requests, once, alone)
	if status != http.StatusPreconditionFailed || requests != 2 || once != http.StatusServiceUnavailable || alone != 1 {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get github.com/minio/minio-go/v7@v7.3.0 >/dev/null 2>&1
go run .
