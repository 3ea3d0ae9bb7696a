package compare

import (
	"strings"
	"testing"
)

func TestOpen_OptionsOutOfRange(t *testing.T) {
	for field, o := range map[string]Options{
		"MemoryBytes":    {MemoryBytes: -1},
		"MaxRuns":        {MaxRuns: 1},
		"Density":        {Density: -3},
		"MemtableBytes":  {MemtableBytes: 2 << 30},
		"ThresholdBytes": {ThresholdBytes: -1},
		"FalsePositives": {FalsePositives: 1},
	} {
		dir := t.TempDir() + "/new"
		if _, err := Open("lsm", dir, o); err == nil || !strings.Contains(err.Error(), "Options."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := Open("btree", t.TempDir(), Options{}); err == nil || !strings.Contains(err.Error(), "lsm") {
		t.Errorf("an engine that does not exist: %v", err)
	}
}

func TestKinds_Open(t *testing.T) {
	for _, kind := range Kinds() {
		for _, o := range []Options{{}, ThesisOptions()} {
			e, err := Open(kind, t.TempDir(), o)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if err := e.Close(); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
}
