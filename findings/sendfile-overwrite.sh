#!/usr/bin/env bash
# io.Copy from a file to a TCP connection (sendfile): what is written to the file after io.Copy has returned is what the peer
# receives.
#
# Guess:    when io.Copy(conn, file) has returned n and nil, those n bytes are on their way as they were then, as after
#           conn.Write(b), after which b may be used again. The file may be overwritten.
# Instead:  *net.TCPConn asks the kernel for sendfile, and the socket's queue holds the pages of the page cache themselves, until
#           the peer has acknowledged them. 64 KiB of "a" are sent, io.Copy returns 65536 and nil, the file is overwritten in
#           place with "b", and the peer reads 65,536 "b". TCP has nothing to complain about: its checksums are made of the new
#           bytes. A store through a shared mapping does the same. Through a buffer of the program the peer gets "a".
# Seen:     Linux 6.18, ext4, go 1.26, loopback.
# Source:   sendfile(2), under NOTES, asks that the file stay as it is until the other end has consumed it; sendFile in
#           internal/poll calls it, and neither io.Copy nor net's ReadFrom passes that on. net/http's ServeContent ends there, too.
# Matters:  a log whose last pages are updated in place, whose segments are used again, or whose header is written anew, and that
#           is shipped to a follower by io.Copy or by ServeContent, ships a state that never was: a checksum that was made of what was
#           sent does not fit what arrives, or, worse, bytes that were not yet committed get there. Send only what is never written again,
#           or hide the file: io.Copy(conn, struct{ io.Reader }{file}).
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
)

const size = 64 << 10

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// received sends a file of "a" with send, overwrites it with overwrite when send has returned, and only then reads at the
// other end. It returns how many "a" and how many "b" came.
func received(send func(net.Conn, *os.File) (int64, error), overwrite func(*os.File) error) (a, b int) {
	f, err := os.Create("file")
	must(err)
	defer f.Close()
	_, err = f.Write(bytes.Repeat([]byte("a"), size))
	must(err)
	_, err = f.Seek(0, io.SeekStart)
	must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	from, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	to, err := listener.Accept()
	must(err)
	defer to.Close()
	n, err := send(from, f)
	must(err)
	if n != size {
		panic("io.Copy has not sent all")
	}
	must(from.Close())
	must(overwrite(f))
	got, err := io.ReadAll(to)
	must(err)
	return bytes.Count(got, []byte("a")), bytes.Count(got, []byte("b"))
}

func main() {
	whole := func(conn net.Conn, f *os.File) (int64, error) { return io.Copy(conn, f) }
	buffered := func(conn net.Conn, f *os.File) (int64, error) {
		return io.Copy(conn, struct{ io.Reader }{f})
	}
	overwrite := func(f *os.File) error {
		_, err := f.WriteAt(bytes.Repeat([]byte("b"), size), 0)
		return err
	}
	a, b := received(whole, overwrite)
	fmt.Printf("io.Copy(conn, file), then overwritten: the peer read %d old and %d new bytes\n", a, b)
	a2, b2 := received(buffered, overwrite)
	fmt.Printf("through a buffer, then overwritten:    the peer read %d old and %d new bytes\n", a2, b2)
	if b != size || a2 != size {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
uname -sr
go run .
