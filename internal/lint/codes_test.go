package lint

import (
	"regexp"
	"strings"
	"testing"
)

var (
	// definition is a line of a comment that states a rule: its code, then a sentence.
	definition = regexp.MustCompile(`^//\t([A-Z][0-9]{1,2}) +[A-Z]`)
	// quotation is codes in brackets: (H3), (C4, H8), (W1 to W4).
	quotation = regexp.MustCompile(`\(([A-Z][0-9]{1,2}(?:(?:, | and | to )[A-Z][0-9]{1,2})*)\)`)
	code      = regexp.MustCompile(`[A-Z][0-9]{1,2}`)
)

// The code of a rule means one rule in the whole project, and one that exists.
func TestCodes_MeanOneRule(t *testing.T) {
	all := sources(t)
	stated := map[string]string{}
	for _, s := range all {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				m := definition.FindStringSubmatch(c.Text)
				if m == nil {
					continue
				}
				if other, ok := stated[m[1]]; ok {
					s.errorf(t, c.Pos(), "%s is stated in %s, too", m[1], other)
				}
				stated[m[1]] = s.name
			}
		}
	}
	quoted := 0
	for _, s := range all {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				for _, m := range quotation.FindAllStringSubmatch(c.Text, -1) {
					for _, k := range code.FindAllString(m[1], -1) {
						quoted++
						if _, ok := stated[k]; !ok && !strings.HasPrefix(k, "G") { // the guarantees are the README's
							s.errorf(t, c.Pos(), "nobody states %s", k)
						}
					}
				}
			}
		}
	}
	if len(stated) < 20 || quoted < 20 {
		t.Errorf("%d rules are stated and %d quotations found: this holds for nothing", len(stated), quoted)
	}
}
