package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Store.Metrics has, the collector for Prometheus exports: its own tests, in a module of their own, hold it to that.
// This one says so to whoever adds a field.
func TestMetrics_EveryFieldIsExported(t *testing.T) {
	exported, err := os.ReadFile(filepath.Join(root, "metrics/prometheus/series.go"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "hlog/metrics.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Metrics" {
			return true
		}
		for _, field := range spec.Type.(*ast.StructType).Fields.List {
			for _, name := range field.Names {
				fields++
				if !strings.Contains(string(exported), "m."+name.Name) {
					t.Errorf("hlog.Metrics.%s is not exported: add it to the list in metrics/prometheus/series.go", name.Name)
				}
			}
		}
		return false
	})
	if fields < 30 {
		t.Errorf("only %d fields of hlog.Metrics were found", fields)
	}
}
