package fileset

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/zeebo/xxh3"
)

const (
	format         = 1
	manifestSuffix = ".manifest"
	openSuffix     = ".open"
	headName       = "HEAD" + manifestSuffix
	// maxManifest bounds what a damaged directory can make Open read: a few hundred thousand files.
	maxManifest = 64 << 20
)

// Ref names an immutable file.
type Ref struct {
	Level  int    // the engine's own; shown in the name
	Number uint64 // ascends over the life of the set
	Sum    uint64 // xxh3 of the whole file
	Length int64  // bytes
}

// Name returns the file's name in the directory and on the remote.
func (r Ref) Name() string { return fmt.Sprintf("L%d.%06d-%016x", r.Level, r.Number, r.Sum) }

// parseRef is the inverse of Name.
func parseRef(name string) (r Ref, ok bool) {
	level, rest, ok1 := strings.Cut(strings.TrimPrefix(name, "L"), ".")
	number, sum, ok2 := strings.Cut(rest, "-")
	var err1, err2, err3 error
	r.Level, err1 = strconv.Atoi(level)
	r.Number, err2 = strconv.ParseUint(number, 10, 64)
	r.Sum, err3 = strconv.ParseUint(sum, 16, 64)
	return r, ok1 && ok2 && err1 == nil && err2 == nil && err3 == nil && r.Name() == name
}

// Manifest is a committed state.
type Manifest struct {
	Kind     string
	Sequence uint64
	Version  uint64 // 0 in HEAD
	Parent   uint64
	Highest  uint64
	Files    []Ref
}

func (m Manifest) name() string {
	if m.Version == 0 {
		return headName
	}
	return versionName(m.Version)
}

func versionName(v uint64) string { return fmt.Sprintf("v%020d%s", v, manifestSuffix) }

func isManifest(name string) bool {
	var v uint64
	_, err := fmt.Sscanf(name, "v%d"+manifestSuffix, &v)
	return name == headName || err == nil && name == versionName(v)
}

func (m Manifest) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "hybridlog-compare %s %d\nsequence %d\nversion %d\nparent %d\nhighest %d\n",
		m.Kind, format, m.Sequence, m.Version, m.Parent, m.Highest)
	for _, f := range m.Files {
		fmt.Fprintf(&b, "file %s %d\n", f.Name(), f.Length)
	}
	fmt.Fprintf(&b, "xxh3 %016x\n", xxh3.Hash(b.Bytes()))
	return b.Bytes()
}

// decode parses the manifest of an engine of this kind that is stored under name.
func decode(kind, name string, data []byte) (m Manifest, err error) {
	damaged := func(reason string) (Manifest, error) {
		return Manifest{}, &base.CorruptionError{File: name, Reason: reason}
	}
	// The first line alone decides about the format: a newer one may have another checksum.
	first, _, _ := bytes.Cut(data, []byte("\n"))
	var version int
	if _, err := fmt.Sscanf(string(first), "hybridlog-compare %s %d", &m.Kind, &version); err != nil {
		return damaged("not a manifest")
	}
	at := bytes.LastIndex(data[:max(len(data)-1, 0)], []byte("\n")) + 1
	whole := string(data[at:]) == fmt.Sprintf("xxh3 %016x\n", xxh3.Hash(data[:at]))
	switch {
	case version > format:
		return Manifest{}, fmt.Errorf("%w: %s has format %d, this is %d", base.ErrFormat, name, version, format)
	case !whole || version < 1:
		return damaged("checksum does not match")
	case m.Kind != kind:
		return Manifest{}, fmt.Errorf("%w: %s is of engine %q, not %q", base.ErrFormat, name, m.Kind, kind)
	}
	lines := strings.Split(string(data[:at]), "\n")
	lines = lines[1 : len(lines)-1]
	for _, field := range []struct {
		name  string
		value *uint64
	}{{"sequence", &m.Sequence}, {"version", &m.Version}, {"parent", &m.Parent}, {"highest", &m.Highest}} {
		if len(lines) == 0 {
			return damaged("lacks " + field.name)
		}
		if _, err := fmt.Sscanf(lines[0], field.name+" %d", field.value); err != nil {
			return damaged("lacks " + field.name)
		}
		lines = lines[1:]
	}
	for _, line := range lines {
		var file string
		var length int64
		if _, err := fmt.Sscanf(line, "file %s %d", &file, &length); err != nil || length < 0 {
			return damaged("bad line " + strconv.Quote(line))
		}
		ref, ok := parseRef(file)
		if !ok {
			return damaged("bad file " + strconv.Quote(file))
		}
		ref.Length = length
		m.Files = append(m.Files, ref)
	}
	if m.name() != name || m.Version > m.Highest {
		return damaged("holds another version")
	}
	return m, nil
}

func (m Manifest) equal(o Manifest) bool {
	return m.Kind == o.Kind && m.Sequence == o.Sequence && m.Version == o.Version && m.Parent == o.Parent &&
		m.Highest == o.Highest && slices.Equal(m.Files, o.Files)
}
