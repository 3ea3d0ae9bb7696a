package index

// Order returns the place of a hash in the order of all files: that of the blocks of a table, so that the hashes of a block
// are neighbours, however many blocks it has (I12).
func Order(hash uint64) uint64 { return order(hash) }

// Supersedes reports whether r stands for all the log that o stands for, having been merged from it and more: where both
// stand for a hash, what o says of it does not count.
func (r ShareRef) Supersedes(o ShareRef) bool { return r.supersedes(o) }

// MergeBytes returns what [Shares.NextMerge] has to be given for a merge of about as many records.
func MergeBytes(records int64) int64 { return records * tripleBytes }
