package s3

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// onSmallDisk has a command run with a disk of some MiB in a folder, which only it sees, in namespaces of its own.
func onSmallDisk(folder string, mib int) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		script := fmt.Sprintf(`mount -t tmpfs -o size=%dm none "$0" && mkdir "$0/bucket" && cd "$0" && exec "$@"`, mib)
		cmd.Args = append([]string{"sh", "-c", script, folder, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
}

// A bucket whose disk fills up: what was acknowledged stays, and with room again the next checkpoint brings all.
func TestStore_DiskOfTheBucketIsFull(t *testing.T) {
	folder := t.TempDir()
	wrap := onSmallDisk(folder, 4)
	try := exec.Command("/bin/true")
	if wrap(try); try.Run() != nil {
		t.Skip("this system does not let a test have a disk of its own")
	}
	g := &gateway{t: t, folder: folder, address: freeAddress(t), wrap: wrap}
	must(t, g.start())
	t.Cleanup(g.kill)
	o := Options{Bucket: "bucket", Prefix: "stores/1", Endpoint: "http://" + g.address, Region: testRegion, Credentials: testCredentials()}
	r, err := New(t.Context(), o)
	must(t, err)
	m := openModel(t, r)
	m.change()
	if !m.checkpoint() {
		t.Fatal("the first version was not copied")
	}
	o.Prefix = "filler"
	filler, err := New(t.Context(), o)
	must(t, err)
	var names []string
	for size := 1 << 20; size > 0; size /= 4 { // until not a byte more goes in
		for err = nil; err == nil; {
			name := fmt.Sprint("n", len(names))
			if err = filler.Put(soon(t), name, make([]byte, size)); err == nil {
				names = append(names, name)
			}
		}
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%v, want a passing error", err)
		}
	}
	t.Log(err)
	m.change()
	if m.checkpoint() {
		t.Error("a version was acknowledged that cannot be there")
	}
	m.wantOnEmptyMachine(r)
	for _, name := range names {
		must(t, filler.Delete(soon(t), name))
	}
	m.change()
	if !m.checkpoint() || m.store.Metrics().RemoteLagVersions != 0 {
		t.Error("there is room again, and not all was copied")
	}
	m.wantOnEmptyMachine(r)
}
