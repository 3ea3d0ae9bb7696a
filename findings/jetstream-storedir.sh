#!/usr/bin/env bash
# JetStream: two servers can have the same StoreDir at once, and one's acknowledged messages are gone at the next start.
#
# Guess:    a server locks its StoreDir, or sees at least that it is in use: the second one does not start, or not JetStream.
# Instead:  both start, both have the stream as it was, and both acknowledge: with the same sequence, for different messages,
#           into the same file. After both have stopped cleanly, a third start has one message of the two, without a word.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, go 1.26, file storage.
# Source:   EnableJetStream in server/jetstream.go makes the directory and tries to write there, and takes no lock;
#           newFileStore in server/filestore.go neither.
# Matters:  a rolling restart whose old process is slow to end, two embedded servers with one directory by default, a volume
#           that is mounted twice: nothing fails until messages are missing. Who embeds the server has to lock the directory.
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
	if !s.ReadyForConnections(20*time.Second) || !s.JetStreamEnabled() {
		fmt.Println("CHANGED: a server does not start on a directory that another one has")
		os.Exit(1)
	}
	nc, err := nats.Connect(s.ClientURL())
	must(err)
	js, err = jetstream.New(nc)
	must(err)
	return func() { nc.Close(); s.Shutdown(); s.WaitForShutdown() }, js
}

func publish(js jetstream.JetStream, text string) uint64 {
	ack, err := js.Publish(context.Background(), "stream.x", []byte(text))
	must(err)
	return ack.Sequence
}

// held returns what messages the stream holds.
func held(js jetstream.JetStream) (texts []string) {
	s, err := js.Stream(context.Background(), "stream")
	must(err)
	last := s.CachedInfo().State.LastSeq
	for i := uint64(1); i <= last; i++ {
		m, err := s.GetMsg(context.Background(), i)
		must(err)
		texts = append(texts, string(m.Data))
	}
	return texts
}

func main() {
	stopFirst, first := start()
	_, err := first.CreateStream(context.Background(), jetstream.StreamConfig{Name: "stream", Subjects: []string{"stream.>"}})
	must(err)
	publish(first, "before")
	stopSecond, second := start()
	fmt.Printf("acknowledged by the second server: number %d; by the first: number %d\n", publish(second, "by the second"), publish(first, "by the first"))
	stopSecond()
	stopFirst()
	stop, js := start()
	texts := held(js)
	stop()
	fmt.Printf("after a restart the stream has: %q\n", texts)
	if len(texts) != 2 {
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
