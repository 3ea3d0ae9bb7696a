package inspector

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// Each example of the help does what it says, with a store that has the versions that it names, a remote, and, where it brings
// a directory up to date, that directory at the version that it says.
func TestHelp_ExamplesRun(t *testing.T) {
	root := t.TempDir()
	here := func(name string) string {
		return strings.NewReplacer("/data/", root+"/data/", "/backup/", root+"/backup/").Replace(name)
	}
	for _, name := range []string{"/data/", "/backup/"} {
		must(t, os.Mkdir(here(name), 0o700))
	}
	t.Chdir(root) // files that are named without a directory
	remote, err := checkpoint.NewDirRemote(here("/backup/store"))
	must(t, err)
	s, err := hlog.Open(here("/data/store"), &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, KeepVersions: 100, Remote: remote})
	must(t, err)
	defer s.Close()
	for v := range 14 {
		must(t, s.Set([]byte("key"), fmt.Append(nil, "value ", v)))
		_, err := s.Checkpoint(context.Background())
		must(t, err)
	}
	run := func(line string) string {
		t.Helper()
		var out []byte
		for _, part := range strings.Split(line, " | ") {
			var o, e bytes.Buffer
			args := strings.Fields(here(strings.TrimPrefix(part, "ssh elsewhere ")))
			if args[0] != "hlog" {
				t.Fatalf("%s: %s is no command of hlog", line, args[0])
			}
			if code := Run(context.Background(), args[1:], bytes.NewReader(out), &o, &e, Remotes{"dir": Dir()}); code != exitFine {
				t.Fatalf("%s: exit code %d: %s", line, code, e.String())
			}
			out = o.Bytes()
		}
		return string(out)
	}
	var help bytes.Buffer
	Run(context.Background(), []string{"help"}, nil, &help, nil, nil)
	_, examples, _ := strings.Cut(help.String(), "\nExamples:\n")
	seen := map[string]bool{}
	for line := range strings.Lines(examples) {
		line = strings.TrimSpace(line)
		t.Run(line, func(t *testing.T) {
			made := []string{"/data/copy", "/data/old", "dir:/backup/other"}
			for _, name := range append(made, "delta") {
				must(t, os.RemoveAll(strings.TrimPrefix(here(name), "dir:")))
			}
			if since := regexp.MustCompile(`-since (\d+)`).FindStringSubmatch(line); since != nil {
				run("hlog copy -version " + since[1] + " /data/store /data/copy")
			}
			out := ""
			for _, command := range strings.Split(line, " && ") {
				seen[strings.Fields(command)[1]] = true
				out = run(command)
			}
			if out == "" {
				t.Error("it says nothing")
			}
			for _, name := range made {
				if !strings.Contains(line, " "+name) {
					continue
				}
				want := "14"
				if v := regexp.MustCompile(`-version (\d+)`).FindStringSubmatch(line); v != nil {
					want = v[1]
				}
				if got := run("hlog info " + name); !regexp.MustCompile(`(?m)^current +` + want + `$`).MatchString(got) {
					t.Errorf("%s is not at version %s:\n%s", name, want, got)
				}
			}
		})
	}
	for _, c := range commands {
		if !seen[c.name] {
			t.Errorf("the help has no example of %s", c.name)
		}
	}
}
