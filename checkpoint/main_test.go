package checkpoint

import (
	"os"
	"testing"

	"github.com/hybridlog/hybridlog/internal/testkit"
)

func TestMain(m *testing.M) {
	testkit.LetGarbageGrow()
	os.Exit(m.Run())
}
