package fuzz

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Kind is what a command does.
type Kind uint8

// The commands. A, B and C are the three bytes that follow the kind on a tape; what they mean stands behind each.
const (
	OpSet        Kind = iota // key A gets a value of size class B; C&1: by the session, else by the store
	OpDelete                 // key A; C&1 as above
	OpRMW                    // key A is modified in way B, with size class C where it needs one
	OpGet                    // key A
	OpMultiSet               // B keys from A on, C: size class
	OpMultiGet               // B keys from A on
	OpMultiRMW               // B keys from A on, in way C
	OpTable                  // 8-byte key A as a uint64: B%4 = update, set, get, delete
	OpFill                   // B keys of a wider range, from 4*A on, get values of size class C
	OpChurn                  // 8*B updates of C keys from A on, values of 8 to 64 bytes
	OpCheckpoint             // commits a version; A: gap before its id, B: length of the cookie
	OpBegin                  // begins a checkpoint; A, B as above
	OpWait                   // waits for all checkpoints that were begun
	OpRestore                // goes back to a version, chosen by A; 255 = the newest
	OpPurge                  // purges a version, chosen by A
	OpCompact                // empties the old log
	OpView                   // opens a view on a version, chosen by A
	OpViewCheck              // compares view A with the model; B&1: by scanning
	OpViewClose              // closes view A
	OpReopen                 // closes the store and opens it with option set A
	OpCrash                  // pulls the plug; A chooses what is left of the unsynced, B the seed; opens with option set C
	OpScan                   // compares the whole state with the model
	OpMisuse                 // asks for something that must be refused, chosen by A
	OpBurst                  // B updates each of disjoint keys by three goroutines at once
	OpUnit                   // a unit: B+1 from one side of pair A to the other, key C, and the count of units; C: what is refused in it
	OpChanges                // what version B has changed against version A, both chosen; C%8 = 0: against the empty state
	numKinds
)

// kindNames are the names of the constants above, without Op.
var kindNames = [numKinds]string{
	"Set", "Delete", "RMW", "Get", "MultiSet", "MultiGet", "MultiRMW", "Table", "Fill", "Churn", "Checkpoint", "Begin",
	"Wait", "Restore", "Purge", "Compact", "View", "ViewCheck", "ViewClose", "Reopen", "Crash", "Scan", "Misuse", "Burst",
	"Unit", "Changes",
}

// commandBytes is the length of a command on a tape: its kind and three operands.
const commandBytes = 4

// Op is one command.
type Op struct {
	Kind    Kind
	A, B, C byte
}

// String returns the command as the log of a failing run shows it.
func (o Op) String() string {
	return fmt.Sprintf("%s(%d,%d,%d)", strings.ToLower(kindNames[o.Kind]), o.A, o.B, o.C)
}

// GoString returns the command as TestRegress has it.
func (o Op) GoString() string {
	return fmt.Sprintf("{Op%s, %d, %d, %d}", kindNames[o.Kind], o.A, o.B, o.C)
}

// Tape is a sequence of commands.
type Tape []Op

// Decode reads at most limit commands from b. Whatever b is, it is a tape: an unknown kind is skipped, and so is what
// is left over at the end.
func Decode(b []byte, limit int) Tape {
	var t Tape
	for ; len(b) >= commandBytes && len(t) < limit; b = b[commandBytes:] {
		if b[0] < byte(numKinds) {
			t = append(t, Op{Kind(b[0]), b[1], b[2], b[3]})
		}
	}
	return t
}

// Encode returns the bytes that decode to t.
func (t Tape) Encode() []byte {
	b := make([]byte, 0, len(t)*commandBytes)
	for _, o := range t {
		b = append(b, byte(o.Kind), o.A, o.B, o.C)
	}
	return b
}

// String returns the commands in one line.
func (t Tape) String() string {
	s := make([]string, len(t))
	for i, o := range t {
		s[i] = o.String()
	}
	return strings.Join(s, " ")
}

// GoString returns the commands as TestRegress has them.
func (t Tape) GoString() string {
	s := make([]string, len(t))
	for i, o := range t {
		s[i] = o.GoString()
	}
	return "Tape{" + strings.Join(s, ", ") + "}"
}

// wideKeys is how many keys there are: those that a byte names, and the others that OpFill reaches.
const wideKeys = 4 * 256

// Key returns key i. Lengths are chosen to meet every form of a record: 8 bytes (the fast path of hash and compare),
// fewer, more, the longest key of a small record (255), and longer ones.
func Key(i int) []byte {
	i %= wideKeys
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 300), uint64(i))
	n := 8
	switch i % 8 {
	case 4:
		n = 2 + i/8%5 // 2 bytes tell all keys apart
	case 5:
		n = 9 + i/8%31
	case 6:
		n = 254 + i/8%3
	case 7:
		n = 300
	}
	for len(b) < n {
		b = append(b, byte(len(b)+i))
	}
	return b[:n]
}

// sizeClasses are the lengths of values: none, around a word, around the largest of a small record (2,040), up to what a
// page of 16 KiB holds exactly with a key of 8 bytes (16,352), and beyond: what fits into one store's page does not fit
// into that of the next.
var sizeClasses = [...]int{0, 1, 7, 8, 9, 16, 24, 100, 500, 2033, 2040, 2041, 4096, 7000, 12000, 16000, 16352, 16353, 40000, 120000}

// largestRecord is more than the record of any value takes.
const largestRecord = 128 << 10

// sizeOf returns the length that class c stands for.
func sizeOf(c byte) int { return sizeClasses[int(c)%len(sizeClasses)] }

// Value returns the n bytes that write number seq of a run writes. Two of them never agree in any eight bytes that are
// aligned, so that a torn or misplaced value is never taken for another.
func Value(seq uint64, n int) []byte {
	b := make([]byte, (n+7)&^7)
	x := seq*0x9e3779b97f4a7c15 | 1
	for off := 0; off < len(b); off += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(b[off:], x)
	}
	return b[:n:n]
}

// The ways of OpRMW.
const (
	rmwAppend    = iota // a token of 8 bytes
	rmwIncrement        // the first bytes, in place
	rmwHalve            // cuts the value
	rmwReplace          // by a new value of a size class
	rmwRemove           // returns nil
	rmwKeep             // returns old as it is
	rmwPanic            // the callback panics
	numRMW
)

// maxModified is the length beyond which rmwAppend halves instead.
const maxModified = 8000

// Modify is what way of OpRMW makes of old, which it may change. It must be called outside of RMW for rmwPanic.
func Modify(way int, old []byte, seq uint64, size byte) []byte {
	switch way {
	case rmwIncrement:
		if len(old) == 0 {
			return []byte{1}
		}
		for i := range old {
			if old[i]++; old[i] != 0 {
				break
			}
		}
		return old
	case rmwHalve:
		return old[:len(old)/2]
	case rmwReplace:
		return Value(seq, sizeOf(size))
	case rmwRemove:
		return nil
	case rmwKeep:
		return old
	}
	if len(old) > maxModified {
		return old[:len(old)/2]
	}
	if old == nil {
		old = []byte{}
	}
	return append(old, Value(seq, 8)...)
}
