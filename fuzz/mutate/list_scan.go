package main

// ofScans break promises about scans of views.
var ofScans = []mutation{
	{
		name: "scan-behind-shares", rule: "Z4", file: "hlog/internal/view/scan.go",
		what:   "list the records of the log that no share stands for",
		old:    "\t\t\tb.triples = append(b.triples, records[i].Triple)\n",
		new:    "\t\t\tb.triples = append(b.triples[:0], records[i].Triple)\n",
		caught: []string{"./hlog", "-run", "TestViewScan_LittleMemory"},
	},
	{
		name: "hidden-by-another-key", rule: "Z5", file: "hlog/internal/view/scan.go",
		what:   "visit a key that is hidden by a record of another key with its hash",
		old:    "\t\tc.owed.each(c.orphan)\n\t\terr = c.visitOrphans(ctx)\n",
		new:    "\t\terr = c.visitOrphans(ctx)\n",
		caught: []string{"./hlog", "-run", "TestViewScan_KeysOfOneHash"},
	},
	{
		name: "owed-without-a-walk", rule: "Z6", file: "hlog/internal/view/scan.go",
		what:   "keep in mind who has not got a record when there is no room for more",
		old:    "\tc.owed.each(c.orphan)\n\tc.owed.clear()\n",
		new:    "\tc.owed.clear()\n",
		caught: []string{"./hlog", "-run", "TestViewScan_KeysOfOneHash"},
	},
	{
		name: "cold-at-once", rule: "Z7", file: "hlog/internal/view/scan.go",
		what:   "wait for a record in the log when its hash is that of a key of the tier",
		old:    "if at == len(triples) || triples[at].Order() != o {",
		new:    "if at == len(triples) || triples[at].Order() != o || c.v.Below != nil {",
		caught: []string{"./hlog", "-run", "TestViewScan_ColdKeysOfOneHash"},
	},
	{
		name: "bit-never-met", rule: "Z8", file: "hlog/internal/view/scan.go",
		what:   "find that the index leads to where no record begins",
		old:    "left := c.marks.first(); left {",
		new:    "left := c.marks.first(); left && a == 0 {",
		caught: []string{"./hlog", "-run", "TestViewScan_BitWithoutARecord"},
	},
}
