#!/usr/bin/env bash
# minio-go: PutObject with a condition is unconditional as soon as the object goes up in parts.
#
# Guess:    PutObject with SetMatchETagExcept("*") never replaces an object, whatever its size: S3 takes If-None-Match with
#           PutObject and with CompleteMultipartUpload.
# Instead:  above PartSize (16 MiB), or with size -1 at any size, be it three bytes, the header goes with the request that
#           begins the upload, where S3 has no condition, and not with the one that completes it, which makes the object. The
#           caller is told nil, and the object that was there is gone. SetMatchETag (compare and swap) goes the same way.
# Seen:     minio-go v7.3.0, go 1.26. The server here heeds conditions where S3 documents them: PutObject,
#           CompleteMultipartUpload.
# Source:   the options for completing are made anew, of encryption and checksum only, in each of the four ways of uploading
#           in parts (api-put-object.go, api-put-object-multipart.go, api-put-object-streaming.go).
# Matters:  a lock, a manifest or an immutable segment that is put "if absent" is safe in tests with small objects, and
#           overwrites somebody else's once it is larger than a part or streamed. Servers that check when an upload begins
#           only hide it: two writers both begin before either has finished. Set PartSize above the object's size, give the
#           size, or use Core.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
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

// put puts an object, if there is none, where there is one; it returns the error and whether the one that was there is replaced.
func put(body io.Reader, size int64) (err error, replaced bool) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		query := r.URL.Query()
		creates := r.Method == http.MethodPut && !query.Has("partNumber") || r.Method == http.MethodPost && query.Has("uploadId")
		switch {
		case creates && r.Header.Get("If-None-Match") == "*":
			w.WriteHeader(http.StatusPreconditionFailed)
		case r.Method == http.MethodPost && query.Has("uploads"):
			io.WriteString(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
		case creates:
			replaced = true
			io.WriteString(w, `<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>object</Key><ETag>"1"</ETag></CompleteMultipartUploadResult>`)
		default:
			w.Header().Set("ETag", `"1"`)
		}
	}))
	defer server.Close()
	client, err := minio.New(strings.TrimPrefix(server.URL, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("key", "secret", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath})
	if err != nil {
		panic(err)
	}
	var o minio.PutObjectOptions
	o.SetMatchETagExcept("*")
	if size < 0 {
		o.PartSize = 5 << 20 // the default takes half a gigabyte of memory
	}
	_, err = client.PutObject(context.Background(), "bucket", "object", body, size, o)
	return err, replaced
}

func main() {
	const large = 17 << 20
	small, smallReplaced := put(strings.NewReader("few"), 3)
	parts, partsReplaced := put(strings.NewReader(strings.Repeat("x", large)), large)
	stream, streamReplaced := put(io.MultiReader(strings.NewReader("few")), -1)
	fmt.Printf("3 bytes:                  replaced %t, error: %v\n", smallReplaced, small)
	fmt.Printf("17 MiB:                   replaced %t, error: %v\n", partsReplaced, parts)
	fmt.Printf("3 bytes, size not given:  replaced %t, error: %v\n", streamReplaced, stream)
	if smallReplaced || minio.ToErrorResponse(small).StatusCode != http.StatusPreconditionFailed || !partsReplaced || parts != nil || !streamReplaced || stream != nil {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/minio/minio-go/v7@v7.3.0 >/dev/null 2>&1
go run .
