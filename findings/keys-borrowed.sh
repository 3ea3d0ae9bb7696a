#!/usr/bin/env bash
# RoseDB, NutsDB, Bitcask (mills.io): Put keeps the caller's key in the index; a key buffer that is used again loses what was
# stored.
#
# Guess:    when Put has returned, the key has been written and copied, and the buffer is the caller's again: so it is with
#           bbolt, Pebble, Pogreb and LotusDB, and the documentation of none of these three asks for more.
# Instead:  1,000 keys of 8 bytes, formatted into one buffer: after the last Put of RoseDB and NutsDB, 999 of them are "not
#           found", and of Bitcask 800. Each Put returned nil. The index in memory is a tree whose nodes hold the caller's
#           slice, which now says something else. The logs on disk are right, and RoseDB and NutsDB have all 1,000 keys after
#           Close and Open; Bitcask saves its index when it is closed, and has one key from then on.
# Seen:     rosedb v2.3.5, nutsdb v1.0.4, go.mills.io/bitcask v2.1.1, go 1.26.
# Source:   Batch.Put in batch.go and MemoryBTree.Put in index of RoseDB; Tx.put in tx.go and BTree.Insert in btree.go of
#           NutsDB; WriteBatch in batch.go of Bitcask, whose radix tree takes parts of the key for its edges. None of them
#           copies. Bitcask.close calls saveIndexes.
# Matters:  a writer without allocations encodes its keys into one buffer, and a benchmark does so first of all: it then
#           measures a tree of one key, and reads that find nothing are fast. In a service the damage heals with each restart,
#           so that it looks like a race, or, with Bitcask, stays. Clone the key before Put.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/akrylysov/pogreb"
	"github.com/nutsdb/nutsdb"
	"github.com/rosedblabs/rosedb/v2"
	"go.mills.io/bitcask/v2"
)

const count = 1000

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// missing asks for all keys, each in a buffer of its own.
func missing(get func(key []byte) error) int {
	n := 0
	for i := range count {
		if get(fmt.Appendf(nil, "%08d", i)) != nil {
			n++
		}
	}
	return n
}

// store is what a database does with one key.
type store struct {
	put   func(key []byte) error
	get   func(key []byte) error
	close func() error
}

func openRose() store {
	options := rosedb.DefaultOptions
	options.DirPath = "rose"
	db, err := rosedb.Open(options)
	must(err)
	return store{
		func(key []byte) error { return db.Put(key, []byte("value")) },
		func(key []byte) error { _, err := db.Get(key); return err },
		db.Close,
	}
}

func openNuts() store {
	db, err := nutsdb.Open(nutsdb.DefaultOptions, nutsdb.WithDir("nuts"), nutsdb.WithSegmentSize(1<<20))
	must(err)
	must(db.Update(func(tx *nutsdb.Tx) error {
		if tx.ExistBucket(nutsdb.DataStructureBTree, "b") {
			return nil
		}
		return tx.NewBucket(nutsdb.DataStructureBTree, "b")
	}))
	return store{
		func(key []byte) error {
			return db.Update(func(tx *nutsdb.Tx) error { return tx.Put("b", key, []byte("value"), 0) })
		},
		func(key []byte) error {
			return db.View(func(tx *nutsdb.Tx) error { _, err := tx.Get("b", key); return err })
		},
		db.Close,
	}
}

func openBitcask() store {
	db, err := bitcask.Open("bitcask")
	must(err)
	return store{
		func(key []byte) error { return db.Put(key, []byte("value")) },
		func(key []byte) error { _, err := db.Get(key); return err },
		db.Close,
	}
}

func openPogreb() store {
	db, err := pogreb.Open("pogreb", nil)
	must(err)
	return store{
		func(key []byte) error { return db.Put(key, []byte("value")) },
		func(key []byte) error {
			value, err := db.Get(key)
			if err == nil && value == nil {
				err = os.ErrNotExist
			}
			return err
		},
		db.Close,
	}
}

func main() {
	fine := true
	for _, c := range []struct {
		name  string
		open  func() store
		kept  bool // the key is kept as it was passed
		saved bool // and the index with it
	}{{"RoseDB", openRose, true, false}, {"NutsDB", openNuts, true, false}, {"Bitcask", openBitcask, true, true}, {"Pogreb", openPogreb, false, false}} {
		s := c.open()
		buffer := make([]byte, 0, 8)
		for i := range count {
			buffer = fmt.Appendf(buffer[:0], "%08d", i)
			must(s.put(buffer))
		}
		now := missing(s.get)
		must(s.close())
		s = c.open()
		later := missing(s.get)
		must(s.close())
		fmt.Printf("%-8s of %d keys %3d are not found, after Close and Open %d\n", c.name, count, now, later)
		fine = fine && (now > 0) == c.kept && (later > 0) == c.saved
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/rosedblabs/rosedb/v2@v2.3.5 github.com/nutsdb/nutsdb@v1.0.4 go.mills.io/bitcask/v2@v2.1.1 \
  github.com/akrylysov/pogreb@v0.10.2 >/dev/null 2>&1
go run .
