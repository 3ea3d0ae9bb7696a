#!/usr/bin/env bash
# Roaring bitmaps: two bitmaps that are equal have different checksums and different bytes.
#
# Guess:    Checksum is a function of the set: it is documented as a key for hash maps and for quick comparisons, so that
#           equal bitmaps have equal checksums. A serialized bitmap is the set in sorted form, so that equal sets are equal
#           bytes, too.
# Instead:  both go by the containers. The numbers 0 to 999, added as one range or one after the other, are Equals, with two
#           checksums and with 15 or 2,016 bytes. After RunOptimize on both they agree.
# Seen:     roaring v2.30.0, go 1.26.
# Source:   Checksum in roaring.go hashes arrays, bitmaps and runs as they lie; AddRange makes runs, Add never does. The
#           format (the RoaringFormatSpec) leaves the choice of container to the writer.
# Matters:  bitmaps of live pages or of deleted records that two replicas have built by different ways to the same state
#           differ by checksum, and each comparison of sums, each content address and each manifest of "what changed" calls
#           equal sets different; as keys of a map they are two entries. Call RunOptimize before Checksum or ToBytes, every
#           time: a later Add may change the form again.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/RoaringBitmap/roaring/v2"
)

func main() {
	byRange, byOne := roaring.New(), roaring.New()
	byRange.AddRange(0, 1000)
	for i := range uint32(1000) {
		byOne.Add(i)
	}
	equal := byRange.Equals(byOne)
	sums := byRange.Checksum() == byOne.Checksum()
	b1, err1 := byRange.ToBytes()
	b2, err2 := byOne.ToBytes()
	if err1 != nil || err2 != nil {
		panic(fmt.Sprint(err1, err2))
	}
	fmt.Printf("0 to 999, as a range and one by one: equal %v, checksums equal %v, %d and %d bytes\n", equal, sums, len(b1), len(b2))
	byRange.RunOptimize()
	byOne.RunOptimize()
	after := byRange.Checksum() == byOne.Checksum()
	fmt.Printf("after RunOptimize: checksums equal %v\n", after)
	if !equal || sums || bytes.Equal(b1, b2) || !after {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/RoaringBitmap/roaring/v2@v2.30.0 >/dev/null 2>&1
go run .
