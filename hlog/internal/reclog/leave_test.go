package reclog

import (
	"bytes"
	"testing"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Every record is offered once before it leaves memory, while it is still there, as the disk has it, with the uses of the
// time when it was old.
func TestLeaving_OfferedBeforeItLeaves(t *testing.T) {
	const pages = 16
	k := newKit(t, pages)
	reader := k.NewReader()
	left := map[word.Address]int{}
	k.hooks.Leaving = func(r *Leaving) {
		if uint64(r.At) < k.Head() {
			t.Errorf("the record at %#x has left: head is %#x", uint64(r.At), k.Head())
		}
		if uint64(r.At) >= k.SafeReadOnly() {
			t.Errorf("the record at %#x may still change", uint64(r.At))
		}
		if _, twice := left[r.At]; twice {
			t.Errorf("the record at %#x is offered twice", uint64(r.At))
		}
		left[r.At] = r.Heat
		rec := r.Record()
		disk, _, err := reader.Read(r.At)
		must(t, err)
		disk = bytes.Clone(disk)
		disk.Cool() // it has a checksum
		if !bytes.Equal(disk, rec) {
			t.Errorf("the record at %#x is another one on disk", uint64(r.At))
		}
	}
	use := func(a word.Address) {
		k.guard.Enter()
		defer k.guard.Exit()
		k.Used(record.See(a, k.At(a)))
	}
	first := k.write(100)
	use(first)
	k.fill(pages / 2 * kitPage)
	if k.Aging() != 0 {
		t.Errorf("uses count below %#x while memory suffices", k.Aging())
	}
	var written []word.Address
	for k.Head() == uint64(word.FirstAddress) {
		written = append(written, k.write(500))
	}
	for uint64(written[0]) >= k.Aging() {
		k.write(500)
	}
	use(written[0])
	use(written[0])
	use(written[len(written)-1])
	k.fill(2 * pages * kitPage)
	if heat := left[first]; heat != 0 {
		t.Errorf("a use while memory sufficed has counted: heat %d", heat)
	}
	if a := written[0]; left[a] != 2 {
		t.Errorf("two uses have left heat %d", left[a])
	}
	if a := written[len(written)-1]; left[a] != 0 {
		t.Errorf("the use of a young record has left heat %d", left[a])
	}
	for _, a := range append(written, first) {
		if _, ok := left[a]; !ok {
			t.Errorf("the record at %#x was not offered", uint64(a))
		}
	}
}
