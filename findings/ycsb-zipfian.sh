#!/usr/bin/env bash
# go-ycsb: a "zipfian" workload is as skewed as one over ten billion keys, however many keys there are.
#
# Guess:    requestdistribution=zipfian over N records draws from a zipfian distribution over N, with constant 0.99, and
#           spreads the hot ones by a hash: of 1,000 records the hottest gets 13 % of the requests, and the hottest 1 % gets
#           40 %.
# Instead:  it draws from 10,000,000,000 items with a fixed zeta of 26.469, and takes the hash of that modulo N. The hottest
#           record gets 3.8 % whatever N is, and the rest of the skew is folded onto the keys evenly: the hottest 1 % get 13 %
#           of the requests of 1,000 records, 30 % of 100,000 and about 55 % of 10,000,000, where zipfian has 40, 61 and 75 %.
# Seen:     go-ycsb v1.0.3, go 1.26. YCSB itself, from which it was taken over, has the same constants.
# Source:   NewScrambledZipfian in pkg/generator/scrambled_zipfian.go.
# Matters:  hit rates and contention of caches and hash tables hang on just these shares. Results "YCSB, zipfian 0.99" of a
#           tool that draws over its N cannot be compared with those of go-ycsb, and a cache for 1 % of a small data set hits
#           three times as often in one as in the other. Data that grows makes the workload more skewed, not just larger:
#           state the share of the hottest keys.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"math/rand"
	"os"
	"slices"

	"github.com/pingcap/go-ycsb/pkg/generator"
)

// shares draws a million times and returns what part the hottest key and the hottest 1 % of n keys got.
func shares(n int64, next func(*rand.Rand) int64) (one, percent float64) {
	const draws = 1_000_000
	r := rand.New(rand.NewSource(1))
	counts := make([]int, n)
	for range draws {
		counts[next(r)]++
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	sum := 0
	for _, c := range counts[:n/100] {
		sum += c
	}
	return float64(counts[0]) / draws, float64(sum) / draws
}

func main() {
	fine := true
	for _, n := range []int64{1000, 100_000} {
		one, percent := shares(n, generator.NewScrambledZipfian(0, n-1, 0.99).Next)
		plain, plainPercent := shares(n, generator.NewZipfianWithRange(0, n-1, 0.99).Next)
		fmt.Printf("%6d keys: the hottest %4.1f %%, the hottest 1 %% %4.1f %%; zipfian over that many: %4.1f and %4.1f %%\n",
			n, 100*one, 100*percent, 100*plain, 100*plainPercent)
		fine = fine && one > 0.03 && one < 0.045 && plain > 1.5*one && plainPercent > 1.5*percent
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/pingcap/go-ycsb/pkg/generator@v1.0.3 github.com/pingcap/go-ycsb/pkg/util@v1.0.3 >/dev/null 2>&1
go run .
