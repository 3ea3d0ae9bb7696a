package inspector

import (
	"context"
	"maps"
	"strings"
	"testing"
)

// Each version says where it lies: only here, only on the remote, or on both. Neither is changed.
func TestVersions_SaysWhereTheyLie(t *testing.T) {
	dir, bucket, nobodys := t.TempDir(), t.TempDir(), t.TempDir()
	s := filled(t, dir)
	dirs := map[string]string{"STORE": dir, "OTHER": t.TempDir(), "dir:REMOTE": "dir:" + bucket, "dir:EMPTY": "dir:" + nobodys}
	says(t, dirs, "copy STORE dir:REMOTE", exitFine)
	must(t, s.Set([]byte("more"), nil))
	_, err := s.Checkpoint(context.Background())
	must(t, err)
	must(t, s.Purge(context.Background(), 1))
	before, there := tree(t, dir), tree(t, bucket)
	says(t, dirs, "versions -remote dir:REMOTE STORE", exitFine, "  1  parent 0  TIME  lies remote  ", "  2  parent 1  TIME  lies both  ", "* 3  parent 2  TIME  lies here  ")
	says(t, dirs, "versions -json -remote dir:REMOTE STORE", exitFine, `"Place":"remote"`, `"Place":"both"`, `"Place":"here"`)
	says(t, dirs, "versions dir:REMOTE", exitFine, "  1  parent 0  TIME  lies remote  ", "* 2  parent 1  TIME  lies remote  ")
	says(t, dirs, "versions -remote dir:EMPTY STORE", exitFine, "  2  parent 1  TIME  lies here  ", "* 3  parent 2  TIME  lies here  ")
	if out, _, _ := hlogCommand(nil, dirs, "versions", "STORE"); strings.Contains(out, "lies") {
		t.Errorf("nobody has asked a remote, and it says\n%s", out)
	}
	must(t, filled(t, dirs["OTHER"]).Close())
	for line, want := range map[string]int{
		"versions -remote dir:REMOTE OTHER": exitFailed, "versions -remote dir:EMPTY dir:REMOTE": exitUsage, "versions -remote OTHER STORE": exitUsage,
		"versions -remote dir:" + nobodys + "/nowhere STORE": exitFailed,
	} {
		says(t, dirs, line, want)
	}
	if !maps.Equal(before, tree(t, dir)) || !maps.Equal(there, tree(t, bucket)) || len(tree(t, nobodys)) != 1 {
		t.Error("something was changed")
	}
}
