package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the module's directory, seen from this one.
const root = "../.."

const module = "github.com/hybridlog/hybridlog"

// maxLines is the longest a source file may be.
const maxLines = 800

// arrows says for each top directory which others its files, tests included, may import. Everything may import itself
// and internal, except where seesOnly says less.
var arrows = map[string][]string{
	"internal":   {},
	"epoch":      {},
	"index":      {"epoch"},
	"checkpoint": {},
	"hlog":       {"index", "epoch", "checkpoint"},
	"compare":    {"hlog", "checkpoint"},
	"fuzz":       {"compare", "hlog", "index", "epoch", "checkpoint"},
	"bench":      {"compare", "hlog", "index", "epoch", "checkpoint"},
	"cmd":        {"hlog", "checkpoint"},
	"examples":   {"hlog", "checkpoint"},
	"metrics":    {"hlog"},
	"remote":     {"checkpoint", "hlog", "cmd"},
	"stream":     {"checkpoint", "hlog"},
	"replica":    {"checkpoint", "hlog"},
}

// rooms says for each package below hlog/internal which directories beside internal its files may import: other rooms by
// their whole path.
var rooms = map[string][]string{
	"coldcache": {},
	"cold":      {"index"},
	"life":      {},
	"record":    {},
	"units":     {"epoch"},
	"reclog":    {"epoch", "hlog/internal/life", "hlog/internal/record"},
	"ledger":    {"checkpoint"},
	"view":      {"checkpoint", "epoch", "index", "hlog/internal/cold", "hlog/internal/coldcache", "hlog/internal/ledger", "hlog/internal/reclog", "hlog/internal/record", "hlog/internal/shares"},
	"shares":    {"checkpoint", "index", "hlog/internal/ledger", "hlog/internal/life", "hlog/internal/reclog"},
}

// removers are the only files of the library that may remove a file: those that know what keeps one, and those that
// remove what nobody else has seen yet. Directories of internal are left to themselves.
var removers = []string{
	"checkpoint/collect.go",         // what nothing keeps any more
	"checkpoint/commit.go",          // manifests that are doomed
	"checkpoint/retain.go",          // manifests of versions that are purged
	"checkpoint/create.go",          // what an interrupted making of a store left, and NONE
	"checkpoint/takeover.go",        // what an interrupted call left half-written
	"checkpoint/fetch.go",           // what came down in part
	"checkpoint/import.go",          // what came of a stream in part
	"checkpoint/remote_dir.go",      // objects of a remote
	"hlog/internal/ledger/claim.go", // what was made and not published
	"hlog/open.go",                  // directories that could not be made durable
}

// dirUsers are the only files outside of checkpoint that may name a directory of versions and what changes it. Everybody
// else has the ledger, which keeps the books of what changes.
var dirUsers = []string{"hlog/open.go", "hlog/remote.go", "hlog/fill.go", "hlog/internal/ledger/ledger.go"}

// library is what a user's program links.
var library = []string{"internal", "epoch", "index", "checkpoint", "hlog"}

// dependencies are the modules that the library may import. Tests, compare, fuzz and bench may use more.
var dependencies = []string{
	"golang.org/x/sys",
	"github.com/edsrzf/mmap-go",
	"github.com/zeebo/xxh3",
	"github.com/puzpuzpuz/xsync/v3",
}

// source is one Go file of the module.
type source struct {
	name   string // slash-separated, from the module's root
	text   []byte
	set    *token.FileSet
	file   *ast.File
	nested bool // belongs to a module of its own
}

func (s *source) top() string  { return strings.SplitN(s.name, "/", 2)[0] }
func (s *source) isTest() bool { return strings.HasSuffix(s.name, "_test.go") }

// shipped reports whether a user's program could contain the file.
func (s *source) shipped() bool {
	return !s.nested && !s.isTest() && slices.Contains(library, s.top())
}

func (s *source) errorf(t *testing.T, at token.Pos, message string, args ...any) {
	t.Helper()
	t.Errorf("%s:%d: %s", s.name, s.set.Position(at).Line, fmt.Sprintf(message, args...))
}

// imports calls fn with every import path and the name under which it is known in the file.
func (s *source) imports(fn func(at token.Pos, name, importPath string)) {
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		fn(spec.Pos(), name, p)
	}
}

