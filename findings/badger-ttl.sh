#!/usr/bin/env bash
# Badger: an entry lives up to a second less than its TTL, so that one of half a second may never be seen.
#
# Guess:    WithTTL(d) makes an entry that is there for d. If its time is kept in coarse steps, it is rounded up: a TTL is a promise
#           to keep, as a timer fires not before its time.
# Instead:  the end is the present time plus d with the fraction of the second cut off, and at that second the entry is gone.
#           A TTL of 500 ms, set in the second half of a second, lives until the next one begins; set in the first half it is
#           gone when Update returns. One of 1,500 ms lived 500 to 1,500 ms.
# Seen:     badger v4.9.6, go 1.26.
# Source:   WithTTL in structs.go stores time.Now().Add(d).Unix(); isDeletedOrExpired in iterator.go compares with <=.
# Matters:  leases, deduplication windows and idempotency keys of a second or two: up to all of the promised time is missing, how
#           much depends on the clock at the time of the write, and tests are red now and then. Add a second to each TTL, or
#           set ExpiresAt to the next whole second.
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

	"github.com/dgraph-io/badger/v4"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// lived sets an entry at a point within a second and returns for how long it can be read after Update has returned.
func lived(db *badger.DB, point, ttl time.Duration) time.Duration {
	key := fmt.Appendf(nil, "%v %v", point, ttl)
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(time.Second + point).Sub(now))
	must(db.Update(func(txn *badger.Txn) error { return txn.SetEntry(badger.NewEntry(key, key).WithTTL(ttl)) }))
	set := time.Now()
	for {
		err := db.View(func(txn *badger.Txn) error { _, err := txn.Get(key); return err })
		if errors.Is(err, badger.ErrKeyNotFound) {
			return time.Since(set)
		}
		must(err)
		time.Sleep(time.Millisecond)
	}
}

func main() {
	db, err := badger.Open(badger.DefaultOptions("db").WithLogger(nil))
	must(err)
	defer func() { must(db.Close()) }()
	fine := true
	for _, c := range []struct{ point, ttl, most time.Duration }{
		{100 * time.Millisecond, 500 * time.Millisecond, 50 * time.Millisecond},
		{700 * time.Millisecond, 1000 * time.Millisecond, 400 * time.Millisecond},
		{400 * time.Millisecond, 1500 * time.Millisecond, 800 * time.Millisecond},
	} {
		got := lived(db, c.point, c.ttl)
		fmt.Printf("TTL %-5v, set %v after a full second: lived %v\n", c.ttl, c.point, got.Round(time.Millisecond))
		fine = fine && got <= c.most
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/dgraph-io/badger/v4@v4.9.6 >/dev/null 2>&1
go run .
