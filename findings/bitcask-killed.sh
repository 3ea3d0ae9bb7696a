#!/usr/bin/env bash
# Bitcask (mills.io): what was written after the second Open is lost when the process is killed, synced or not.
#
# Guess:    a Bitcask is its log: when a process was killed, the index is built from the data files, and every Put that had
#           returned is there, with WithSyncWrites even after the machine went down.
# Instead:  Close saves the index, and notes beside it that it is up to date. The next process loads it, puts 100 keys, each
#           synced, and is killed; the note still stands, so the one after it loads the old index and has none of the 100.
#           They lie in the data files, which nobody reads: the next Close saves the index without them, and Merge removes
#           them. A database that was never closed, and one whose Sync was called after the first Put, have them.
# Seen:     go.mills.io/bitcask v2.1.1, go 1.26.
# Source:   WriteBatch in batch.go sets IndexUpToDate to false in memory; only Close and Sync in bitcask.go write meta.json,
#           and loadIndexes goes by it.
# Matters:  a test that kills a new database passes. A service that is restarted in good order once, and is killed months
#           later, loses the months. Call Sync after the first write of each Open: it stores the note, besides syncing the
#           data.
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

const count = 100

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

func key(i int) []byte { return fmt.Appendf(nil, "key %03d", i) }

// fill puts all keys and is killed.
func fill(dir string, sync bool) {
	db := open(dir)
	for i := range count {
		must(db.Put(key(i), []byte("value")))
		if sync && i == 0 {
			must(db.Sync())
		}
	}
	self, err := os.FindProcess(os.Getpid())
	must(err)
	must(self.Kill())
	select {}
}

// left lets a process fill a database and be killed, and returns how many keys there are then.
func left(dir string, closedBefore bool, sync string) (n int) {
	if closedBefore {
		must(open(dir).Close())
	}
	if err := exec.Command(os.Args[0], dir, sync).Run(); err == nil {
		panic("it was not killed")
	}
	db := open(dir)
	defer db.Close()
	for i := range count {
		if db.Has(key(i)) {
			n++
		}
	}
	return n
}

func main() {
	if len(os.Args) > 1 {
		fill(os.Args[1], os.Args[2] == "sync")
	}
	fresh, closed, synced := left("fresh", false, ""), left("closed", true, ""), left("synced", true, "sync")
	fmt.Printf("%d keys put, killed; of a new database %d are left\n", count, fresh)
	fmt.Printf("of one that was opened and closed before: %d\n", closed)
	fmt.Printf("of one that was opened and closed before, with a Sync after the first Put: %d\n", synced)
	if fresh != count || closed != 0 || synced != count {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get go.mills.io/bitcask/v2@v2.1.1 >/dev/null 2>&1
go build -o killed .
./killed
