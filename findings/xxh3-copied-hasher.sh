#!/usr/bin/env bash
# zeebo/xxh3: a copy of a seeded Hasher shares its secret, and a new seed for one changes the other.
#
# Guess:    a Hasher is a struct without pointers that matter, so that h2 := *h forks a hash after a common prefix, as it does
#           with most hashes of this kind; what is done to the copy does not touch the original.
# Instead:  writes to both are independent, but the secret made of the seed is behind a pointer. ResetSeed on the copy writes
#           another secret there: the original goes on with it and returns a sum that belongs to no seed. No error, and with
#           seed 0, or inputs below 1,088 bytes, which are hashed at the end from the seed itself, nothing is wrong.
# Seen:     zeebo/xxh3 v1.1.0, go 1.26.
# Source:   hasher.go: ResetSeed calls initSecret on the key that is there.
# Matters:  pooled or forked hashers with a seed per file or partition: checksums that are wrong only for long input and only
#           after another one has been reset look like damaged data.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"fmt"
	"os"

	"github.com/zeebo/xxh3"
)

// right reports whether the sum of n bytes is right when a copy of the hasher gets another seed in the middle.
func right(n int, seed uint64) bool {
	data := make([]byte, n)
	h := xxh3.NewSeed(seed)
	h.Write(data[:n*2/3])
	fork := *h
	fork.ResetSeed(seed + 1)
	h.Write(data[n*2/3:])
	return h.Sum64() == xxh3.HashSeed(data, seed)
}

func main() {
	short, long, plain := right(1000, 1), right(3000, 1), right(3000, 0)
	fmt.Printf("1,000 bytes: right %v; 3,000 bytes: right %v; 3,000 bytes without a seed: right %v\n", short, long, plain)
	if !short || long || !plain {
		fmt.Println("changed")
		os.Exit(1)
	}
}
EOF
go mod init finding >/dev/null 2>&1
go get github.com/zeebo/xxh3@v1.1.0 >/dev/null 2>&1
go run .
