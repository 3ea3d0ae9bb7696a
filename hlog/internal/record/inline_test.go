package record

import (
	"math/bits"
	"os/exec"
	"strings"
	"testing"
)

// The short paths of the operations are as fast as they are because they call nothing while they look for a record and
// change it. Some of what they use is close to the largest that the compiler makes part of its caller.
func TestShortPaths_AreInlined(t *testing.T) {
	if bits.UintSize != 64 {
		t.Skip("with words of two registers some are too large")
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{
		"See", "Seen.State", "Seen.IsOfWord", "Seen.IsPair", "Seen.Word", "Seen.ReadOfWord", "Seen.Seal",
		"DoorOf", "Door.Mutable", "Door.Admits", "Door.Lock", "Locked.SetWord", "LinkAt", "StateAt", "IsSmallOfWord", "IsLargeOfWord",
	} {
		if !strings.Contains(string(out), ": can inline "+name+"\n") {
			t.Errorf("%s is called, not inlined", name)
		}
	}
}
