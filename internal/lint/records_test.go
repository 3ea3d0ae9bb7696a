package lint

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"testing"
)

// Records are changed through one door (W5): package record alone makes new states and writes to frames, and one function
// of hlog says what a door admits.
func TestRecords_AreChangedThroughOneDoor(t *testing.T) {
	const (
		room = "hlog/internal/record"
		door = "hlog/set.go" // Session.door
	)
	// Methods of word.State and word.Sizes that make another of it.
	changes := []string{"WithLock", "WithSeal", "Unseal", "WithTombstone", "WithInvalid", "WithValueLen", "WithSequence", "Bump", "OnDisk"}
	writes := []string{"Word", "StorePlain", "StoreRelease", "CompareAndSwap", "CopyIn"}
	doors := 0
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		if dir == room || dir == "internal/word" || dir == "hlog/internal/cold" { // cold writes to memory of its own, and never sees a frame
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(changes, sel.Sel.Name) {
				s.errorf(t, sel.Pos(), "only %s makes a state of a record: %s", room, sel.Sel.Name)
			}
			return true
		})
		selectors(s.file, func(at token.Pos, pkg, name string) {
			switch {
			case s.top() == "hlog" && pkg == "mem" && slices.Contains(writes, name) && !s.isTest():
				s.errorf(t, at, "only %s writes to a record: mem.%s", room, name)
			case pkg == "record" && name == "DoorOf" && s.name == door:
				doors++
			case pkg == "record" && name == "DoorOf" && !s.isTest():
				s.errorf(t, at, "what may be changed in place is said in %s alone", door)
			}
		})
	}
	if doors != 1 {
		t.Errorf("%s makes %d kinds of doors, not one: Session.door has moved, or somebody makes another", door, doors)
	}
}
