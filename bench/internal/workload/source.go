package workload

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"github.com/zeebo/xxh3"
)

// Source is a set of text files, in an order that depends on their names alone.
type Source struct {
	Files []File
	Bytes int64
}

// File is one text of a source.
type File struct {
	Path string
	Size int64
}

// maxFile is the longest file that is read whole; a longer one is left out rather than cut.
const maxFile = 1 << 30

// OpenSource lists the regular files under paths whose names end in one of the comma-separated suffixes (all of
// them when suffixes is empty). A path may be a file: it is taken whatever its name.
func OpenSource(paths []string, suffixes string) (*Source, error) {
	s := &Source{}
	want := func(name string) bool {
		if suffixes == "" {
			return true
		}
		for _, suffix := range strings.Split(suffixes, ",") {
			if strings.HasSuffix(name, strings.TrimSpace(suffix)) {
				return true
			}
		}
		return false
	}
	for _, root := range paths {
		// A root that is a symbolic link, as GOROOT often is, would otherwise not be walked.
		resolved, err := filepath.EvalSymlinks(root)
		if err != nil {
			return nil, fmt.Errorf("bench: input: %w", err)
		}
		err = filepath.WalkDir(resolved, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !d.Type().IsRegular() || path != resolved && !want(d.Name()) {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if n := info.Size(); n > 0 && n <= maxFile {
				s.Files = append(s.Files, File{Path: path, Size: n})
				s.Bytes += n
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("bench: input: %w", err)
		}
	}
	if len(s.Files) == 0 {
		return nil, fmt.Errorf("bench: no text file (%q) under %s", suffixes, strings.Join(paths, ", "))
	}
	sort.Slice(s.Files, func(i, j int) bool { return s.Files[i].Path < s.Files[j].Path })
	return s, nil
}

// Limit drops files from the end until about share of the bytes are left; at least one file stays.
func (s *Source) Limit(share float64) {
	left := int64(float64(s.Bytes) * share)
	var n int64
	for i, f := range s.Files {
		if i > 0 && n+f.Size > left {
			s.Files = s.Files[:i]
			break
		}
		n += f.Size
	}
	s.Bytes = n
}

// Fingerprint identifies the files by name and size: offsets into one source mean nothing in another.
func (s *Source) Fingerprint() uint64 {
	h := xxh3.New()
	for _, f := range s.Files {
		fmt.Fprintf(h, "%s\x00%d\n", f.Path, f.Size)
	}
	return h.Sum64()
}

// Part is what worker w of n counts: every n-th file.
func (s *Source) Part(w, n int) []File {
	var out []File
	for i := w; i < len(s.Files); i += n {
		out = append(out, s.Files[i])
	}
	return out
}

// GoSource is the directory of the Go standard library's source on this machine.
func GoSource() (string, error) {
	roots := []string{os.Getenv("GOROOT")}
	if out, err := exec.Command("go", "env", "GOROOT").Output(); err == nil {
		roots = append(roots, strings.TrimSpace(string(out)))
	}
	// What the toolchain wrote into the program; right as long as the program runs where it was built.
	//lint:ignore SA1019 the two better ways come first
	roots = append(roots, runtime.GOROOT())
	for _, r := range roots {
		src := filepath.Join(r, "src")
		if r == "" {
			continue
		}
		if st, err := os.Stat(src); err == nil && st.IsDir() {
			return src, nil
		}
	}
	return "", fmt.Errorf("bench: no Go source tree found; name text files with -text")
}

// wordByte says what a token is made of: letters, digits, underscore, and every byte of a character beyond ASCII.
var wordByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
	}
	return t
}()

// maxToken is the longest token; the rest of a longer one is dropped.
const maxToken = 200

// Next returns the first token of text that starts at or after from, and where to go on; a nil token at the end. A
// token is a run of word bytes that does not start with a digit: identifiers, keywords, the words of comments and
// strings.
func Next(text []byte, from int) (token []byte, next int) {
	for i := from; i < len(text); {
		if !wordByte[text[i]] {
			i++
			continue
		}
		start := i
		for i < len(text) && wordByte[text[i]] {
			i++
		}
		if c := text[start]; c >= '0' && c <= '9' {
			continue
		}
		return text[start:min(i, start+maxToken)], i
	}
	return nil, len(text)
}

// Counts calls fn with the key of every counter that text adds one to, in the order of the text: each token and, with
// pairs, each token together with the one before it, a space between. fn must not keep the slice.
func Counts(text []byte, pairs bool, fn func(key []byte)) {
	var last []byte
	var buf [2*maxToken + 1]byte
	for at := 0; ; {
		token, next := Next(text, at)
		if token == nil {
			return
		}
		at = next
		fn(token)
		if pairs && last != nil {
			fn(Pair(buf[:0], last, token))
		}
		last = token
	}
}

// Pair appends the key of a pair of tokens to dst.
func Pair(dst, a, b []byte) []byte {
	dst = append(dst, a...)
	dst = append(dst, ' ')
	return append(dst, b...)
}

// IsPair tells the key of a pair from that of a token.
func IsPair(key []byte) bool { return bytes.IndexByte(key, ' ') >= 0 }

// Trace turns the counters that a source's texts add to into picks: each distinct key gets the next number when it is
// met first. It ends after limit picks, 0 for none, and returns the number of distinct keys besides.
func (s *Source) Trace(pairs bool, limit int) (picks []uint32, keys int, err error) {
	ids := map[string]uint32{}
	for _, f := range s.Files {
		text, err := os.ReadFile(f.Path)
		if err != nil {
			return nil, 0, err
		}
		Counts(text, pairs, func(key []byte) {
			if limit > 0 && len(picks) == limit {
				return
			}
			id, ok := ids[string(key)]
			if !ok {
				id = uint32(len(ids))
				ids[string(key)] = id
			}
			picks = append(picks, id)
		})
		if limit > 0 && len(picks) == limit {
			break
		}
	}
	return picks, len(ids), nil
}
