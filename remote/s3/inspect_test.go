package s3

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/cmd/hlog/inspector"
	"github.com/hybridlog/hybridlog/hlog"
)

// A bucket is inspected like any other remote, named by its URL, and a version of it becomes that of a directory. Nothing is
// written to it.
func TestInspector_ReadsABucket(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	t.Setenv("AWS_ACCESS_KEY_ID", testKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	r, err := New(t.Context(), o)
	must(t, err)
	m := openModel(t, r)
	for range 2 {
		m.change()
		if !m.checkpoint() {
			t.Fatal("a version was not copied")
		}
	}
	must(t, m.store.Close())
	before, err := r.List(t.Context(), "")
	must(t, err)
	url := fmt.Sprintf("s3://%s/%s?endpoint=http://%s&region=%s", o.Bucket, o.Prefix, g.address, testRegion)
	remotes := inspector.Remotes{"s3": {Read: OpenToRead, Write: OpenToWrite}}
	run := func(wantCode int, args ...string) string {
		t.Helper()
		var out, errOut bytes.Buffer
		if code := inspector.Run(t.Context(), args, nil, &out, &errOut, remotes); code != wantCode {
			t.Fatalf("%v: exit code %d: %s", args, code, errOut.String())
		}
		return out.String()
	}
	if got := run(0, "versions", url); strings.Count(got, "\n") != 2 {
		t.Errorf("versions: %s", got)
	}
	if got := run(0, "scan", url); strings.Count(got, "\n") != len(m.now) {
		t.Errorf("a scan finds %d keys, want %d", strings.Count(got, "\n"), len(m.now))
	}
	dir := t.TempDir()
	run(0, "copy", url, dir)
	s, err := hlog.Open(dir, nil)
	must(t, err)
	defer s.Close()
	for key, value := range m.now {
		if got, err := s.Get(nil, []byte(key)); err != nil || string(got) != value {
			t.Fatalf("%s: %q, %v, want %q", key, got, err, value)
		}
	}
	run(1, "versions", strings.Replace(url, o.Bucket, "no-such-bucket", 1))
	after, err := r.List(t.Context(), "")
	must(t, err)
	if len(after) != len(before) {
		t.Errorf("%d objects before, %d after", len(before), len(after))
	}
	other := strings.Replace(url, o.Prefix, "copies/of-it", 1) // a prefix that lies beside it
	run(0, "copy", url, other)
	if got := run(0, "scan", other); strings.Count(got, "\n") != len(m.now) {
		t.Errorf("the copy has %d keys, want %d", strings.Count(got, "\n"), len(m.now))
	}
	if got := run(0, "copy", "-json", dir, other); !strings.Contains(got, `"Bytes":0`) {
		t.Errorf("what is there already is copied: %s", got)
	}
	reader, err := OpenToRead(t.Context(), url)
	must(t, err)
	if err := reader.Put(t.Context(), "object", nil); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a put: %v", err)
	}
}
