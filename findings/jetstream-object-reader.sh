#!/usr/bin/env bash
# JetStream object store: the context of Get is a time limit for reading all of the object, 5 seconds if it has none; and a
# reader whose object is replaced meanwhile waits for that limit.
#
# Guess:    Get(context.Background()) has no limit, or one for the answer to Get; the reader that it returns can be read at
#           any pace. An object is chunks under an id of its own, so who has begun to read gets it to the end although its
#           name is put anew, or fails at once with an error that says so (ErrDigestMismatch, ErrObjectNotFound).
# Instead:  (a) a reader that takes longer than 5 s in all, be it one pause of 6 s between two reads, gets "nats: timeout" in
#           the middle. Get puts a deadline of its own on a context without one, also on one of WithCancel, and keeps it for
#           the reader.
#           (b) Put ends by purging the chunks of the object before. A reader has what the client was already sent, then it
#           waits to its deadline, and gets the same "nats: timeout", as if the server were slow.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, go 1.26: in (b) 2 of 16 MiB, then nothing for the 8 s of its context.
# Source:   Get, objResult.Read and Put of jetstream/object.go in nats.go: wrapContextWithoutDeadline, and the purge of the
#           chunks after the new metadata.
# Matters:  small objects and quick readers never see it; a restore of some gigabytes fails always, by a timeout that calls
#           for another try. Give Get a deadline for the whole, and put new versions under new names.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const size = 16 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func put(store jetstream.ObjectStore, text string) {
	_, err := store.PutBytes(context.Background(), "object", bytes.Repeat([]byte(text), size/len(text)))
	must(err)
}

// read begins to read an object, lets something happen, and reads on. It returns how much it got, and how and when that ended.
func read(store jetstream.ObjectStore, limit time.Duration, meanwhile func()) (n int64, waited time.Duration, err error) {
	put(store, "old ")
	ctx := context.Background()
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	object, err := store.Get(ctx, "object")
	must(err)
	defer object.Close()
	first := make([]byte, 1000)
	_, err = io.ReadFull(object, first)
	must(err)
	meanwhile()
	begin := time.Now()
	n, err = io.Copy(io.Discard, object)
	return n + int64(len(first)), time.Since(begin).Round(time.Second), err
}

func main() {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: "data", NoLog: true, NoSigs: true})
	must(err)
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		panic("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	store, err := js.CreateObjectStore(context.Background(), jetstream.ObjectStoreConfig{Bucket: "bucket"})
	must(err)

	pause := func() { time.Sleep(6 * time.Second) }
	slow, _, slowErr := read(store, 0, pause)
	fmt.Printf("a pause of 6 s, no deadline:         %8d bytes, then %v\n", slow, slowErr)
	limited, _, limitedErr := read(store, time.Minute, pause)
	fmt.Printf("a pause of 6 s, deadline in 1 m:     %8d bytes, then %v\n", limited, limitedErr)
	replaced, waited, replacedErr := read(store, 8*time.Second, func() { put(store, "new ") })
	fmt.Printf("replaced meanwhile, deadline in 8 s: %8d bytes, then %v after %v\n", replaced, replacedErr, waited)
	nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
	if !errors.Is(slowErr, nats.ErrTimeout) || limitedErr != nil || limited != size || replaced == size || !errors.Is(replacedErr, nats.ErrTimeout) {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.25.0
MOD
go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go run .
