package inspector

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files anew")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filled makes a store with two versions of a few keys, and leaves it open.
func filled(t *testing.T, dir string) *hlog.Store {
	t.Helper()
	return filledWith(t, dir, nil)
}

func filledWith(t *testing.T, dir string, remote checkpoint.Remote) *hlog.Store {
	t.Helper()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, Remote: remote})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	for v := 1; v <= 2; v++ {
		must(t, s.Set([]byte("version"), []byte{byte('0' + v)}))
		must(t, s.Set(fmt.Appendf(nil, "key %d", v), []byte("a \"value\"")))
		if v == 2 {
			must(t, s.Delete([]byte("key 1")))
		}
		_, err = s.Checkpoint(context.Background(), hlog.WithCookie(fmt.Appendf(nil, "offset %d", v)))
		must(t, err)
	}
	return s
}

// command runs the program and returns what it has written, and its exit code. What differs from run to run is replaced.
func hlogCommand(in []byte, dirs map[string]string, args ...string) (out, errOut string, code int) {
	var o, e bytes.Buffer
	for i, a := range args {
		if d, ok := dirs[a]; ok {
			args[i] = d
		}
	}
	code = Run(context.Background(), args, bytes.NewReader(in), &o, &e, Remotes{"dir": Dir()})
	clean := func(s string) string {
		for name, d := range dirs {
			s = strings.ReplaceAll(s, d, name)
		}
		s = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`).ReplaceAllString(s, "TIME")
		s = regexp.MustCompile(`(index|alone|all|ImageBytes":|ExclusiveBytes":|"Bytes":) *\d+`).ReplaceAllString(s, "$1 N")
		return regexp.MustCompile(`(reading|version \d:) \d+ bytes`).ReplaceAllString(s, "$1 N bytes")
	}
	return clean(o.String()), clean(e.String()), code
}

// What the program says, beside a store that is in use, is in testdata/golden.
func TestGolden(t *testing.T) {
	dirs := map[string]string{"STORE": t.TempDir(), "COPY": filepath.Join(t.TempDir(), "copy"), "STREAM": filepath.Join(t.TempDir(), "stream"),
		"DELTA": filepath.Join(t.TempDir(), "delta"), "NOWHERE": filepath.Join(t.TempDir(), "nowhere"), "COPY2": filepath.Join(t.TempDir(), "two")}
	bucket := t.TempDir()
	dirs["dir:REMOTE"], dirs["dir:NOWHERE"] = "dir:"+bucket, "dir:"+dirs["NOWHERE"]
	remote, err := checkpoint.NewDirRemote(bucket)
	must(t, err)
	filledWith(t, dirs["STORE"], remote)
	var got strings.Builder
	for _, line := range []string{
		"help", "info STORE", "info -json STORE", "versions STORE", "versions -json STORE", "verify STORE", "verify -deep STORE",
		"verify -deep -json -version 2 STORE", "get STORE version", "get -version 1 STORE version", "get -hex STORE 76657273696f6e",
		"get -json STORE version", "get STORE absent", "get -version 9 STORE version", "get -hex STORE x", "diff STORE 1 2", "diff -json STORE 1 2",
		"diff STORE 2 1", "diff STORE one 2", "export -version 1 STORE STREAM", "export -since 1 -json STORE DELTA", "import COPY STREAM",
		"import COPY STREAM", "import COPY DELTA", "import -json COPY DELTA", "get COPY version", "info NOWHERE", "info", "fly STORE", "scan -fast STORE",
		"info dir:REMOTE", "versions dir:REMOTE", "versions -remote dir:REMOTE STORE", "versions -json -remote dir:REMOTE STORE", "verify -deep dir:REMOTE", "get dir:REMOTE version", "get -version 1 dir:REMOTE version",
		"get -version 9 dir:REMOTE version", "diff dir:REMOTE 1 2", "copy -version 1 dir:REMOTE COPY2", "copy -since 1 dir:REMOTE COPY2",
		"get COPY2 version", "copy COPY2 dir:REMOTE", "import dir:REMOTE STREAM", "import dir:NOWHERE STREAM", "info gopher://REMOTE", "info dir:NOWHERE",
	} {
		out, errOut, code := hlogCommand(nil, dirs, strings.Fields(line)...)
		fmt.Fprintf(&got, "$ hlog %s\n%s", line, out)
		for l := range strings.Lines(errOut) {
			fmt.Fprintf(&got, "! %s", l)
		}
		if code != 0 {
			fmt.Fprintf(&got, "exit code %d\n", code)
		}
	}
	name := filepath.Join("testdata", "golden")
	if *update {
		must(t, os.WriteFile(name, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(name)
	must(t, err)
	if got.String() != string(want) {
		a, b := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Fatalf("line %d of testdata/golden (go test ./cmd/hlog -update):\n got %q\nwant %q", i+1, a[i], b[i])
			}
		}
		t.Fatalf("%d lines, testdata/golden has %d (go test ./cmd/hlog -update)", len(a), len(b))
	}
}

// tree returns all files of a directory, with what they hold and when they were changed.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil || d.IsDir() {
			all[name] = fmt.Sprint(i.ModTime())
			return err
		}
		b, err := os.ReadFile(name)
		all[name] = fmt.Sprint(i.ModTime(), string(b))
		return err
	}))
	return all
}

// Whatever is looked at, nothing is written, not even a lock.
func TestCommands_ChangeNothing(t *testing.T) {
	dir, bucket := t.TempDir(), t.TempDir()
	remote, err := checkpoint.NewDirRemote(bucket)
	must(t, err)
	must(t, filledWith(t, dir, remote).Close())
	for _, d := range []string{dir, bucket} {
		must(t, os.Remove(filepath.Join(d, "LOCK")))
	}
	before, there := tree(t, dir), tree(t, bucket)
	for _, line := range []string{"info D", "versions D", "verify -deep D", "get D version", "scan D", "diff D 1 2", "export D", "export -since 1 D"} {
		for _, place := range []string{dir, "dir:" + bucket} {
			if _, errOut, code := hlogCommand(nil, map[string]string{"D": place}, strings.Fields(line)...); code != 0 {
				t.Errorf("%s: exit code %d: %s", line, code, errOut)
			}
		}
	}
	if !maps.Equal(there, tree(t, bucket)) {
		t.Error("something was changed on the remote")
	}
	if !maps.Equal(before, tree(t, dir)) {
		t.Error("something was changed")
	}
}

// What is exported to standard output is imported from standard input.
func TestExport_ThroughAPipe(t *testing.T) {
	dirs := map[string]string{"STORE": t.TempDir(), "COPY": filepath.Join(t.TempDir(), "copy")}
	filled(t, dirs["STORE"])
	var stream, e bytes.Buffer
	if code := Run(context.Background(), []string{"export", dirs["STORE"]}, nil, &stream, &e, nil); code != 0 {
		t.Fatal(code, e.String())
	}
	if _, errOut, code := hlogCommand(stream.Bytes()[:stream.Len()-1], dirs, "import", "COPY"); code != exitDamaged {
		t.Fatalf("a stream that ends too early: exit code %d, %s", code, errOut)
	}
	if _, errOut, code := hlogCommand(stream.Bytes(), dirs, "import", "COPY"); code != 0 {
		t.Fatal(code, errOut)
	}
	want, _, _ := hlogCommand(nil, dirs, "scan", "STORE")
	if got, _, _ := hlogCommand(nil, dirs, "scan", "COPY"); got != want || want == "" {
		t.Fatalf("the copy has\n%swant\n%s", got, want)
	}
}

// An export that fails leaves no file, so that nothing is in the way of the next try; a file that was there stays as it was.
func TestExport_ThatFailsLeavesNoFile(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "stream")
	must(t, filled(t, dir).Close())
	dirs := map[string]string{"D": dir, "FILE": file}
	gone := func(line string, wantCode int) {
		t.Helper()
		says(t, dirs, line, wantCode)
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s leaves a file: %v", line, err)
		}
	}
	gone("export -since 99 D FILE", exitNotFound)
	says(t, dirs, "export D FILE", exitFine)
	whole, err := os.ReadFile(file)
	must(t, err)
	says(t, dirs, "export -version 1 D FILE", exitFailed)
	if b, err := os.ReadFile(file); err != nil || !bytes.Equal(b, whole) {
		t.Errorf("another export has changed the file, or removed it: %v", err)
	}
	must(t, os.Remove(file))
	flip(t, filepath.Join(dir, "log", "000000000000.seg"), []byte("key 2"))
	gone("export D FILE", exitDamaged)
}

// flip changes a bit of the file where it first holds find.
func flip(t *testing.T, name string, find []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	i := bytes.Index(b, find)
	if i < 0 {
		t.Fatalf("%s does not hold %q", name, find)
	}
	b[i] ^= 1
	must(t, os.WriteFile(name, b, 0o600))
}

func says(t *testing.T, dirs map[string]string, line string, wantCode int, wants ...string) {
	t.Helper()
	out, errOut, code := hlogCommand(nil, dirs, strings.Fields(line)...)
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("%s does not say %q, but\n%s%s", line, want, out, errOut)
		}
	}
	if code != wantCode {
		t.Errorf("%s: exit code %d\n%s%s", line, code, out, errOut)
	}
}

// verify names each damage that keeps a version from being opened.
func TestVerify_NamesDamage(t *testing.T) {
	dir := t.TempDir()
	must(t, filled(t, dir).Close())
	dirs := map[string]string{"D": dir}
	flip(t, filepath.Join(dir, "log", "000000000000.seg"), []byte("key 2"))
	says(t, dirs, "verify D", exitDamaged, "version 1: opens", "version 2: damaged: D/log/000000000000.seg at ", "record fails its checksum")
	says(t, dirs, "get -version 1 D version", exitFine, "1")
	flip(t, filepath.Join(dir, "versions", "0000000000000001.manifest"), []byte("offset 1"))
	says(t, dirs, "verify D", exitDamaged, "version 1: damaged: D/versions/0000000000000001.manifest", "version 2: damaged")
	flip(t, filepath.Join(dir, "HEAD"), []byte("HLHEAD"))
	says(t, dirs, "verify D", exitDamaged, "version 0: damaged: D/HEAD")
}

// In a version that opens, verify -deep reads what nobody else has read yet, goes on behind a damage, and says what it costs.
// What takes long tells how far it is, and nothing when it has been stopped.
func TestFollow_TellsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		done := int64(0)
		stop := (&call{errOut: &said}).follow(progressEvery, "verified", 9<<20, func() int64 {
			done += 4 << 20
			return done
		})
		testkit.Pause(2*progressEvery + progressEvery/2)
		stop()
		testkit.Pause(2 * progressEvery)
		if want := "verified: 4 of 9 MiB\nverified: 8 of 9 MiB\n"; said.String() != want {
			t.Errorf("it says %q, want %q", said.String(), want)
		}
	})
}

func TestVerify_Deep(t *testing.T) {
	dir := t.TempDir()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, NoCompaction: true})
	must(t, err)
	for i := range 40_000 {
		must(t, s.Set(fmt.Appendf(nil, "key %05d", i), make([]byte, 100)))
		if i%10_000 == 0 {
			_, err := s.Checkpoint(context.Background())
			must(t, err)
		}
	}
	must(t, s.Close())
	dirs := map[string]string{"D": dir}
	says(t, dirs, "verify -deep D", exitFine, "version 5: whole")
	for _, key := range []string{"key 00100", "key 05000"} {
		flip(t, filepath.Join(dir, "log", "000000000000.seg"), []byte(key))
	}
	says(t, dirs, "verify -version 5 D", exitFine, "version 5: opens")
	says(t, dirs, "verify -deep -version 5 D", exitDamaged, "version 5: damaged: D/log/000000000000.seg at ", "bytes of log cannot be read")
	out, _, _ := hlogCommand(nil, dirs, "verify", "-deep", "-version", "5", "-json", "D")
	if n := strings.Count(out, "record fails its checksum"); n != 2 {
		t.Errorf("%d damages are named:\n%s", n, out)
	}
	if _, errOut, code := hlogCommand(nil, dirs, "get", "D", "key 20000"); code != 0 {
		t.Errorf("a key that is whole: exit code %d, %s", code, errOut)
	}
	if _, _, code := hlogCommand(nil, dirs, "get", "D", "key 00100"); code != exitDamaged {
		t.Errorf("a key that is damaged: exit code %d", code)
	}
}

// Damage of a piece on a remote is named, and is not taken for a purge: by verify and by whatever reads there.
func TestVerify_DamageOnARemote(t *testing.T) {
	dir, bucket := t.TempDir(), t.TempDir()
	must(t, filled(t, dir).Close())
	dirs := map[string]string{"STORE": dir, "R": "dir:" + bucket, "OTHER": "dir:" + t.TempDir(), "COPY": filepath.Join(t.TempDir(), "copy")}
	says(t, dirs, "copy STORE R", exitFine)
	pieces, err := filepath.Glob(filepath.Join(bucket, "*", "extents", "*", "*"))
	must(t, err)
	for _, name := range pieces {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte("key 2")) {
			flip(t, name, []byte("key 2"))
		}
	}
	synctest.Test(t, func(t *testing.T) { // the pauses before another attempt take no time
		says(t, dirs, "verify R", exitDamaged, "version 1: opens", "version 2: damaged: ")
	})
	for line, want := range map[string]int{
		"verify -deep R": exitDamaged, "verify -version 2 R": exitDamaged, "verify -version 1 R": exitFine, "get -version 1 R version": exitFine,
		"info R": exitDamaged, "scan R": exitDamaged, "diff R 1 2": exitDamaged, "export R": exitDamaged, "copy R COPY": exitDamaged, "copy R OTHER": exitDamaged,
	} {
		synctest.Test(t, func(t *testing.T) {
			if out, errOut, code := hlogCommand(nil, dirs, strings.Fields(line)...); code != want || strings.Contains(out, "purged") {
				t.Errorf("%s: exit code %d, want %d\n%s%s", line, code, want, out, errOut)
			}
		})
	}
}

// Every part of the index files is read by verify -deep.
func TestVerify_DeepReadsTheIndex(t *testing.T) {
	dir := t.TempDir()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, NoCompaction: true})
	must(t, err)
	for i := range 40_000 {
		must(t, s.Set(fmt.Appendf(nil, "key %05d", i), make([]byte, 100)))
		if i%20_000 == 0 {
			_, err := s.Checkpoint(context.Background())
			must(t, err)
		}
	}
	must(t, s.Close())
	dirs := map[string]string{"D": dir}
	files := map[string]bool{} // those that a version names: others may be left of a merge
	manifests, err := filepath.Glob(filepath.Join(dir, "versions", "*.manifest"))
	must(t, err)
	for _, name := range manifests {
		b, err := os.ReadFile(name)
		must(t, err)
		m, err := checkpoint.DecodeManifest(name, b)
		must(t, err)
		for _, id := range m.IDs() {
			files[filepath.Join(dir, "images", fmt.Sprintf("%016x.img", id))] = true
		}
	}
	if len(files) == 0 {
		t.Fatal("there are no index files")
	}
	places := testkit.Scaled(testkit.UnderRace(2, 6), 12, 12, 100)
	for name := range files {
		whole, err := os.ReadFile(name)
		must(t, err)
		for i := range places {
			b := bytes.Clone(whole)
			at := len(b)*(i+1)/places - 1 // the head, which only says what the file is, is not needed for reading it
			b[at] ^= 4
			must(t, os.WriteFile(name, b, 0o600))
			if out, errOut, code := hlogCommand(nil, dirs, "verify", "-deep", "D"); code != exitDamaged || !strings.Contains(out, filepath.Base(name)) {
				t.Fatalf("byte %d of %d of %s: exit code %d\n%s%s", at, len(b), filepath.Base(name), code, out, errOut)
			}
		}
		must(t, os.WriteFile(name, whole, 0o600))
	}
}

// Beside a store that commits, purges and compacts, everything that is read is whole, or the version has been purged.
func TestCommands_BesideAWriter(t *testing.T) {
	dir := t.TempDir()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, KeepVersions: 1, SegmentBytes: 256 << 10})
	must(t, err)
	keys, rounds := testkit.UnderRace(200, 2000), testkit.UnderRace(1, 3)
	write := func() {
		for i := range keys {
			must(t, s.Set(fmt.Appendf(nil, "key %d", i), make([]byte, 100)))
		}
		_, err := s.Checkpoint(context.Background())
		must(t, err)
	}
	write()
	var stop atomic.Bool
	var writing sync.WaitGroup
	writing.Go(func() {
		for !stop.Load() {
			write()
		}
	})
	fine := 0
	for range rounds {
		for _, line := range []string{"info", "versions", "verify -deep", "scan", "export"} {
			var out, errOut bytes.Buffer
			code := Run(context.Background(), append(strings.Fields(line), dir), nil, &out, &errOut, nil)
			if code != exitFine && code != exitNotFound && !strings.Contains(errOut.String(), errReplaced.Error()) {
				t.Errorf("%s: exit code %d\n%s", line, code, errOut.String())
			}
			if code == exitFine {
				fine++
			}
			if n := bytes.Count(out.Bytes(), []byte("\n")); line == "scan" && code == exitFine && n != keys {
				t.Errorf("a scan has found %d keys", n)
			}
		}
	}
	stop.Store(true)
	writing.Wait()
	must(t, s.Close())
	if fine < rounds {
		t.Errorf("only %d commands have found a version that stayed", fine)
	}
}

// reading is where a command tells its progress; when it reads a version for the first time, then is called.
type reading struct{ then func() }

func (r *reading) Write(b []byte) (int, error) {
	if r.then != nil && bytes.Contains(b, []byte("reading")) {
		r.then()
		r.then = nil
	}
	return len(b), nil
}

// held is a remote on which some objects are not read before open is closed.
type held struct {
	checkpoint.Remote
	objects map[string]bool
	open    chan struct{}
}

func (h held) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if h.objects[name] {
		select {
		case <-h.open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return h.Remote.Get(ctx, name, off, n)
}

// When a store purges a version from its remote while that is verified, verify says so and goes on, unless it is the version that
// was asked for.
func TestVerify_DeepWhileAVersionIsPurged(t *testing.T) {
	for line, want := range map[string]int{"verify -deep": exitFine, "verify -deep -version 1": exitNotFound} {
		bucket := t.TempDir()
		remote, err := checkpoint.NewDirRemote(bucket)
		must(t, err)
		s, err := hlog.Open(t.TempDir(), &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, KeepVersions: 1, SegmentBytes: 256 << 10, Remote: remote})
		must(t, err)
		write := func() {
			for i := range 3_000 {
				must(t, s.Set(fmt.Appendf(nil, "key %d", i), make([]byte, 2_000)))
			}
			_, err := s.Checkpoint(context.Background())
			must(t, err)
		}
		write()
		first, err := filepath.Glob(filepath.Join(bucket, "*", "extents", "*", "*"))
		must(t, err)
		gone := func() bool {
			return slices.ContainsFunc(first, func(name string) bool {
				_, err := os.Stat(name)
				return errors.Is(err, fs.ErrNotExist)
			})
		}
		purge := func() {
			must(t, s.Compact(context.Background()))
			write()
			must(t, s.Close()) // what was purged is gone then
		}
		h := held{remote, map[string]bool{}, make(chan struct{})}
		for _, name := range first[:len(first)/2] { // opening reads the end of the log, and warms what comes before
			name, err := filepath.Rel(bucket, name)
			must(t, err)
			h.objects[filepath.ToSlash(name)] = true
		}
		var out bytes.Buffer
		progress := &reading{func() { purge(); close(h.open) }}
		open := func(context.Context, string) (checkpoint.Remote, error) { return h, nil }
		code := Run(context.Background(), append(strings.Fields(line), "dir:"+bucket), nil, &out, progress, Remotes{"dir": {Read: open}})
		if !gone() || progress.then != nil {
			t.Fatalf("%s: nothing was purged meanwhile: the test tests nothing", line)
		}
		if said := strings.Contains(out.String(), "version 1: was purged meanwhile"); code != want || said != (want == exitFine) {
			t.Errorf("%s: exit code %d, want %d: %s", line, code, want, out.String())
		}
	}
}

// replacing is a file system in which the directory that is opened changes meanwhile: first is called before the files of
// its index are looked for the nth time, and then before it is opened again.
type replacing struct {
	fsx.FS
	nth         int
	first, then func()
}

func (r *replacing) OpenRoot(dir string) (fsx.Root, error) {
	if r.first == nil && r.then != nil {
		r.then()
		r.then = nil
	}
	root, err := r.FS.OpenRoot(dir)
	return replacingRoot{root, r}, err
}

type replacingRoot struct {
	fsx.Root
	r *replacing
}

func (r replacingRoot) List(dir string) ([]fsx.Entry, error) {
	if filepath.Base(dir) == "images" {
		if r.r.nth--; r.r.nth == 0 {
			r.r.first()
			r.r.first = nil
		}
	}
	return r.Root.List(dir)
}

// Files that go while a version is being opened are no damage if the store has replaced them: the next version is read,
// unless the one that has gone was asked for.
func TestCommands_FilesGoWhileAVersionIsOpened(t *testing.T) {
	dir := t.TempDir()
	s, err := hlog.Open(dir, &hlog.Options{MemoryBytes: hlog.MinMemoryBytes, KeepVersions: 2})
	must(t, err)
	for i := range 40_000 { // enough that there are files of the index
		must(t, s.Set(fmt.Appendf(nil, "key %05d", i), make([]byte, 100)))
	}
	_, err = s.Checkpoint(context.Background())
	must(t, err)
	must(t, s.Set([]byte("new"), []byte("1")))
	must(t, s.Close())
	files, err := filepath.Glob(filepath.Join(dir, "images", "*.img"))
	must(t, err)
	if len(files) == 0 {
		t.Fatal("there are no files of the index")
	}
	manifests, err := filepath.Glob(filepath.Join(dir, "versions", "*.manifest"))
	must(t, err)
	files = append(files, manifests...)
	away := func() {
		for _, name := range files {
			must(t, os.Rename(name, name+".gone"))
		}
	}
	back := func() {
		for _, name := range files {
			must(t, os.Rename(name+".gone", name))
		}
	}
	lines := []string{"scan -version 1 D", "export D", "verify D", "diff D 0 2", "info D", "versions D", "get D new", "scan D"}
	lines = lines[:testkit.UnderRace(2, len(lines))]
	const opened = 3 // how often opening a store looks for its index; opening a version does so once
	for i, line := range append(lines, lines[:2]...) {
		nth := opened
		if i >= len(lines) {
			nth++
		}
		changing := &replacing{fsx.OS(), nth, away, back}
		x := &call{ctx: context.Background(), fs: changing, out: io.Discard, errOut: &bytes.Buffer{}}
		args := strings.Fields(strings.ReplaceAll(line, "D", dir))
		for _, c := range commands {
			if c.name == args[0] {
				want := exitFine
				if strings.Contains(line, "version 1") {
					want = exitNotFound
				}
				if code := do(c, x, args[1:]); code != want {
					t.Errorf("%s: exit code %d, want %d: %s", line, code, want, x.errOut)
				}
			}
		}
		if changing.first != nil {
			t.Fatalf("%s: the index was not looked for so often", line)
		}
		if changing.then != nil {
			back()
		}
	}
}
