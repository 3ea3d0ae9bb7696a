#!/usr/bin/env bash
# Snappy and S2 streams: one that was cut off between two chunks is a whole one. The reader says io.EOF.
#
# Guess:    a framed, checksummed stream has an end, and a reader that does not meet it says io.ErrUnexpectedEOF, as those of
#           gzip, zstd and LZ4 frames do: what io.Copy has copied without an error is all of it.
# Instead:  the format has no end. A stream of 256 KiB was cut at each possible place: wherever a chunk of 64 KiB ended,
#           reading gave the data so far and no error. (An LZ4 or zstd frame that is cut gives an error at each place but the
#           very beginning.)
# Seen:     klauspost/compress v1.20.4 (s2), golang/snappy v1.0.0, pierrec/lz4 v4.1.33, go 1.26.
# Source:   framing_format.txt of Snappy: a stream is a stream identifier and chunks, and may be concatenated with others.
# Matters:  a segment, a backup or an export that is streamed through it and cut short (a full disk, an upload that ended
#           early, a writer that was killed) is read as a smaller one; with records that fit chunks, not even the last record
#           is damaged. Chunks end where files are cut: writers flush there. Store the length or a footer of one's own; S2's
#           index (WriterAddIndex) serves as one if the reader insists on it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	data := bytes.Repeat([]byte("x"), 256<<10)
	fine := true
	for _, c := range []struct {
		name   string
		ends   bool // the format has an end
		writer func(io.Writer) io.WriteCloser
		reader func(io.Reader) io.Reader
	}{
		{"snappy", false,
			func(w io.Writer) io.WriteCloser { return snappy.NewBufferedWriter(w) },
			func(r io.Reader) io.Reader { return snappy.NewReader(r) }},
		{"s2", false,
			func(w io.Writer) io.WriteCloser { return s2.NewWriter(w, s2.WriterBlockSize(64<<10)) },
			func(r io.Reader) io.Reader { return s2.NewReader(r) }},
		{"lz4", true,
			func(w io.Writer) io.WriteCloser {
				z := lz4.NewWriter(w)
				must(z.Apply(lz4.BlockSizeOption(lz4.Block64Kb)))
				return z
			},
			func(r io.Reader) io.Reader { return lz4.NewReader(r) }},
		{"zstd", true,
			func(w io.Writer) io.WriteCloser { z, err := zstd.NewWriter(w); must(err); return z },
			func(r io.Reader) io.Reader {
				z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
				must(err)
				return z
			}},
	} {
		var stream bytes.Buffer
		w := c.writer(&stream)
		_, err := w.Write(data)
		must(err)
		must(w.Close())
		silent, longest := 0, 0
		for cut := 1; cut < stream.Len(); cut++ {
			got, err := io.ReadAll(c.reader(bytes.NewReader(stream.Bytes()[:cut])))
			if err == nil && len(got) < len(data) {
				silent++
				longest = max(longest, len(got))
			}
		}
		fmt.Printf("%-6s %5d places to cut: no error at %d of them, with up to %d of %d bytes\n", c.name, stream.Len()-1, silent, longest, len(data))
		fine = fine && (silent == 0) == c.ends
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/klauspost/compress@v1.20.4 github.com/golang/snappy@v1.0.0 github.com/pierrec/lz4/v4@v4.1.33 >/dev/null 2>&1
go run .
