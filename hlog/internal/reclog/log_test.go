package reclog

import (
	"math/bits"
	"reflect"
	"testing"
)

// What operations read of the log shares one cache line with nothing that an operation changes. The log is one object of
// the Go heap, which puts a header of 8 bytes before it.
func TestLog_LinesOfTheRegions(t *testing.T) {
	if bits.UintSize != 64 {
		t.Skip("lines are laid out for 64 bits")
	}
	const line, header = 64, 8
	at := func(field string) uintptr {
		f, ok := reflect.TypeFor[Log]().FieldByName(field)
		if !ok {
			t.Fatalf("the log has no field %s", field)
		}
		return f.Offset + header
	}
	home := at("limit") / line
	for _, field := range []string{"limit", "readOnly", "safeReadOnly", "head", "begin"} {
		if at(field)/line != home {
			t.Errorf("%s is in line %d, limit in line %d", field, at(field)/line, home)
		}
	}
	for _, field := range []string{"singles", "limit", "mutableFraction"} {
		if at(field)/line == at("tail")/line {
			t.Errorf("%s is in the line of tail", field)
		}
	}
	if at("mutableFraction")/line == home {
		t.Error("mutableFraction is in the line of the regions")
	}
}
