#!/usr/bin/env bash
# NutsDB: of two writes of one key in a transaction the first one counts, and the second is dropped without an error.
#
# Guess:    the later write wins, as in every log and every map: Put of 1 and then of 2 leaves 2, Put and Delete leave
#           nothing.
# Instead:  each call returns nil, so does the commit, and the database has 1, and what was put before Delete. After Close and
#           Open it is the same: the second write never reached the file. In two transactions all is as one would guess.
# Seen:     nutsdb v1.0.4, go 1.26.
# Source:   submitEntry in pending.go stores an entry only if the transaction has none for the key.
# Matters:  a batch of events of which two concern one key, a counter that is added to twice, "insert, then correct": state
#           that is old by one write, in a store that reports success. A replayed log makes another state when its batches are
#           cut differently. Tests with one write for each key and transaction, and every benchmark, pass. Collect the writes
#           in a map first.
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

	"github.com/nutsdb/nutsdb"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open() *nutsdb.DB {
	db, err := nutsdb.Open(nutsdb.DefaultOptions, nutsdb.WithDir("nuts"), nutsdb.WithSegmentSize(1<<20))
	must(err)
	return db
}

// get returns the value of a key in a transaction of its own, or "-".
func get(db *nutsdb.DB, key string) (value string) {
	must(db.View(func(tx *nutsdb.Tx) error {
		b, err := tx.Get("b", []byte(key))
		value = string(b)
		if errors.Is(err, nutsdb.ErrKeyNotFound) || errors.Is(err, nutsdb.ErrNotFoundKey) {
			value, err = "-", nil
		}
		return err
	}))
	return value
}

func main() {
	db := open()
	must(db.Update(func(tx *nutsdb.Tx) error { return tx.NewBucket(nutsdb.DataStructureBTree, "b") }))
	must(db.Update(func(tx *nutsdb.Tx) error { return tx.Put("b", []byte("deleted"), []byte("0"), 0) }))
	must(db.Update(func(tx *nutsdb.Tx) error {
		for _, value := range []string{"1", "2"} {
			must(tx.Put("b", []byte("twice"), []byte(value), 0))
		}
		must(tx.Put("b", []byte("deleted"), []byte("1"), 0))
		must(tx.Delete("b", []byte("deleted")))
		return nil
	}))
	for _, value := range []string{"1", "2"} {
		must(db.Update(func(tx *nutsdb.Tx) error { return tx.Put("b", []byte("apart"), []byte(value), 0) }))
	}
	twice, deleted, apart := get(db, "twice"), get(db, "deleted"), get(db, "apart")
	must(db.Close())
	db = open()
	again := get(db, "twice")
	must(db.Close())
	fmt.Printf("1 and 2 put in one transaction: %s, after Close and Open %s\n", twice, again)
	fmt.Printf("1 put and deleted in one transaction: %s\n", deleted)
	fmt.Printf("1 and 2 put in two transactions: %s\n", apart)
	if twice != "1" || again != "1" || deleted != "1" || apart != "2" {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/nutsdb/nutsdb@v1.0.4 >/dev/null 2>&1
go run .
