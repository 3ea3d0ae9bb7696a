//go:build !amd64 || race

package mem

// HasMatchTags tells that [MatchTags] is there.
const HasMatchTags = false

// MatchTags is not there: callers compare entry by entry.
func MatchTags(Ptr, uint64) uint64 { panic("mem: no MatchTags on this architecture") }
