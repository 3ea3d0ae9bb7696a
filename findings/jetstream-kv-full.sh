#!/usr/bin/env bash
# JetStream KV: a bucket with history that is full refuses Delete, Purge and smaller values, so that its API cannot empty it.
#
# Guess:    when Put says that MaxBytes is reached, deleting keys makes room: with Delete, or else with Purge, which drops the
#           history of a key, or with PurgeDeletes after that. With history 1 it is so.
# Instead:  with History 5 all of them get "maximum bytes exceeded": a delete is a message, and the bucket discards new ones. A
#           Purge of a key of 1,000 bytes is refused for its marker of some 70. A smaller value for a key is refused, too.
#           PurgeDeletes returns nil and has nothing to do. What is left is to purge the stream under it, KV_bucket, by subject.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, go 1.26, file storage.
# Source:   jetstream/kv.go sets Discard: DiscardNew. The server's filestore.go admits a message to a full stream only if its
#           subject is at MaxMsgsPer and what goes for it is as large: with history 1 that is each known key.
# Matters:  a KV as the place for offsets, leases or fencing numbers of workers: once something else has filled the bucket, nobody
#           can take or give up a lease, and the clean-up job that would help fails as they do. Give such keys a bucket of their
#           own with history 1, or watch Status().Bytes().
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// full is err_code of a stream that has reached MaxBytes.
const full = 10077

func refused(err error) bool {
	var e jetstream.JetStreamError
	return errors.As(err, &e) && e.APIError() != nil && e.APIError().ErrorCode == full
}

// tryAll fills a bucket and tells which calls are refused then.
func tryAll(ctx context.Context, js jetstream.JetStream, history uint8) (del, purge, smaller, purgeDeletes, under bool) {
	name := fmt.Sprint("b", history)
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, MaxBytes: 64 << 10, History: history})
	must(err)
	fill := func(prefix string, size int) {
		for i := 0; err == nil; i++ {
			_, err = kv.Put(ctx, fmt.Sprintf("%s%06d", prefix, i), make([]byte, size))
		}
		if !refused(err) {
			panic(err)
		}
		err = nil
	}
	fill("large", 1000)
	fill("small", 0)
	del = refused(kv.Delete(ctx, "large000000"))
	purge = refused(kv.Purge(ctx, "large000001"))
	_, err = kv.Put(ctx, "large000002", []byte("1"))
	smaller = refused(err)
	purgeDeletes = refused(kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
	stream, err := js.Stream(ctx, "KV_"+name)
	must(err)
	must(stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+name+".large000003")))
	_, err = kv.Put(ctx, "large000003", []byte("1"))
	return del, purge, smaller, purgeDeletes, refused(err)
}

func main() {
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: "store", Port: -1, Host: "127.0.0.1", NoLog: true, NoSigs: true})
	must(err)
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fine := true
	for _, history := range []uint8{1, 5} {
		del, purge, smaller, purgeDeletes, under := tryAll(ctx, js, history)
		fmt.Printf("history %d, full: refused are Delete %v, Purge %v, a smaller value %v, PurgeDeletes %v; a Put after a purge of the stream %v\n",
			history, del, purge, smaller, purgeDeletes, under)
		want := history > 1
		fine = fine && del == want && purge == want && smaller == want && !purgeDeletes && !under
	}
	if !fine {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 >/dev/null 2>&1
go run .
