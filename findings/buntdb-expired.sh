#!/usr/bin/env bash
# buntdb: a key that has expired is not found by Get, and is still there for Len, Ascend and every index.
#
# Guess:    within one transaction there is one answer to whether a key is there. An expired key is gone for all calls, or for none
#           until it is removed.
# Instead:  for up to a second after its time Get says ErrNotFound, while in the same transaction Ascend calls the iterator with it
#           and its value, and Len counts it. Then a goroutine removes it.
# Seen:     buntdb v1.3.0, go 1.26: Len and Ascend had the key for 0.2 to 1 s after Get had lost it.
# Source:   Tx.Get in buntdb.go asks whether the item has expired; Tx.scan, which all iterations go through, and Tx.Len do not.
#           backgroundManager removes what has expired, once a second.
# Matters:  sessions, leases and caches are read by key, and exported, counted or shipped by iteration. An export holds what
#           nobody can read any more, with values that should be gone; a comparison of a copy with its source by Len never comes
#           out; a scan for "who holds a lease" finds owners that have lost it. Check TTL in the iterator, which is
#           ErrNotFound for these.
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
	"time"

	"github.com/tidwall/buntdb"
)

const ttl = 300 * time.Millisecond

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	db, err := buntdb.Open("db")
	must(err)
	defer db.Close()
	both := 0 // transactions in which Get and Ascend have disagreed
	var first, last time.Time
	for range 5 {
		must(db.Update(func(tx *buntdb.Tx) error {
			_, _, err := tx.Set("lease", "owner", &buntdb.SetOptions{Expires: true, TTL: ttl})
			return err
		}))
		first = time.Time{}
		for listed := true; listed; time.Sleep(5 * time.Millisecond) {
			listed = false
			must(db.View(func(tx *buntdb.Tx) error {
				must(tx.Ascend("", func(key, value string) bool { listed = key == "lease" && value == "owner"; return true }))
				n, err := tx.Len()
				must(err)
				_, err = tx.Get("lease")
				if errors.Is(err, buntdb.ErrNotFound) && listed && n == 1 {
					both++
					if last = time.Now(); first.IsZero() {
						first = last
					}
				}
				return nil
			}))
		}
		fmt.Printf("TTL %v: listed and counted for %v after Get has lost it\n", ttl, last.Sub(first).Round(10*time.Millisecond))
	}
	if both == 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/tidwall/buntdb@v1.3.0 >/dev/null 2>&1
go run .
