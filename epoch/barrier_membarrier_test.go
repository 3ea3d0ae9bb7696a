//go:build linux && amd64 && !race

package epoch

import "testing"

// waysToFence returns a manager for each way in which the store of Enter is made visible to the scan.
func waysToFence() map[string]*Manager {
	return map[string]*Manager{
		"membarrier":     New(),
		"stop the world": newManager(true, stopTheWorld),
		"portable":       newManager(false, nil),
	}
}

func TestNew_UsesMembarrierWhereTheKernelHasIt(t *testing.T) {
	m := New()
	if m.asymmetric != membarrier() {
		t.Fatalf("asymmetric is %v, but the kernel says otherwise", m.asymmetric)
	}
	if !m.asymmetric {
		t.Log("this kernel has no expedited membarrier: guards use sequentially consistent stores")
	}
}
