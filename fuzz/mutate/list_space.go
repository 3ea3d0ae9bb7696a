package main

// ofSpace break what keeps the log from growing for ever, or keeps that from stopping others.
var ofSpace = []mutation{
	{
		name: "cut-behind-compaction", rule: "K6", file: "hlog/space.go",
		what:   "open pages at once when a cut waits for units, which may wait for them",
		old:    " || s.units.IsShut() ||",
		new:    " ||",
		caught: []string{"./hlog", "-run", "TestSpace_PagesAreHeldUpByCompaction"},
	},
	{
		name: "compaction-behind-itself", rule: "K6", file: "hlog/space.go",
		what:   "open pages at once when compaction waits for them",
		old:    "p.held.Load() == 0 || p.urgent.Load() > 0 ||",
		new:    "p.held.Load() == 0 ||",
		caught: []string{"./hlog", "-run", "TestSpace_PagesAreHeldUpByCompaction"},
	},
	{
		name: "one-round-each-version", rule: "K6", file: "hlog/space.go",
		what:   "go on with a log that is far beyond its budget",
		old:    "\treturn hasty, nil\n",
		new:    "\treturn false, nil\n",
		caught: []string{"./hlog", "-run", "TestSpace_CompactionGoesOn"},
	},
}
