#!/usr/bin/env bash
# Badger: a chain of incremental backups brings deleted keys back, when a compaction came before the backup.
#
# Guess:    Backup(w, 0), and later Backup(w, since) with what the first has returned, loaded in this order, give the database
#           of the second backup, deletes included: DB.Backup is documented as the way to make incremental backups.
# Instead:  a backup writes the versions that the database still has. A compaction to the lowest level drops a delete together
#           with what it deletes, and leaves nothing that a later backup could say: the key is in the full backup, the
#           increment does not speak of it, and after both are loaded it is there with its old value. No call fails, and
#           without a compaction in between all is well.
# Seen:     badger v4.9.6, go 1.26; the compaction here is that of Close with WithCompactL0OnClose, which just comes when it
#           is wanted. (Which version to pass is a matter of its own: badger-since.sh.)
# Source:   subcompact in levels.go skips deleted keys without overlap below, by discardTs, which knows of open transactions
#           and of no backup; Stream.Backup in backup.go goes by what an iterator finds.
# Matters:  a restore that seems right: what users erased is back, uniqueness and counts are wrong. Whoever relies on
#           increments keeps deletes as values of his own, or makes each backup full.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
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

func open(dir string, compact bool) *badger.DB {
	db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil).WithCompactL0OnClose(compact))
	must(err)
	return db
}

func has(db *badger.DB, key string) bool {
	err := db.View(func(t *badger.Txn) error {
		_, err := t.Get([]byte(key))
		return err
	})
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		panic(err)
	}
	return err == nil
}

// restored makes a full backup with a key, deletes the key, closes and opens, makes an increment, and returns whether the
// database and what is restored from both have the key.
func restored(compact bool) (source, copied bool) {
	name := fmt.Sprintf("compact-%t", compact)
	db := open(name, compact)
	for i := range 10 {
		must(db.Update(func(t *badger.Txn) error { return t.Set(fmt.Append(nil, "key", i), []byte("value")) }))
	}
	var full, increment bytes.Buffer
	since, err := db.Backup(&full, 0)
	must(err)
	must(db.Update(func(t *badger.Txn) error { return t.Delete([]byte("key5")) }))
	must(db.Update(func(t *badger.Txn) error { return t.Set([]byte("key6"), []byte("new")) }))
	must(db.Close())
	db = open(name, compact)
	_, err = db.Backup(&increment, since)
	must(err)
	source = has(db, "key5")
	must(db.Close())

	db = open(name+"-restored", false)
	must(db.Load(&full, 16))
	must(db.Load(&increment, 16))
	copied = has(db, "key5")
	must(db.Close())
	return source, copied
}

func main() {
	source, copied := restored(false)
	fmt.Printf("without a compaction: the database has the deleted key %t, the restored one %t\n", source, copied)
	sourceAfter, copiedAfter := restored(true)
	fmt.Printf("after a compaction:   the database has the deleted key %t, the restored one %t\n", sourceAfter, copiedAfter)
	if source || copied || sourceAfter || !copiedAfter {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.25.0
MOD
go get github.com/dgraph-io/badger/v4@v4.9.6 >/dev/null 2>&1
go run .
