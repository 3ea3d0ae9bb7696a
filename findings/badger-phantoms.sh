#!/usr/bin/env bash
# Badger: two transactions that each iterate over a prefix, find it empty and write into it both commit.
#
# Guess:    transactions are serializable, and write skew is what the documentation of NewTransaction says they avoid. Of two
#           that read the same range and then each write what the other should have seen, one is ErrConflict, as when both
#           have asked for one key with Get and not found it.
# Instead:  both commit. An iterator takes note of the keys that it has returned, and of nothing else: that a range was empty,
#           or ended where it did, is not part of what a transaction has read. A Get that finds nothing is noted, and
#           conflicts.
# Seen:     badger v4.9.6, go 1.26, in memory and on disk.
# Source:   Iterator.Item in iterator.go and Txn.Get in txn.go call addReadKey, by key; the oracle compares the hashes of read
#           keys with those that were committed since. Nothing keeps a range.
# Matters:  "at most one lease under this prefix", a limit of entries for each tenant, the next free number in a queue: all
#           are read by iteration and decided by what is not there. Under load two of them are there, and a test with one
#           goroutine never sees it. Write one common key in each such transaction (a counter of the prefix), after a Get of
#           it.
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

	"github.com/dgraph-io/badger/v4"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// leases counts what lies under the prefix, as a transaction sees it.
func leases(txn *badger.Txn) int {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte("lease/")})
	defer it.Close()
	n := 0
	for it.Rewind(); it.Valid(); it.Next() {
		it.Item()
		n++
	}
	return n
}

func main() {
	db, err := badger.Open(badger.DefaultOptions("db").WithLogger(nil))
	must(err)
	defer func() { must(db.Close()) }()

	first, second := db.NewTransaction(true), db.NewTransaction(true)
	fmt.Printf("two transactions find %d and %d leases\n", leases(first), leases(second))
	must(first.Set([]byte("lease/first"), nil))
	must(second.Set([]byte("lease/second"), nil))
	err1, err2 := first.Commit(), second.Commit()
	held := 0
	must(db.View(func(txn *badger.Txn) error { held = leases(txn); return nil }))
	fmt.Printf("each has taken one: %v, %v; there are %d\n", err1, err2, held)

	first, second = db.NewTransaction(true), db.NewTransaction(true)
	for _, txn := range []*badger.Txn{first, second} {
		if _, err := txn.Get([]byte("owner")); !errors.Is(err, badger.ErrKeyNotFound) {
			panic(err)
		}
		must(txn.Set([]byte("owner"), nil))
	}
	byKey1, byKey2 := first.Commit(), second.Commit()
	fmt.Printf("the same with Get of a key that is not there: %v, %v\n", byKey1, byKey2)

	if err1 != nil || err2 != nil || held != 2 || byKey1 != nil || !errors.Is(byKey2, badger.ErrConflict) {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/dgraph-io/badger/v4@v4.9.6 >/dev/null 2>&1
go run .