// files returns the names of all files that end in suffix, slash-separated and relative to the root of the module, and
// the directories that hold modules of their own. Hidden directories and test data are left out.
func files(t *testing.T, suffix string) (names, nested []string) {
	t.Helper()
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !bytes.HasPrefix(mod, []byte("module "+module+"\n")) {
		t.Fatalf("%s is not the root of %s: %v", root, module, err)
	}
	err = fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			if strings.HasSuffix(name, suffix) {
				names = append(names, name)
			}
		case name == ".":
		case strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata":
			return fs.SkipDir
		default:
			if _, err := os.Stat(filepath.Join(root, name, "go.mod")); err == nil {
				nested = append(nested, name+"/")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names, nested
}

// parsed is what sources has returned.
var parsed []*source

// sources reads the Go files of the whole tree, once for all tests.
func sources(t *testing.T) []*source {
	t.Helper()
	if parsed == nil {
		parsed = parse(t)
	}
	return parsed
}

func parse(t *testing.T) []*source {
	t.Helper()
	names, nested := files(t, ".go")
	var all []*source
	for _, name := range names {
		s := &source{name: name, set: token.NewFileSet()}
		s.nested = slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(name, dir) })
		var err error
		if s.text, err = os.ReadFile(filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
		s.file, err = parser.ParseFile(s.set, name, s.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if len(all) < 20 {
		t.Fatalf("only %d source files found: the rules would hold for nothing", len(all))
	}
	return all
}

func TestImports_PointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		allowed, known := arrows[s.top()]
		if !known {
			t.Errorf("%s: no rule for the directory %s; add it to arrows", s.name, s.top())
			continue
		}
		s.imports(func(at token.Pos, _, p string) {
			rest, ours := strings.CutPrefix(p, module+"/")
			to := strings.SplitN(rest, "/", 2)[0]
			if ours && to != s.top() && to != "internal" && !slices.Contains(allowed, to) {
				s.errorf(t, at, "%s must not import %s", s.top(), to)
			}
		})
	}
}

func TestImports_RoomsOfHlogPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		within, ok := strings.CutPrefix(s.name, "hlog/internal/")
		if !ok {
			continue
		}
		room := strings.SplitN(within, "/", 2)[0]
		allowed, known := rooms[room]
		if !known {
			t.Errorf("%s: no rule for the room %s; add it to rooms", s.name, room)
			continue
		}
		s.imports(func(at token.Pos, _, p string) {
			rest, ours := strings.CutPrefix(p, module+"/")
			may := strings.HasPrefix(rest, "internal/") || rest == "hlog/internal/"+room || slices.Contains(allowed, rest)
			if ours && !may {
				s.errorf(t, at, "the room %s must not import %s", room, rest)
			}
		})
	}
}

func TestImports_IndexSeesNoKeysAndCheckpointNoRecords(t *testing.T) {
	// A checkpoint is bytes and files: the packed words and the memory they live in are not its business.
	forbidden := map[string][]string{
		"checkpoint": {"internal/word", "internal/mem"},
		"internal":   {"internal/lint"},
	}
	for _, s := range sources(t) {
		s.imports(func(at token.Pos, _, p string) {
			rest, ours := strings.CutPrefix(p, module+"/")
			if ours && !s.isTest() && slices.Contains(forbidden[s.top()], rest) {
				s.errorf(t, at, "%s must not import %s", s.top(), rest)
			}
		})
	}
}

func TestImports_LibraryDependsOnFourModules(t *testing.T) {
	for _, s := range sources(t) {
		if !s.shipped() {
			continue
		}
		s.imports(func(at token.Pos, _, p string) {
			outside := strings.Contains(strings.SplitN(p, "/", 2)[0], ".")
			ours := strings.HasPrefix(p, module+"/")
			of := func(dep string) bool { return p == dep || strings.HasPrefix(p, dep+"/") }
			if outside && !ours && !slices.ContainsFunc(dependencies, of) {
				s.errorf(t, at, "the library must not depend on %s", p)
			}
		})
	}
}

// What the log has made durable, and what was lost, moves in one file: the rule for a sync that failed (D6) stands there and
// nowhere else. Outside of the room the compiler sees to it, but for what a store may abandon: only a restore does.
func TestDurability_MovesInOneFile(t *testing.T) {
	const room, home = "hlog/internal/reclog", "hlog/internal/reclog/durability.go"
	all := sources(t)
	fields, restores := durabilityFields(t, all, home), false
	for _, s := range all {
		if s.isTest() || s.name == home {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of, _ := sel.X.(*ast.SelectorExpr)
			switch {
			case path.Dir(s.name) == room && of != nil && of.Sel.Name == "durability" && slices.Contains(fields, sel.Sel.Name):
				s.errorf(t, sel.Pos(), "only %s touches %s of a Durability", home, sel.Sel.Name)
			case s.top() == "hlog" && of != nil && of.Sel.Name == "log" && sel.Sel.Name == "Abandon":
				if restores = true; s.name != "hlog/restore.go" {
					s.errorf(t, sel.Pos(), "only a restore abandons log")
				}
			}
			return true
		})
	}
	if !restores {
		t.Error("no restore abandons log: the rule holds for nothing")
	}
}

// durabilityFields returns the names of the fields of the type Durability, which is in the file home.
func durabilityFields(t *testing.T, all []*source, home string) (names []string) {
	t.Helper()
	for _, s := range all {
		if s.name != home {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == "Durability" {
				for _, f := range spec.Type.(*ast.StructType).Fields.List {
					for _, name := range f.Names {
						names = append(names, name.Name)
					}
				}
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatalf("%s has no type Durability with fields", home)
	}
	return names
}

func TestUnsafe_OnlyInMem(t *testing.T) {
	const home = "internal/mem"
	for _, s := range sources(t) {
		if path.Dir(s.name) == home {
			continue
		}
		s.imports(func(at token.Pos, _, p string) {
			if p == "unsafe" || p == "C" {
				s.errorf(t, at, "only %s may import %s", home, p)
			}
		})
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname ") {
					s.errorf(t, c.Pos(), "no back doors into other packages")
				}
			}
		}
	}
	assembly, _ := files(t, ".s")
	for _, name := range assembly {
		if path.Dir(name) != home {
			t.Errorf("%s: assembly belongs into %s", name, home)
		}
	}
}

