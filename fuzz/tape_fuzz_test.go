package fuzz

import (
	"fmt"
	"testing"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// maxCommands bounds the tapes of the fuzz targets.
const maxCommands = 120

// play plays a tape on a disk of its own, with crashes at some of the calls. The byte how chooses options, and whether
// the store has its goroutines (bit 2 clear) or does everything step by step, so that the run replays.
func play(how byte, tape Tape) error {
	disk := fsx.NewCrash(fsx.CrashOptions{Direct: how&1 == 1})
	first := int(how>>3) % len(settings)
	options := append(settings[first:len(settings):len(settings)], settings[:first]...)
	if how&2 == 2 {
		options = []hlog.Options{small}
	}
	r := &Runner{FS: disk, Disk: disk, Options: options}
	if how&4 == 4 {
		r.HashSeed, r.Work = uint64(how>>3)+1, step.New(uint64(how))
	}
	c := &Crasher{Options: options, Outcome: r.Outcome, Every: 11 + int(how>>4), Sparser: true, Subsets: 2, Again: 50, Depths: 20, Stepped: r.Work != nil}
	r.NewDisk = c.Watch
	c.Watch(disk)
	if err := within(func() error { return r.Play(tape) }); err != nil {
		return err
	}
	return c.Err()
}

// fuzzPlay plays the tape that a fuzz target makes of its input, whose first byte is how.
func fuzzPlay(t *testing.T, data []byte, decode func([]byte) Tape) {
	if len(data) == 0 {
		return
	}
	tape := decode(data[1:])
	if err := play(data[0], tape); err != nil {
		report(t, fmt.Sprint("how ", data[0]), err, tape, func(tape Tape) error { return play(data[0], tape) })
	}
}

// FuzzCrashRecovery plays any tape against the model that knows every version.
func FuzzCrashRecovery(f *testing.F) {
	for seed := range uint64(6) {
		f.Add(append([]byte{byte(seed)}, randomTape(seed+10, 60).Encode()...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzPlay(t, data, func(b []byte) Tape { return Decode(b, maxCommands) })
	})
}

// rollbackKinds are the commands of FuzzRollback.
var rollbackKinds = [16]Kind{OpSet, OpSet, OpDelete, OpRMW, OpFill, OpCheckpoint, OpCheckpoint, OpBegin, OpRestore, OpRestore,
	OpPurge, OpCompact, OpView, OpViewCheck, OpReopen, OpCrash}

// FuzzRollback has little else than versions: each byte of the input chooses a command, and the next one its operand.
func FuzzRollback(f *testing.F) {
	f.Add([]byte("\x02set, checkpoint, and back again; purge what is old, then go on from there"))
	f.Add([]byte{3, 4, 40, 5, 1, 0, 7, 6, 2, 8, 0, 4, 30, 6, 3, 9, 1, 14, 0, 9, 0, 10, 1, 11, 0, 6, 1, 15, 1, 9, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzPlay(t, data, func(b []byte) Tape {
			var tape Tape
			for ; len(b) >= 2 && len(tape) < maxCommands; b = b[2:] {
				o := Op{rollbackKinds[b[0]%16], b[1], b[1] >> 3, b[0] >> 4}
				if o.Kind == OpFill {
					o.A, o.B = b[1]%8*8, 3+b[1]>>4
				}
				tape = append(tape, o)
			}
			return tape
		})
	})
}
