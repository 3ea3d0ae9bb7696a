#!/usr/bin/env bash
# Ristretto: a cache for 100 items of cost 1 holds one.
#
# Guess:    MaxCost 100 and Set with cost 1 make a cache of 100 items: the comment of MaxCost has this very example, and says
#           that costs may be in whatever units one chooses.
# Instead:  the cache adds to each cost what it takes itself for an item, in bytes: 56 here. With MaxCost 100 the second item
#           pushes the first one out; with 1,000, 17 stay. Metrics.CostAdded has the sum, which is 57 times what was passed.
#           With IgnoreInternalCost it is as one would guess.
# Seen:     ristretto v2.4.2, go 1.26, amd64.
# Source:   processItems in cache.go adds itemSize, the size of a storeItem[any], unless IgnoreInternalCost is set, which is
#           false by default; the comment of that field says when it is useful.
# Matters:  a cache that counts blocks, pages or open tables keeps a hundredth of what it was made for and works, slowly: no
#           error, no metric that says "full of overhead". In a comparison of caches or of eviction policies by hit rate it
#           loses to each other one. Set IgnoreInternalCost whenever costs are not bytes.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/dgraph-io/ristretto/v2"
)

// held puts 50 items of cost 1 into a cache and returns how many of them are there, and the cost that the cache has counted.
func held(limit int64, ignore bool) (int, uint64) {
	cache, err := ristretto.NewCache(&ristretto.Config[int, int]{
		NumCounters: 10_000, MaxCost: limit, BufferItems: 64, IgnoreInternalCost: ignore, Metrics: true,
	})
	if err != nil {
		panic(err)
	}
	defer cache.Close()
	for i := range 50 {
		cache.Set(i, i, 1)
		cache.Wait()
	}
	n := 0
	for i := range 50 {
		if _, found := cache.Get(i); found {
			n++
		}
	}
	return n, cache.Metrics.CostAdded()
}

func main() {
	small, _ := held(100, false)
	large, cost := held(1000, false)
	plain, plainCost := held(100, true)
	fmt.Printf("50 items of cost 1: MaxCost 100 holds %d, MaxCost 1000 holds %d, which have cost %d\n", small, large, cost)
	fmt.Printf("with IgnoreInternalCost: MaxCost 100 holds %d, which have cost %d\n", plain, plainCost)
	if small != 1 || large < 5 || large > 30 || plain != 50 || plainCost != 50 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/dgraph-io/ristretto/v2@v2.4.2 >/dev/null 2>&1
go run .
