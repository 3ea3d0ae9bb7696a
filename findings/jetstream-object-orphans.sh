#!/usr/bin/env bash
# JetStream object store: when two puts of one name overlap, the chunks of the one that ended first stay in the bucket for
# good.
#
# Guess:    a put of a name that is there replaces it, and the bucket then holds the one object: whichever of two puts ends
#           last, the other's chunks are dropped, as those of an earlier version are.
# Instead:  two puts of 1 MiB that overlap both return nil, and the bucket has 2 MiB. Nothing refers to the first: List has
#           one object of 1 MiB, a further put does not drop it, and Delete of the name neither: the bucket is empty and holds
#           a MiB. With MaxBytes it fills up.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, go 1.26, file storage.
# Source:   obs.Put in jetstream/object.go asks for the object's information first, then stores chunks and the new
#           information, and then purges the chunks of what it had found first. The information is stored without a condition.
# Matters:  "the newest checkpoint" under one name, put by two workers of which one was believed dead, or a put with a time
#           limit that is tried again while the first is still on its way: each leaves the size of an object, until the disk
#           or the limit is full, and no call of the object store names or removes it. Put under names of their own, or
#           compare Status().Size with the sum of List, and purge the subjects $O.bucket.C.<nuid> that no object has.
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

const size = 1 << 20

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// meanwhile is a reader that lets something happen before its first byte.
type meanwhile struct {
	io.Reader
	do func()
}

func (m *meanwhile) Read(p []byte) (int, error) {
	if m.do != nil {
		m.do()
		m.do = nil
	}
	return m.Reader.Read(p)
}

func main() {
	ctx := context.Background()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: "store", NoLog: true, NoSigs: true})
	must(err)
	go s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(err)
	bucket, err := js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: "bucket"})
	must(err)

	text := bytes.Repeat([]byte("x"), size)
	held := func() (inBucket, listed uint64) {
		status, err := bucket.Status(ctx)
		must(err)
		objects, err := bucket.List(ctx)
		if !errors.Is(err, jetstream.ErrNoObjectsFound) {
			must(err)
		}
		for _, o := range objects {
			listed += o.Size
		}
		return status.Size() >> 10, listed >> 10
	}
	put := func() {
		_, err := bucket.PutBytes(ctx, "object", text)
		must(err)
	}
	put()
	put()
	one, listedOne := held()
	fmt.Printf("two puts in a row: %d KiB in the bucket, %d KiB listed\n", one, listedOne)
	_, err = bucket.Put(ctx, jetstream.ObjectMeta{Name: "object"}, &meanwhile{bytes.NewReader(text), put})
	must(err)
	two, listedTwo := held()
	fmt.Printf("two puts that overlap: %d KiB in the bucket, %d KiB listed\n", two, listedTwo)
	put()
	next, listedNext := held()
	fmt.Printf("another put: %d KiB in the bucket, %d KiB listed\n", next, listedNext)
	must(bucket.Delete(ctx, "object"))
	none, listedNone := held()
	fmt.Printf("deleted: %d KiB in the bucket, %d KiB listed\n", none, listedNone)
	const object = size >> 10
	if one > object*3/2 || two < 2*object || listedTwo != object || next < 2*object || none < object || listedNone != 0 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 >/dev/null 2>&1
go run .
