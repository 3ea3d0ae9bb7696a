package lint

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"testing"
)

// The phase of a store moves in one function, together with the control word that operations ask.
func TestLife_MovesInOneFile(t *testing.T) {
	const home = "hlog/lifecycle.go"
	moves := 0
	for _, s := range sources(t) {
		if !s.shipped() || s.top() != "hlog" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if of, ok := n.X.(*ast.SelectorExpr); ok && of.Sel.Name == "life" && n.Sel.Name == "Move" {
					if moves++; s.name != home {
						s.errorf(t, n.Pos(), "only %s moves the phase of a store", home)
					}
				}
			case *ast.Ident:
				if n.Name == "closedBit" && s.name != home && s.name != "hlog/control.go" {
					s.errorf(t, n.Pos(), "only %s closes the control word", home)
				}
			}
			return true
		})
	}
	if moves == 0 {
		t.Errorf("%s moves no phase: the rule holds for nothing", home)
	}
}

// Every job of the background is in one table. Goroutines that belong to a call, or to the reads that are under way, are
// named there, too.
func TestBackground_IsInOneTable(t *testing.T) {
	const home = "hlog/background.go"
	others := []string{"hlog/cookie.go", "hlog/changes_remote.go", "hlog/replay.go", "hlog/internal/reclog/gather.go"}
	jobs := 0
	for _, s := range sources(t) {
		if !s.shipped() || s.top() != "hlog" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				if !slices.Contains(others, s.name) {
					s.errorf(t, n.Pos(), "background work is a job of %s", home)
				}
			case *ast.SelectorExpr:
				if of, ok := n.X.(*ast.SelectorExpr); ok && of.Sel.Name == "jobs" && n.Sel.Name == "Add" {
					if jobs++; s.name != home {
						s.errorf(t, n.Pos(), "jobs are made in %s", path.Base(home))
					}
				}
			}
			return true
		})
	}
	if jobs == 0 {
		t.Errorf("%s makes no jobs: the rule holds for nothing", home)
	}
}

// A Store is few things, grouped by what guards them.
func TestStore_HasFewFields(t *testing.T) {
	const most = 20
	for _, s := range sources(t) {
		if s.name != "hlog/store.go" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != "Store" {
				return true
			}
			fields := 0
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				fields += max(len(f.Names), 1) // an embedded one has no name
			}
			if fields == 0 || fields > most {
				s.errorf(t, spec.Pos(), "Store has %d fields, %d at most", fields, most)
			}
			return true
		})
	}
}

// The locks of a store have ranks. Those of the cache of cold records, which are taken alone, have none.
func TestLocks_HaveRanks(t *testing.T) {
	ranked := []string{"hlog", "hlog/internal/reclog", "hlog/internal/ledger", "hlog/internal/shares", "hlog/internal/view", "checkpoint"}
	for _, s := range sources(t) {
		if s.isTest() || !slices.Contains(ranked, path.Dir(s.name)) {
			continue
		}
		selectors(s.file, func(at token.Pos, pkg, name string) {
			if pkg == "sync" && (name == "Mutex" || name == "RWMutex") {
				s.errorf(t, at, "a lock of a store has a rank: use package lock, not sync.%s", name)
			}
		})
	}
}
