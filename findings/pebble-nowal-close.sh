#!/usr/bin/env bash
# Pebble with DisableWAL: an orderly Close loses what was written since the last flush, and nothing says so.
#
# Guess:    without its log a database loses in a crash what is in memory; Close, which is no crash, writes the memory table out,
#           as RocksDB does on the same occasion. The option's comment speaks of crash recovery.
# Instead:  1,000 records, Close returns nil, and after Open not one of them is there. A Flush before Close keeps all of them. With
#           the log, Close flushes nothing either: it is the log that brings them back.
# Seen:     pebble v2.1.7, go 1.26.
# Source:   DB.Close in db.go closes the log and lets the memory tables go; it has no flush. RocksDB: avoid_flush_during_shutdown,
#           which is false unless set.
# Matters:  the log is switched off for bulk loads, and where another log is above the database: a replicated state machine, an
#           index beside a log. There an Open after a deploy begins at the last flush, which came whenever a memory table was
#           full, and one that trusts Close skips what it would have to replay. A comparison without logs that measures "load,
#           Close, Open, read" reads less than it has loaded. Call Flush before Close.
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

	"github.com/cockroachdb/pebble/v2"
)

const records = 1000

type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// kept writes records, closes the database, and returns how many of them are there when it is opened again.
func kept(dir string, noLog, flush bool) (n int) {
	options := func() *pebble.Options { return &pebble.Options{DisableWAL: noLog, Logger: silent{}} }
	db, err := pebble.Open(dir, options())
	must(err)
	for i := range records {
		must(db.Set(fmt.Appendf(nil, "key%08d", i), []byte("value"), pebble.NoSync))
	}
	if flush {
		must(db.Flush())
	}
	must(db.Close())
	db, err = pebble.Open(dir, options())
	must(err)
	for i := range records {
		_, closer, err := db.Get(fmt.Appendf(nil, "key%08d", i))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		must(err)
		must(closer.Close())
		n++
	}
	must(db.Close())
	return n
}

func main() {
	log, none, flushed := kept("log", false, false), kept("none", true, false), kept("flushed", true, true)
	fmt.Printf("of %d records are there after Close and Open: with the log %d, with DisableWAL %d, with DisableWAL and Flush %d\n",
		records, log, none, flushed)
	if log != records || none != 0 || flushed != records {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.25.0
MOD
go get github.com/cockroachdb/pebble/v2@v2.1.7 >/dev/null 2>&1
go run .
