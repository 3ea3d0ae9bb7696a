package reclog

import (
	"runtime"
)

// patientWait returns how many requests of a queue to wait for at the least, in a loop that waits for one: none at first,
// then none after others have had the processor, which a wait in the kernel would keep from them, and then one, since
// nobody wants it.
func patientWait(tries int) (least int) {
	switch tries {
	case 0:
		return 0
	case 1:
		runtime.Gosched()
		return 0
	}
	return 1
}
