#!/usr/bin/env bash
# Bitcask (mills.io): a key with an empty value is there, until the index is built from the data files.
#
# Guess:    an empty value is a value, or Put refuses it. Whether a key is there does not depend on how the database was
#           opened.
# Instead:  Put returns nil, Has is true, Get returns an empty value, and so it is after Close and Open. After the process was
#           killed the key is not found: on disk, an empty value is what a delete looks like.
# Seen:     go.mills.io/bitcask v2.1.1, go 1.26.
# Source:   loadIndexFromDatafile in bitcask.go takes each entry without a value for a delete; WriteBatch in batch.go only one
#           whose value is nil.
# Matters:  sets of keys (seen ids, members, markers) are stored with empty values, and are empty after a crash, while records
#           with values are all there: it looks like a bug of the application. Store one byte.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"os/exec"

	"go.mills.io/bitcask/v2"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open(dir string) *bitcask.Bitcask {
	db, err := bitcask.Open(dir, bitcask.WithSyncWrites(true))
	must(err)
	return db
}

// has returns whether the two keys are there.
func has(db *bitcask.Bitcask) [2]bool {
	return [2]bool{db.Has([]byte("empty")), db.Has([]byte("byte"))}
}

func main() {
	put := func(db *bitcask.Bitcask) [2]bool {
		must(db.Put([]byte("empty"), []byte{}))
		must(db.Put([]byte("byte"), []byte{1}))
		return has(db)
	}
	if len(os.Args) > 1 {
		put(open("killed"))
		self, err := os.FindProcess(os.Getpid())
		must(err)
		must(self.Kill())
		select {}
	}
	db := open("closed")
	before := put(db)
	must(db.Close())
	db = open("closed")
	closed := has(db)
	must(db.Close())
	if err := exec.Command(os.Args[0], "killed").Run(); err == nil {
		panic("it was not killed")
	}
	db = open("killed")
	killed := has(db)
	must(db.Close())
	fmt.Println("a key with an empty value, and one with a byte, are there:", before)
	fmt.Println("after Close and Open:", closed)
	fmt.Println("after the process was killed:", killed)
	if before != [2]bool{true, true} || closed != [2]bool{true, true} || killed != [2]bool{false, true} {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get go.mills.io/bitcask/v2@v2.1.1 >/dev/null 2>&1
go build -o empty .
./empty
