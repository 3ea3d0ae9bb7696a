#!/usr/bin/env bash
# minio-go: what PutObject sends of an open file begins where the file stands, or at its beginning, depending on the size.
#
# Guess:    PutObject takes an io.Reader: of a file whose header has been read, it sends what comes next, as many bytes as
#           were given as size.
# Instead:  up to the size of a part it does. Above it sends as many bytes from the beginning of the file: the header is in
#           the object, and as many bytes are missing at its end. The size of the object is right, the error is nil, and
#           checksums are those of what was sent. A *bytes.Reader or an *io.SectionReader that was read from goes the same
#           way.
# Seen:     minio-go v7.4.1, gofakes3 v1.2.0 as the server, go 1.26.
# Source:   putObject in api-put-object-streaming.go asks Seek for the offset; putObjectMultipartStreamFromReadAt, in the same
#           file, takes an io.ReaderAt and counts from 0.
# Matters:  a segment with a header that was checked before the upload, a file whose type was sniffed, an upload that goes on
#           after a part: right with the small files of a test, and above 16 MiB a shifted object whose size and status give
#           no hint. Pass an io.NewSectionReader over just what is meant, or hide ReadAt: struct{ io.Reader }{file}.
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
	"io"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const header = "header, 16 bytes"

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	ctx := context.Background()
	server := httptest.NewTLSServer(gofakes3.New(s3mem.New()).Server())
	defer server.Close()
	client, err := minio.New(strings.TrimPrefix(server.URL, "https://"), &minio.Options{
		Creds: credentials.NewStaticV4("user", "password", ""), Region: "us-east-1", Secure: true, Transport: server.Client().Transport,
	})
	must(err)
	must(client.MakeBucket(ctx, "bucket", minio.MakeBucketOptions{}))

	// put writes a file of a header and a body, reads the header, puts the rest, and says what the object is.
	put := func(mib int, hide bool) string {
		body := append(bytes.Repeat([]byte("x"), mib<<20-3), "end"...)
		must(os.WriteFile("segment", append([]byte(header), body...), 0o600))
		f, err := os.Open("segment")
		must(err)
		defer f.Close()
		_, err = io.ReadFull(f, make([]byte, len(header)))
		must(err)
		var source io.Reader = f
		if hide {
			source = struct{ io.Reader }{f}
		}
		_, err = client.PutObject(ctx, "bucket", "object", source, int64(len(body)), minio.PutObjectOptions{})
		must(err)
		object, err := client.GetObject(ctx, "bucket", "object", minio.GetObjectOptions{})
		must(err)
		defer object.Close()
		got, err := io.ReadAll(object)
		must(err)
		switch {
		case bytes.Equal(got, body):
			return "the body"
		case len(got) == len(body) && strings.HasPrefix(string(got), header):
			return "as long as the body, begins with the header, and lacks the end"
		}
		return fmt.Sprintf("something else, of %d bytes", len(got))
	}
	small, large, hidden := put(15, false), put(17, false), put(17, true)
	fmt.Printf("15 MiB after the header: %s\n17 MiB after the header: %s\n17 MiB, without ReadAt:  %s\n", small, large, hidden)
	if small != "the body" || hidden != "the body" || large == "the body" {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/minio/minio-go/v7@v7.4.1 github.com/johannesboyne/gofakes3@v1.2.0 github.com/johannesboyne/gofakes3/backend/s3mem@v1.2.0 >/dev/null 2>&1
go run .
