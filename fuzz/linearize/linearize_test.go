package linearize

import (
	"os"
	"strings"
	"testing"
	"time"
)

// history records what it is told, with times as given.
func history(ops ...Op) *Recorder {
	r := New()
	for _, op := range ops {
		c := r.Client()
		c.ops = append(c.ops, op)
	}
	return r
}

func TestCheck_TellsRightFromWrong(t *testing.T) {
	for _, c := range []struct {
		name string
		ok   bool
		ops  []Op
	}{
		{"read after write", true, []Op{{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Get, Saw: 1, Call: 2, Return: 3}}},
		{"stale read", false, []Op{
			{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Set, Token: 2, Call: 2, Return: 3}, {Kind: Get, Saw: 1, Call: 4, Return: 5},
		}},
		{"read during a write", true, []Op{
			{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Set, Token: 2, Call: 2, Return: 9}, {Kind: Get, Saw: 1, Call: 4, Return: 5},
		}},
		{"lost update", false, []Op{
			{Kind: RMW, Token: 1, Call: 0, Return: 5}, {Kind: RMW, Token: 2, Call: 0, Return: 5},
		}},
		{"two updates", true, []Op{
			{Kind: RMW, Token: 1, Call: 0, Return: 5}, {Kind: RMW, Saw: 1, Token: 2, Call: 0, Return: 5},
		}},
		{"revived", false, []Op{
			{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Delete, Call: 2, Return: 3}, {Kind: Get, Saw: 1, Call: 4, Return: 5},
		}},
		{"new value, then the old one", false, []Op{
			{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Set, Token: 2, Call: 2, Return: 9},
			{Kind: Get, Saw: 2, Call: 3, Return: 4}, {Kind: Get, Saw: 1, Call: 5, Return: 6},
		}},
		{"restored", true, []Op{
			{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Checkpoint, Version: 3, Call: 2, Return: 3}, {Kind: Set, Token: 2, Call: 4, Return: 5},
			{Kind: Restore, Version: 3, Call: 6, Return: 9}, {Kind: Get, Saw: 2, Call: 6, Return: 7}, {Kind: Get, Saw: 1, Call: 8, Return: 11},
		}},
		{"not restored", false, []Op{
			{Kind: Set, Token: 1, Call: 0, Return: 1}, {Kind: Checkpoint, Version: 3, Call: 2, Return: 3}, {Kind: Set, Token: 2, Call: 4, Return: 5},
			{Kind: Restore, Version: 3, Call: 6, Return: 7}, {Kind: Get, Saw: 2, Call: 8, Return: 9},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			res := history(c.ops...).Check(1, time.Minute, t.TempDir())
			if res.Unknown > 0 || (len(res.Bad) == 0) != c.ok || res.Operations != len(c.ops) {
				t.Errorf("%+v", res)
			}
			for _, drawing := range res.Bad {
				for _, name := range []string{drawing, strings.TrimSuffix(drawing, ".html") + ".json"} {
					if info, err := os.Stat(name); err != nil || info.Size() == 0 {
						t.Errorf("not saved: %v", err)
					}
				}
			}
		})
	}
}
