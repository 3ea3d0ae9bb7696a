#!/usr/bin/env bash
# Badger: DB.Size says nothing for a minute, and then counts two gigabytes that nobody has written.
#
# Guess:    Size returns what the files of the database hold, now.
# Instead:  it returns what was found at Open or at the last full minute since then: a load of 40 MB is 0 bytes, for up to a
#           minute. Then the value log counts with the length of its file, which is made 2 GiB long and is nearly all hole.
# Seen:     badger v4.9.6, go 1.26: 0 and 0 bytes after the load; 61 s later 2,147,483,646 bytes of value log, of which the
#           file system has some kilobytes. (Values of 1,000 bytes do not go there at all.)
# Source:   updateSize in db.go has a ticker of a minute; calculateSize adds up the lengths of the files by name.
# Matters:  a benchmark or a quota that asks Size for bytes on disk reads 0, or 2 GiB too much. Blocks of the files (du) say it.
#
# It takes a minute.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// onDisk returns the bytes that the file system has for the files of a kind.
func onDisk(pattern string) (n int64) {
	names, err := filepath.Glob(pattern)
	must(err)
	for _, name := range names {
		var s syscall.Stat_t
		must(syscall.Stat(name, &s))
		n += s.Blocks * 512
	}
	return n
}

func main() {
	db, err := badger.Open(badger.DefaultOptions("data").WithLogger(nil).WithMemTableSize(16 << 20))
	must(err)
	w := db.NewWriteBatch()
	r := rand.New(rand.NewSource(1))
	for i := range 40000 {
		value := make([]byte, 1000)
		r.Read(value)
		must(w.Set(fmt.Appendf(nil, "key%08d", i), value))
	}
	must(w.Flush())
	lsm, vlog := db.Size()
	fmt.Printf("after the load:     Size says %d and %d, on disk are %d and %d\n", lsm, vlog, onDisk("data/*.sst"), onDisk("data/*.vlog"))
	time.Sleep(61 * time.Second)
	lsm2, vlog2 := db.Size()
	fmt.Printf("a minute later:     Size says %d and %d, on disk are %d and %d\n", lsm2, vlog2, onDisk("data/*.sst"), onDisk("data/*.vlog"))
	same := lsm == 0 && vlog == 0 && lsm2 > 10<<20 && vlog2 > 1<<30 && onDisk("data/*.vlog") < 1<<20
	must(db.Close())
	if !same {
		fmt.Println("this is no longer as described")
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
