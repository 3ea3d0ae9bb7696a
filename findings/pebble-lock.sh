#!/usr/bin/env bash
# Pebble: the lock of a database is lost when its own process reads the directory, and does not hold against the same process
# under another name of the directory.
#
# Guess:    while a DB is open, nobody else can open its directory: no other process, whatever files the first one reads, and
#           not the same process by a relative path here and an absolute one there.
# Instead:  (a) the process copies the directory's files, LOCK among them (a backup, tar, a checksum of all files). From then
#           on any other process can open the database, although the first has it open. Here the second one only opened and
#           closed it, and the first went on: at the next Open a table did not fit its MANIFEST.
#           (b) Open("data") and then Open of its absolute path in one process both succeed. Both acknowledged a synced write;
#           what the first wrote was gone afterwards, without an error.
# Seen:     pebble v2.1.7, go 1.26, Linux 6.18. The error in (a): "object size mismatch".
# Source:   vfs/file_lock_unix.go takes a lock of fcntl (F_SETLK), which belongs to the process and goes with the first
#           descriptor of the file that it closes, see fcntl(2); and its list of what this process has locked has names, not
#           inodes.
# Matters:  who copies a live directory must leave out LOCK, and who opens stores by paths that users give must make them
#           absolute and resolve links first. DB.Checkpoint is the backup that does not meet this.
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
	"os/exec"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func open(dir string) (*pebble.DB, error) { return pebble.Open(dir, &pebble.Options{Logger: silent{}}) }

// opens reports whether another process can open the database, and close it.
func opens(dir string) bool {
	err := exec.Command(os.Args[0], dir).Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		panic(err)
	}
	return err == nil
}

// readAll reads what files a directory has.
func readAll(dir string) {
	names, err := filepath.Glob(dir + "/*")
	must(err)
	for _, name := range names {
		_, err := os.ReadFile(name)
		must(err)
	}
}

func otherProcess() (before, after bool, damage error) {
	db, err := open("one")
	must(err)
	must(db.Set([]byte("key"), []byte("value"), pebble.Sync))
	before = opens("one")
	readAll("one")
	after = opens("one")
	must(db.Set([]byte("another"), []byte("value"), pebble.Sync))
	must(db.Flush())
	must(db.Close())
	db, damage = open("one")
	if damage == nil {
		must(db.Close())
	}
	return before, after, damage
}

func otherName() (same, other, lost error) {
	db, err := open("two")
	must(err)
	_, same = open("two")
	absolute, err := filepath.Abs("two")
	must(err)
	second, other := open(absolute)
	if other != nil {
		must(db.Close())
		return same, other, nil
	}
	must(db.Set([]byte("by the first"), nil, pebble.Sync))
	must(second.Set([]byte("by the second"), nil, pebble.Sync))
	must(db.Close())
	must(second.Close())
	db, err = open("two")
	must(err)
	_, closer, lost := db.Get([]byte("by the first"))
	if lost == nil {
		must(closer.Close())
	}
	must(db.Close())
	return same, nil, lost
}

func main() {
	if len(os.Args) > 1 {
		db, err := open(os.Args[1])
		if err != nil {
			os.Exit(1)
		}
		must(db.Close())
		return
	}
	before, after, damage := otherProcess()
	fmt.Printf("another process opens it: %t; after the first has read its files: %t; afterwards: %v\n", before, after, damage)
	same, other, lost := otherName()
	fmt.Printf("by the same name: %v; by another: %v; a synced write of the first: %v\n", same, other, lost)
	if before || !after || same == nil || other != nil || lost != pebble.ErrNotFound {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.25.0
MOD
go get github.com/cockroachdb/pebble/v2@v2.1.7 >/dev/null 2>&1
go build -o finding .
./finding
