#!/usr/bin/env bash
# JetStream KV: a key's TTL is made as long as the markers live when the bucket has history, and an Update takes it away for good.
#
# Guess:    Create(key, value, KeyTTL(1 s)) lives for a second. It needs LimitMarkerTTL, which says how long the marker stays that
#           tells watchers of the expiry. "Update also resets the TTL associated with the key": a lease is renewed by Update.
# Instead:  (a) with LimitMarkerTTL of a minute and history 1 the key is gone after a second; with history 2 or more the server stores
#           it with a TTL of 60 s, and nothing in the answer says so.
#           (b) after an Update, with any history, the key has no TTL any more and never expires. Update takes no option.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, go 1.26, file and memory storage.
# Source:   processJetStreamMsg in stream.go raises a TTL below SubjectDeleteMarkerTTL to that when MaxMsgsPer is not 1; in
#           jetstream/kv.go Update publishes without the header Nats-TTL, and a TTL is one message's.
# Matters:  leases, locks and heartbeats of workers in a KV: a dead owner keeps its lease for as long as markers live, a minute or
#           a day, and one that has renewed it once keeps it for ever. The tests that pass are those with history 1, the
#           default, and without a renewal. Use a bucket with TTL for leases (there each write starts anew), or publish with
#           WithMsgTTL and the expected sequence.
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

const (
	ttl    = time.Second
	marker = time.Minute
)

// lives tells whether a key with a TTL of a second, renewed once or not, is still there after four, and the TTL that the
// server has stored with it.
func lives(ctx context.Context, js jetstream.JetStream, bucket string, history uint8, renew bool) (there bool, stored string) {
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: bucket, History: history, LimitMarkerTTL: marker})
	must(err)
	revision, err := kv.Create(ctx, "lease", []byte("owner"), jetstream.KeyTTL(ttl))
	must(err)
	if renew {
		revision, err = kv.Update(ctx, "lease", []byte("owner"), revision)
		must(err)
	}
	stream, err := js.Stream(ctx, "KV_"+bucket)
	must(err)
	msg, err := stream.GetMsg(ctx, revision)
	must(err)
	time.Sleep(4 * ttl)
	_, err = kv.Get(ctx, "lease")
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		panic(err)
	}
	return err == nil, msg.Header.Get(jetstream.MsgTTLHeader)
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
	for i, c := range []struct {
		history uint8
		renew   bool
		there   bool
		stored  string
	}{
		{1, false, false, "1s"},
		{2, false, true, "60"},
		{1, true, true, ""},
		{2, true, true, ""},
	} {
		there, stored := lives(ctx, js, fmt.Sprint("b", i), c.history, c.renew)
		fmt.Printf("history %d, TTL 1s, renewed %-5v: stored with TTL %q, there after 4s: %v\n", c.history, c.renew, stored, there)
		fine = fine && there == c.there && stored == c.stored
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
