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
}
