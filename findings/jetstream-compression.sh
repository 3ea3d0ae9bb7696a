#!/usr/bin/env bash
# JetStream: a stream with S2 compression has its newest blocks uncompressed, and its limit counts what is not on the disk.
#
# Guess:    Compression: S2Compression makes the files of a stream smaller as messages come in, and MaxBytes, the room that a
#           stream may take on disk, holds accordingly more of them.
# Instead:  200 messages of 16 KiB that compress to nothing take 3.2 MiB: the block that is written to, up to 8 MiB, is never
#           compressed, and 2,000 messages take hardly more than that block. MaxBytes counts what the messages had before:
#           with 16 MiB a stream keeps the same 1,021 messages as without compression, in 3.5 MiB on disk.
# Seen:     nats-server v2.15.3, nats.go v1.55.0, go 1.26, file storage.
# Source:   newMsgBlockForWrite in filestore.go has the last block compressed when it begins the next one
#           (recompressOnDiskIfNeeded); the limit is compared with the state's Bytes, which storeRawMsg adds up.
# Matters:  KV buckets and work queues of a few MiB, of which a server has thousands, gain nothing from compression. A log
#           that is sized by disk, with compression and a MaxBytes of that size, drops messages when a fraction of the disk is
#           in use. A test with small streams that looks at du says that compression does not work.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
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

// onDisk returns how many KiB the files below a directory take.
func onDisk(dir string) (kib int64) {
	must(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil && syscall.Lstat(path, &st) == nil && entry.Type().IsRegular() {
			kib += st.Blocks / 2
		}
		return nil
	}))
	return kib
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
	text := bytes.Repeat([]byte("x"), 1<<14)
	fill := func(name string, messages int, limit int64, compression jetstream.StoreCompression) (held uint64, kib int64) {
		stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, MaxBytes: limit, Compression: compression})
		must(err)
		for range messages {
			_, err := js.Publish(ctx, name, text)
			must(err)
		}
		time.Sleep(500 * time.Millisecond)
		info, err := stream.Info(ctx)
		must(err)
		return info.State.Msgs, onDisk(filepath.Join("store", "jetstream", "$G", "streams", name))
	}
	few, fewKiB := fill("few", 200, -1, jetstream.S2Compression)
	many, manyKiB := fill("many", 2000, -1, jetstream.S2Compression)
	limited, limitedKiB := fill("limited", 2000, 16<<20, jetstream.S2Compression)
	plain, plainKiB := fill("plain", 2000, 16<<20, jetstream.NoCompression)
	fmt.Printf("%4d messages of 16 KiB that compress well: %d KiB on disk\n", few, fewKiB)
	fmt.Printf("%4d messages: %d KiB on disk\n", many, manyKiB)
	fmt.Printf("2000 messages, MaxBytes 16 MiB: %d are left, %d KiB on disk\n", limited, limitedKiB)
	fmt.Printf("2000 messages, MaxBytes 16 MiB, not compressed: %d are left, %d KiB on disk\n", plain, plainKiB)
	if fewKiB < 3000 || manyKiB > 12_000 || limited != plain || limited > 1100 || limitedKiB > 8000 {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/nats-io/nats-server/v2@v2.15.3 github.com/nats-io/nats.go@v1.55.0 >/dev/null 2>&1
go run .
