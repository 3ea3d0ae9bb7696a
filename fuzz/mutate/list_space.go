package main

// ofSpace break what keeps the log from growing for ever, or keeps that from stopping others.
var ofSpace = []mutation{
	{
		name: "cut-behind-compaction", rule: "K6", file: "hlog/space.go",
		what:   "open pages at once when a cut waits for units, which may wait for them",
		old:    "p.held.Load() == 0 || s.units.IsShut() ||",
		new:    "p.held.Load() == 0 ||",
		caught: []string{"./hlog", "-run", "TestSpace_PagesAreHeldUpByCompaction"},
	},
	{
		name: "compaction-behind-itself", rule: "K6", file: "hlog/space.go",
		what:   "open pages at once when compaction waits for them",
		old:    "\tif p.urgent.Load() > 0 {\n",
		new:    "\tif p.urgent.Load() < 0 {\n",
		caught: []string{"./hlog", "-run", "TestSpace_PagesAreHeldUpByCompaction"},
	},
	{
		name: "one-round-each-version", rule: "K6", file: "hlog/space.go",
		what:   "go on with a log that is far beyond its budget",
		old:    "\treturn hasty, nil\n",
		new:    "\treturn false, nil\n",
		caught: []string{"./hlog", "-run", "TestSpace_CompactionGoesOn"},
	},
	{
		name: "longer-keys-known-by-hash", rule: "K7", file: "hlog/hash.go",
		what:   "let only keys of 8 bytes be known by their hashes",
		old:    "return !s.seed.folds && keyBytes == oneToOneKey",
		new:    "return !s.seed.folds",
		caught: []string{"./hlog", "-run", "TestCompact_KeysOfDifferentLengths|TestCompact_StoresThatFold"},
	},
	{
		name: "folded-keys-known-by-hash", rule: "K7", file: "hlog/hash.go",
		what:   "let keys of stores that fold share a hash",
		old:    "return !s.seed.folds && keyBytes == oneToOneKey",
		new:    "return keyBytes == oneToOneKey",
		caught: []string{"./hlog", "-run", "TestCompact_StoresThatFold"},
	},
	{
		name: "dead-by-itself", rule: "I21", file: "index/supersede.go",
		what:   "take only a newer record for a proof that one is dead",
		old:    "t.order == q.order && t.Address() > q.At {",
		new:    "t.order == q.order && t.Address() >= q.At {",
		caught: []string{"./index", "-run", "TestSupersede_ByANewer"},
	},
	{
		name: "merge-of-unknown-keys", rule: "I21", file: "index/merge.go",
		what:   "have a merge know its keys only if all that it merges do",
		old:    "j.out.own = j.out.own && s.own // (I21)",
		new:    "j.out.own = j.out.own || s.own // (I21)",
		caught: []string{"./index", "-run", "TestSupersede_OnlyWhere"},
	},
	{
		name: "run-of-unknown-keys", rule: "I21", file: "index/disk.go",
		what:   "have a run know its keys only if all of them were told so",
		old:    "common.Triples, common.Mixed = append(common.Triples, g.Triples...), common.Mixed || g.Mixed",
		new:    "common.Triples = append(common.Triples, g.Triples...)",
		caught: []string{"./index", "-run", "TestSupersede_ARun"},
	},
	{
		name: "unknown-keys-answer", rule: "I21", file: "index/supersede.go",
		what:   "have shares answer only that know their keys",
		old:    "if !s.own || len(s.first) == 0 {",
		new:    "if len(s.first) == 0 {",
		caught: []string{"./index", "-run", "TestSupersede_OnlyWhere"},
	},
	{
		name: "dead-records-looked-for", rule: "K7", file: "hlog/picker.go",
		what:   "follow no chain of a record that is known to be dead",
		old:    "\t\t\tprobes[q.Tag].Supersede()\n",
		new:    "\t\t\t_ = probes\n",
		caught: []string{"./hlog", "-run", "TestCompact_DeadRecords"},
	},
	{
		name: "cold-merges-rationed", rule: "T40", file: "hlog/demote.go",
		what:   "have merges of cold files wait until the ration allows them",
		old:    "\tif !ok || !urgent && !s.affords(m, length) {\n",
		new:    "\tif !ok || !urgent && length < 0 {\n",
		caught: []string{"./hlog", "-run", "TestTier_MergesAreRationed"},
	},
	{
		name: "cold-merges-count", rule: "T40", file: "hlog/demote.go",
		what:   "count what a merge of cold files has written",
		old:    "\ts.disk.Spend(index.Shares(refs).Bytes())\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestTier_MergesAreRationed"},
	},
}
