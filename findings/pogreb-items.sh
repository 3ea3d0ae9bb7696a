#!/usr/bin/env bash
# Pogreb: an iteration returns keys twice when new ones are put in meanwhile.
#
# Guess:    an iterator in "unspecified order" returns each key that is there from its beginning to its end once, whatever
#           else is written meanwhile: what is new may come or not, as in a map of Go. Or writes during an iteration are
#           refused.
# Instead:  of 10,000 keys of which half were read when 10,000 others were put in, some 2,800 came a second time. Nothing was
#           missing, and no call failed.
# Seen:     pogreb v0.10.2, go 1.26.
# Source:   ItemIterator.Next in iterator.go goes through the buckets of the index up to as many as there are now; linear
#           hashing in index.go makes a bucket at the end for each that it splits, and moves half of its keys there.
# Matters:  a sum, a count or a copy over a live store is too large, by as much as the store grew, and depends on what was
#           written at the time. What is not idempotent must not hang on it: remember the keys, or stop writers of new keys.
#           Overwriting and deleting is harmless.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/akrylysov/pogreb"
)

const count = 10_000

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	db, err := pogreb.Open("pogreb", nil)
	must(err)
	defer func() { must(db.Close()) }()
	put := func(kind string) {
		for i := range count {
			must(db.Put(fmt.Appendf(nil, "%s%06d", kind, i), []byte("value")))
		}
	}
	put("old")
	seen := map[string]int{}
	read := 0
	for items := db.Items(); ; {
		key, _, err := items.Next()
		if errors.Is(err, pogreb.ErrIterationDone) {
			break
		}
		must(err)
		if string(key[:3]) == "old" {
			seen[string(key)]++
			if read++; read == count/2 {
				put("new")
			}
		}
	}
	twice := 0
	for _, n := range seen {
		if n > 1 {
			twice++
		}
	}
	fmt.Printf("%d keys, %d of which were read when %d others were put in: %d came, %d of them more than once\n", count, count/2, count, len(seen), twice)
	if len(seen) != count || twice == 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/akrylysov/pogreb@v0.10.2 >/dev/null 2>&1
go run .
