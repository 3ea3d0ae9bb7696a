package tiers

// Plant is a measure of the protocol that is left out on purpose.
type Plant uint8

// The plants.
const (
	Sound          Plant = iota
	NoGeneration         // an update that rests on a cold read does not compare the generation when it publishes
	GenerationOut        // it compares it before it enters the epoch
	LoadApart            // begin and segments of the tier are read apart
	NoDrain              // entries are cleared before everybody who may have seen the tier before has left
	SwitchInCut          // a demotion switches the tier while a checkpoint takes its cut
	NameLate             // a version names the tier that stands when its manifest is written
	DropTombstone        // a merge drops tombstones although something older lies below
	NoTombstone          // a delete that finds nothing in the log writes none, whatever the tier has
	Rewind               // a restore rewinds entries although some were cleared since the cut
	SameGeneration       // a restore that opens another tier keeps the generation, and the log version
	FreeEarly            // segments are removed while somebody still reads in them
	ScanTrusts           // a scan takes the end of a chain for the end of a key's records
	plants
)

var plantNames = [...]string{
	"none", "no compare of the generation", "generation compared outside the epoch", "begin and segments read apart",
	"no drain before clearing", "tier switched during a cut", "version names the later tier", "tombstone dropped above something older",
	"delete without a tombstone", "rewind over cleared entries", "restore keeps the generation", "segments freed under a reader",
	"scan trusts cut chains",
}

// String returns what is left out.
func (p Plant) String() string { return plantNames[p] }

const _ = uint(len(plantNames)-int(plants)) + uint(int(plants)-len(plantNames))
