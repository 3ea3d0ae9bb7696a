#!/usr/bin/env bash
# inotify: what Linux AIO writes and reads is not reported.
#
# Guess:    IN_MODIFY comes with every write that goes through a descriptor; inotify(7) excepts mappings, and nothing else.
# Instead:  a write of io_submit changes the file, or makes it longer, without any event, buffered as well as with O_DIRECT; a
#           read brings no IN_ACCESS. pwrite, pread, fallocate and ftruncate on the same descriptor are reported.
# Seen:     Linux 6.18, ext4, golang.org/x/sys v0.47.0, go 1.26.
# Source:   fsnotify_modify and fsnotify_access are called by vfs_write and vfs_read (fs/read_write.c); aio_write and aio_read
#           in fs/aio.c call write_iter and read_iter of the file system themselves.
# Matters:  what follows files by inotify (a replicating agent, tail -f, a reloader, an audit) is blind to a database that
#           writes by AIO until it closes the file, which may be never. It has to poll the size, or the writer has to tell.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const page = 4096

type iocb struct {
	data       uint64
	key, flags uint32
	op         uint16
	prio       int16
	fd         uint32
	buf, n     uint64
	off        int64
	_          uint64
	_, _       uint32
}

type event struct {
	data, obj uint64
	res, res2 int64
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func call(trap, a, b, c, d uintptr) {
	if _, _, e := unix.Syscall6(trap, a, b, c, d, 0, 0); e != 0 {
		panic(e)
	}
}

// aio runs one request and waits for it.
func aio(f *os.File, op uint16, b []byte, off int64) {
	var ctx uintptr
	call(unix.SYS_IO_SETUP, 8, uintptr(unsafe.Pointer(&ctx)), 0, 0)
	defer call(unix.SYS_IO_DESTROY, ctx, 0, 0, 0)
	cb := &iocb{op: op, fd: uint32(f.Fd()), buf: uint64(uintptr(unsafe.Pointer(&b[0]))), n: uint64(len(b)), off: off}
	call(unix.SYS_IO_SUBMIT, ctx, 1, uintptr(unsafe.Pointer(&cb)), 0)
	var done event
	call(unix.SYS_IO_GETEVENTS, ctx, 1, 1, uintptr(unsafe.Pointer(&done)))
	if done.res != int64(len(b)) {
		panic(fmt.Sprint("a request returned ", done.res))
	}
}

// events returns the union of what inotify has to say.
func events(fd int) (mask uint32) {
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err == unix.EAGAIN {
		return 0
	}
	must(err)
	for i := 0; i < n; {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&b[i]))
		mask |= e.Mask
		i += unix.SizeofInotifyEvent + int(e.Len)
	}
	return mask
}

func main() {
	must(os.WriteFile("file", make([]byte, page), 0o600))
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	must(err)
	_, err = unix.InotifyAddWatch(watch, "file", unix.IN_MODIFY|unix.IN_ACCESS)
	must(err)
	buf, err := unix.Mmap(-1, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	must(err)
	ok := true
	for _, direct := range []int{0, unix.O_DIRECT} {
		f, err := os.OpenFile("file", os.O_RDWR|direct, 0)
		must(err)
		_, err = f.WriteAt(buf, 0)
		must(err)
		write := events(watch)
		_, err = f.ReadAt(buf, 0)
		must(err)
		read := events(watch)
		info, err := f.Stat()
		must(err)
		aio(f, 1, buf, info.Size()) // the file grows
		aio(f, 1, buf, 0)
		aioWrite := events(watch)
		aio(f, 0, buf, 0)
		aioRead := events(watch)
		fmt.Printf("O_DIRECT %5t: pwrite %#x, pread %#x; two writes by AIO %#x, a read %#x\n", direct != 0, write, read, aioWrite, aioRead)
		ok = ok && write == unix.IN_MODIFY && read == unix.IN_ACCESS && aioWrite == 0 && aioRead == 0
		must(f.Close())
	}
	if !ok {
		fmt.Println("CHANGED")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get golang.org/x/sys@v0.47.0 >/dev/null 2>&1
uname -sr
go run .
