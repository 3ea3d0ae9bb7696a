//go:build amd64 && !race

package mem

// HasMatchTags tells that [MatchTags] is there.
const HasMatchTags = true

//go:noescape
func matchTags(p Ptr, query uint64) uint64

// MatchTags returns a bit for each of the seven entries of the index bucket at p whose tag field agrees with query: the
// comparison of word.Query.Matches, for a whole cache line at once. The bucket is read in ascending order of its words.
func MatchTags(p Ptr, query uint64) uint64 { return matchTags(p, query) }
