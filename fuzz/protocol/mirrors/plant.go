package mirrors

// Plant is a measure of the protocol that is left out on purpose.
type Plant uint8

// The plants.
const (
	Sound           Plant = iota
	NoNonce               // an entry that is there already is never taken for one's own
	TakenIsOurs           // and the opposite: always
	NoEpoch               // a newer epoch is not looked for
	NoDescent             // nor whether another has moved the head
	NoPlanAnew            // after reading on, what was planned before is put: upon a head that another has moved
	ReusePurged           // pieces that only a purged version names are named again
	SameNames             // pieces are named by their content alone
	SameClaim             // pieces that are put after a purge are named like those before it
	DeleteFirst           // pieces are deleted before the purge entry stands
	HeadNotRetried        // a rollback that did not reach the remote is not tried again before the next upload
	RetainOthers          // retention removes versions outside its own lineage
	RetainNewest          // and the one just put
	ListingIsTruth        // a reader takes the end of the listing for the end of the sequence
	NoAnchor              // a put-if-absent that has created is not followed by a look at the entry before
	LeftBeforePurge       // pieces that an interrupted copy has left are named whatever has been purged since
	NoClaimAnew           // after another's purge pieces are named by the claim before it
	plants
)

var plantNames = [...]string{
	"none", "no compare of the nonce", "what is taken is ours", "no test of the epoch", "no test of descent",
	"no new plan after reading on", "reuse of a purged piece", "pieces without the claim's number", "pieces without the purge's number", "deletion before the purge entry",
	"head not tried again", "retention outside the lineage", "retention of the newest", "the listing is the truth",
	"no look at the entry before", "pieces of before a purge named", "no new claim after a purge",
}

// String returns what is left out.
func (p Plant) String() string { return plantNames[p] }

const _ = uint(len(plantNames)-int(plants)) + uint(int(plants)-len(plantNames))
