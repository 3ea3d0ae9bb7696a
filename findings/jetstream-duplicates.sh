#!/usr/bin/env bash
# JetStream: a stream's memory of message ids is neither what the stream holds nor what it was promised to be. It outlives the
# messages while the server runs, and is made anew from the messages that are left when the server starts.
#
# Guess:    within the window of duplicates an id that was taken is refused, and one that was purged may be published again.
# Instead:  (a) after a purge (or DeleteMsg) the same id is acknowledged with the sequence of the message that is gone, as a
#           duplicate, and nothing is stored: the publisher is told that the stream has it, and it holds nothing.
#           (b) in a work queue a message that was acknowledged is gone as well, and a restart of the server forgets its id:
#           published again within the window it is stored, and worked on, a second time. So it is with every message that a
#           limit (MaxMsgs, MaxMsgsPerSubject, MaxAge) has dropped.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, file storage, window of 10 minutes.
# Source:   purge in stream.go leaves the map of ids as it is; rebuildDedupe reads the ids from what the store has.
# Matters:  "exactly once within the window" holds for streams that keep their messages for the window, and not over a purge.
#           A worker whose output goes into a work queue needs another way: the expected last sequence, or ids at the reader.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"context"
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

func start() (stop func(), js jetstream.JetStream) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: "data", NoLog: true, NoSigs: true})
	must(err)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		panic("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	must(err)
	js, err = jetstream.New(nc)
	must(err)
	return func() { nc.Close(); s.Shutdown(); s.WaitForShutdown() }, js
}

// publish sends a message with an id, and returns whether it was called a duplicate and how many the stream holds then.
func publish(js jetstream.JetStream, stream, id string) (duplicate bool, held uint64) {
	ctx := context.Background()
	ack, err := js.Publish(ctx, stream+".out", []byte(id), jetstream.WithMsgID(id))
	must(err)
	s, err := js.Stream(ctx, stream)
	must(err)
	info, err := s.Info(ctx)
	must(err)
	fmt.Printf("  %s, id %s: acknowledged as sequence %d, duplicate %v; the stream holds %d\n", stream, id, ack.Sequence, ack.Duplicate, info.State.Msgs)
	return ack.Duplicate, info.State.Msgs
}

func main() {
	ctx := context.Background()
	stop, js := start()
	kept, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept.>"}, Duplicates: 10 * time.Minute})
	must(err)
	queue, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "queue", Subjects: []string{"queue.>"}, Retention: jetstream.WorkQueuePolicy, Duplicates: 10 * time.Minute})
	must(err)
	consumer, err := queue.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "worker", AckPolicy: jetstream.AckExplicitPolicy})
	must(err)
	publish(js, "kept", "a")
	publish(js, "queue", "a")
	must(kept.Purge(ctx))
	message, err := consumer.Next()
	must(err)
	must(message.DoubleAck(ctx))
	fmt.Println("purged, and worked on:")
	purgedTold, purgedHeld := publish(js, "kept", "a")
	workedTold, _ := publish(js, "queue", "a")
	stop()
	stop, js = start()
	defer stop()
	fmt.Println("after a restart of the server:")
	againTold, againHeld := publish(js, "queue", "a")
	if !purgedTold || purgedHeld != 0 || !workedTold || againTold || againHeld != 1 {
		fmt.Println("this is no longer as described")
		os.Exit(1)
	}
}
GO
cat >go.mod <<'MOD'
module finding

go 1.25.0
MOD
go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 >/dev/null 2>&1
go run .
