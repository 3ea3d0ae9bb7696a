#!/usr/bin/env bash
# gofrs/flock, and flock(2): an attempt to make a shared lock exclusive that fails has given the shared lock up, and RLocked
# still says that it is held.
#
# Guess:    TryLock by a holder of the shared lock either makes it exclusive or returns false and changes nothing. RLocked
#           says whether the lock is held.
# Instead:  with two readers, TryLock of the first returns false and nil, and has released its shared lock: the kernel changes
#           a lock by taking the old one away first. The object goes by what it remembers: RLocked is true, TryRLock is true
#           without asking, and when the second reader leaves, a writer gets the exclusive lock beside the first reader.
# Seen:     gofrs/flock v0.13.2, Linux 6.18, go 1.26.
# Source:   flock(2) says of a conversion that it is not atomic and that the old lock is lost if LOCK_NB fails;
#           flock_lock_inode in fs/locks.c deletes the old one before it looks for conflicts. try in flock_unix.go sets its
#           flag on success only, and leaves that of the shared lock as it was. The comments of Lock speak of upgrades that
#           succeed.
# Matters:  readers of a directory that now and then try to become the one who compacts or cleans up ("if nobody else is
#           here") go on reading without a lock after each attempt that failed, and the next writer removes files under them.
#           Take the shared lock anew after a failed upgrade, through Unlock, since the object believes to have it; or use two
#           lock files.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/gofrs/flock"
)

func ask(ok bool, err error) bool {
	if err != nil {
		panic(err)
	}
	return ok
}

func main() {
	reader, other, writer := flock.New("lock"), flock.New("lock"), flock.New("lock")
	fmt.Println("two readers:", ask(reader.TryRLock()), ask(other.TryRLock()))
	alone := ask(writer.TryLock())
	fmt.Println("a writer beside them:", alone)
	upgraded := ask(reader.TryLock())
	fmt.Println("the first tries to become the writer:", upgraded)
	if err := other.Unlock(); err != nil {
		panic(err)
	}
	again, says := ask(reader.TryRLock()), reader.RLocked()
	fmt.Printf("the second has left; the first: RLocked %v, TryRLock %v\n", says, again)
	beside := ask(writer.TryLock())
	fmt.Println("a writer beside it:", beside)
	if alone || upgraded || !says || !again || !beside {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/gofrs/flock@v0.13.2 >/dev/null 2>&1
go run .
