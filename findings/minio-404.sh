#!/usr/bin/env bash
# minio-go: any 404 to a GET of an object is NoSuchKey, also one that no S3 server has sent.
#
# Guess:    the code of an error is the one that the server sent; an answer without an S3 error in it, such as the page of a
#           proxy or of the wrong host, has no code, or one of its own.
# Instead:  a 404 whose body is not an error of S3 gets the code NoSuchKey. So does one with an empty body. A 404 with an S3
#           error in it keeps its code.
# Seen:     minio-go v7.3.0, go 1.26.
# Source:   httpRespToErrorResponse in api-error-response.go: what cannot be decoded is named after the status.
# Matters:  a store that asks "is there an older version?" takes a wrong host, or a route that a proxy has lost, for "there
#           is none", and begins anew on top of what is there. The body has to be looked at before minio-go does.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// code returns the code of the error of a GET that is answered by 404 with a body.
func code(body string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	core, err := minio.NewCore(strings.TrimPrefix(server.URL, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("key", "secret", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath})
	if err != nil {
		panic(err)
	}
	_, _, _, err = core.GetObject(context.Background(), "bucket", "object", minio.GetObjectOptions{})
	return minio.ToErrorResponse(err).Code
}

func main() {
	page, empty := code("<html><p>no such page</html>"), code("")
	other := code(`<?xml version="1.0"?><Error><Code>NoSuchBucket</Code></Error>`)
	fmt.Printf("a page: %s; an empty body: %s; an S3 error NoSuchBucket: %s\n", page, empty, other)
	if page != "NoSuchKey" || empty != "NoSuchKey" || other != "NoSuchBucket" {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get github.com/minio/minio-go/v7@v7.3.0 >/dev/null 2>&1
go run .