func TestAtomics_AreTyped(t *testing.T) {
	verbs := []string{"Add", "And", "CompareAndSwap", "Load", "Or", "Store", "Swap"}
	for _, s := range sources(t) {
		known := ""
		s.imports(func(_ token.Pos, name, p string) {
			if p == "sync/atomic" {
				known = name
			}
		})
		if known == "" {
			continue
		}
		selectors(s.file, func(at token.Pos, pkg, name string) {
			raw := slices.ContainsFunc(verbs, func(v string) bool { return strings.HasPrefix(name, v) })
			if pkg == known && raw {
				s.errorf(t, at, "atomic.%s is a raw function: use a typed atomic", name)
			}
		})
	}
}

func TestLibrary_DoesNotPrintExitOrRunAtImport(t *testing.T) {
	forbidden := []string{"fmt.Print", "fmt.Printf", "fmt.Println", "os.Exit", "os.Stdout", "os.Stderr"}
	for _, s := range sources(t) {
		if !s.shipped() {
			continue
		}
		s.imports(func(at token.Pos, _, p string) {
			if p == "log" {
				s.errorf(t, at, "the library logs through the logger it is given, or not at all")
			}
		})
		selectors(s.file, func(at token.Pos, pkg, name string) {
			if slices.Contains(forbidden, pkg+"."+name) {
				s.errorf(t, at, "a library does not use %s.%s", pkg, name)
			}
		})
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				s.errorf(t, f.Pos(), "nothing runs at import")
			}
		}
	}
}

func TestFiles_AreRemovedInFewPlaces(t *testing.T) {
	for _, s := range sources(t) {
		if !s.shipped() || s.top() == "internal" || slices.Contains(removers, s.name) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Remove" || sel.Sel.Name == "RemoveAll") {
				s.errorf(t, sel.Pos(), "%s of a file: what keeps it is known to the ledger only", sel.Sel.Name)
			}
			return true
		})
	}
}

func TestVersions_ChangeByTheLedgerOnly(t *testing.T) {
	for _, s := range sources(t) {
		if s.top() != "hlog" || s.isTest() || slices.Contains(dirUsers, s.name) {
			continue
		}
		selectors(s.file, func(at token.Pos, pkg, name string) {
			if pkg == "checkpoint" && slices.Contains([]string{"Dir", "OpenDir", "NewMirror", "SetAside"}, name) {
				s.errorf(t, at, "checkpoint.%s: versions change by the ledger only", name)
			}
		})
	}
}

// selectors calls fn for every x.y of the file where x is a plain name.
func selectors(f *ast.File, fn func(at token.Pos, x, y string)) {
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				fn(sel.Pos(), x.Name, sel.Sel.Name)
			}
		}
		return true
	})
}

// A type that embeds a file system and opens files in a way of its own must do so in a Root as well, or a store, which
// opens one, would go past it.
func TestFileSystems_OpenRootsOfTheirOwn(t *testing.T) {
	type named struct{ dir, name string }
	embed := map[named]func(message string){}
	methods := map[named]map[string]bool{}
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				of := f.Recv.List[0].Type
				if star, ok := of.(*ast.StarExpr); ok {
					of = star.X
				}
				if id, ok := of.(*ast.Ident); ok {
					n := named{dir, id.Name}
					if methods[n] == nil {
						methods[n] = map[string]bool{}
					}
					methods[n][f.Name.Name] = true
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if st, ok := spec.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					if sel, ok := f.Type.(*ast.SelectorExpr); ok && len(f.Names) == 0 && sel.Sel.Name == "FS" {
						embed[named{dir, spec.Name.Name}] = func(message string) { s.errorf(t, spec.Pos(), "%s %s", spec.Name.Name, message) }
					}
				}
			}
			return true
		})
	}
	if len(embed) < 5 {
		t.Fatalf("only %d types embed a file system: the rule would hold for nothing", len(embed))
	}
	for n, complain := range embed {
		if methods[n]["Open"] && !methods[n]["OpenRoot"] {
			complain("has an Open and no OpenRoot of its own (fsx.OpenRootBy)")
		}
	}
}

func TestFiles_FormattedAndShort(t *testing.T) {
	for _, s := range sources(t) {
		want, err := format.Source(s.text)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
		} else if !bytes.Equal(s.text, want) {
			t.Errorf("%s is not formatted: run gofmt -w", s.name)
		}
		if n := bytes.Count(s.text, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines; %d is the limit", s.name, n, maxLines)
		}
	}
}

func TestFiles_PackagesAreDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() || s.nested {
			continue
		}
		dir := path.Dir(s.name)
		documented[dir] = documented[dir] || s.file.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
