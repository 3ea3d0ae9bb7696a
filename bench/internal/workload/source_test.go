package workload

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The tokens must be those of the regular expression that says the same thing.
func TestCounts_AgreesWithARegularExpression(t *testing.T) {
	src, err := os.ReadFile("source.go")
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(src), "", " ", "a", "9lives x9 _y", "a b", "naïve café", "x.y(z)", "0x1F 12e5 e5",
		strings.Repeat("long", 300) + " end"}
	word := regexp.MustCompile(`[0-9A-Za-z_\x{80}-\x{10FFFF}]+`)
	for _, text := range texts {
		var want []string
		last := ""
		for _, w := range word.FindAllString(text, -1) {
			if w[0] >= '0' && w[0] <= '9' {
				continue
			}
			if len(w) > maxToken {
				w = w[:maxToken]
			}
			want = append(want, w)
			if last != "" {
				want = append(want, last+" "+w)
			}
			last = w
		}
		var got []string
		Counts([]byte(text), true, func(k []byte) {
			got = append(got, string(k))
			if IsPair(k) != strings.Contains(string(k), " ") {
				t.Errorf("IsPair(%q)", k)
			}
		})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("text of %d bytes: %d keys, want %d", len(text), len(got), len(want))
		}
	}
}

func TestOpenSource_PartsCoverEveryFileOnce(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a.go", "b/c.go", "b/d.txt", "e.go", "f/g/h.go"} {
		write(t, filepath.Join(dir, n), n)
	}
	write(t, filepath.Join(dir, "empty.go"), "")
	s, err := OpenSource([]string{dir}, ".go")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Files) != 4 || s.Bytes != int64(len("a.go")+len("b/c.go")+len("e.go")+len("f/g/h.go")) {
		t.Fatalf("files %v, %d bytes", s.Files, s.Bytes)
	}
	seen := map[string]int{}
	for w := range 3 {
		for _, f := range s.Part(w, 3) {
			seen[f.Path]++
		}
	}
	for _, f := range s.Files {
		if seen[f.Path] != 1 {
			t.Errorf("%s is in %d parts", f.Path, seen[f.Path])
		}
	}
	other, err := OpenSource([]string{dir}, ".go,.txt")
	if err != nil {
		t.Fatal(err)
	}
	if len(other.Files) != 5 || other.Fingerprint() == s.Fingerprint() {
		t.Errorf("with .txt: %d files, fingerprints %x and %x", len(other.Files), other.Fingerprint(), s.Fingerprint())
	}
	s.Limit(0.5)
	if len(s.Files) != 2 || s.Bytes != 10 {
		t.Errorf("half of the bytes: %v", s.Files)
	}
}

func TestOpenSource_ThroughALinkAndMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "real", "a.go"), "x")
	if err := os.Symlink(filepath.Join(dir, "real"), filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if s, err := OpenSource([]string{filepath.Join(dir, "link")}, ".go"); err != nil || len(s.Files) != 1 {
		t.Errorf("through a link: %v %v", s, err)
	}
	if _, err := OpenSource([]string{filepath.Join(dir, "none")}, ""); err == nil {
		t.Error("a path that does not exist was accepted")
	}
	if _, err := OpenSource([]string{filepath.Join(dir, "real")}, ".rs"); err == nil {
		t.Error("a source without files was accepted")
	}
}

func TestGoSource_HoldsTheStandardLibrary(t *testing.T) {
	dir, err := GoSource()
	if err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "fmt", "print.go")); err != nil {
		t.Error(err)
	}
}

func TestTrace_NumbersKeysInOrderOfAppearance(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "1"), "a b a")
	write(t, filepath.Join(dir, "2"), "b c")
	s, err := OpenSource([]string{dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	picks, keys, err := s.Trace(false, 0)
	if want := []uint32{0, 1, 0, 1, 2}; err != nil || keys != 3 || !reflect.DeepEqual(picks, want) {
		t.Errorf("tokens: %v, %d keys, %v", picks, keys, err)
	}
	picks, keys, err = s.Trace(true, 4) // a, b, "a b", a
	if want := []uint32{0, 1, 2, 0}; err != nil || keys != 3 || !reflect.DeepEqual(picks, want) {
		t.Errorf("with pairs, four picks: %v, %d keys, %v", picks, keys, err)
	}
	again := Dist{Kind: "trace", Trace: picks}.Picks(3, 6, 0)
	if want := []uint32{0, 1, 2, 0, 0, 1}; !reflect.DeepEqual(again, want) {
		t.Errorf("six picks of a trace of four: %v", again)
	}
}
