package protocol

// Plant is a mistake that is made on purpose.
type Plant uint8

// The mistakes. Those marked with an asterisk are former bugs of the engine.
const (
	Sound             Plant = iota
	NoSeal                  // a copy is published without sealing its source
	NoMove                  // an operation of the old version goes on over a record of the new one
	InPlaceAnyVersion       // an update in place does not look at the record's version
	InPlaceToSafe           // an update in place looks at safeReadOnly instead of readOnly
	NoCutWait               // the cut does not wait for operations of the old version
	NoAwaitCut              // a checkpoint begins before the cut of the one before
	NoFlushDrain            // nobody waits between raising readOnly and flushing
	NoEvictDrain            // nobody waits between raising head and reusing frames
	NoSkip                  // recovery keeps records of the next version in the fuzzy end
	StoreEntry              // entries are stored, not compared and swapped
	KeepVersion             // a read-modify-write goes on in the version that it has read in
	StaleUpdate             // * a read-modify-write does not compare a record that has become read-only
	LateBegin               // * a cold read looks at begin after it has left the epoch
	CompactAlways           // compaction moves records without looking whether they are the newest
	CompactSkipsEnd         // * compaction leaves out the next version's records in the fuzzy end
	DropTombstone           // compaction drops a tombstone that a version does not share
	NoFreeze                // growth copies entries without freezing the old ones
	CoarseIndex             // recovery replays into a coarser index than the log was written with
	FillOutside             // * the filler at a cut is written outside the epoch
	NoRestoreDrain          // a restore does not wait for operations that are inside
	NoBump                  // a restore does not begin a new log version
	CutInUnit               // a cut does not wait for the units under way
	RestoreInUnit           // a restore does not wait for the units under way
	LookFirst               // a unit looks at the gate before it says that it is under way
	NoLook                  // a unit does not look at the gate
	OpenEarly               // the gate is opened before the new version is begun
	NoCarry                 // an update that goes first starts over when a checkpoint has begun
	CarryStale              // an update that goes first does not compare what it has read
	CarryOldVersion         // an update that is carried into a later version is written in the one that it has read in
	CarryPaused             // an update that goes first enters while a restore is under way
	CarryOverRestore        // an update is carried over a restore
	HoldCompaction          // a page is held up although compaction waits for it
	AskFirst                // compaction asks for a page before it says that it waits for one
	HoldUnits               // a page is held up although a cut waits for units
	UnitsUntold             // nobody asks again for pages that are held up when units are waited for
	HoldUntilVersion        // pages are held up after compaction, until the next version
	LiftUntold              // nobody asks again for pages that were held up when they are no more
	plants
)

var plantNames = [...]string{
	"none", "no seal", "no move to the new version", "in place in any version", "in place above safeReadOnly",
	"no wait before the cut", "no wait for the cut before", "no drain before the flush", "no drain before frames are reused",
	"no skip of newer records at recovery", "store instead of compare-and-swap of the entry", "update keeps its version",
	"stale update of a read-only record", "cold read loads begin late", "unconditional copy in compaction",
	"compaction skips the fuzzy end", "tombstone dropped above an older value", "growth without freezing",
	"recovery into a coarser index", "filler written outside the epoch", "restore without a drain", "restore without a new version",
	"cut during a unit", "restore during a unit", "unit that looks at the gate first", "unit that passes a shut gate", "gate opened before the cut",
	"no carrying over a checkpoint", "stale update that goes first", "carried update in the old version", "update that goes first during a restore",
	"update carried over a restore", "compaction held up by itself", "page asked for before it is said for whom", "unit held up under a cut",
	"held-up unit untold of the cut", "held up until the next version", "held-up writers untold of the end",
}

// String returns what the mistake is.
func (p Plant) String() string { return plantNames[p] }

const _ = uint(len(plantNames)-int(plants)) + uint(int(plants)-len(plantNames))
