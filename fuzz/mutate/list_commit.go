package main

// ofCommits break what makes a commit quick: it is as safe without, and slow.
var ofCommits = []mutation{
	{
		name: "update-over-a-restore", rule: "H10", file: "hlog/fairness.go",
		what:   "start an update over that has read what a restore has taken back, also where checkpoints make it start over no more",
		old:    " && s.restores == s.store.counters.restores.Load()\n",
		new:    "\n",
		caught: []string{"./hlog", "-run", "TestUpdate_RestoredAllTheTime"},
	},
	{
		name: "give-way-between-writes", rule: "R6", file: "hlog/internal/shares/writer.go",
		what:   "let a commit go between two writes of a merge",
		old:    "\tif f.rest(time.Since(f.worked)) {\n",
		new:    "\tif time.Since(f.worked) < 0 {\n",
		caught: []string{"./hlog", "-run", "TestGiveWay_MergesBetweenWrites"},
	},
	{
		name: "merged-in-portions", rule: "R8", file: "hlog/internal/shares/writer.go",
		what:   "sync what a merge has written before it writes much more",
		old:    "\tif f.written >= syncPortion {\n",
		new:    "\tif f.written < 0 {\n",
		caught: []string{"./hlog/internal/shares", "-run", "TestMergedFile_BecomesDurableInPortions"},
	},
	{
		name: "portion-failed", rule: "R8", file: "hlog/internal/shares/writer.go",
		what:   "fail with the sync of a portion that has failed",
		old:    "\t\tif err := f.sync(f.File); err != nil {\n",
		new:    "\t\tif err := f.sync(f.File); err == nil && f.written > 0 {\n",
		caught: []string{"./hlog/internal/shares", "-run", "TestMergedFile_BecomesDurableInPortions"},
	},
	{
		name: "give-way-to-units", rule: "R6", file: "hlog/giveway.go",
		what:   "let units end that a cut waits for, between two writes of a merge",
		old:    "\tgaveWay := s.letUnitsEnd(most)\n",
		new:    "\tgaveWay := false\n",
		caught: []string{"./hlog", "-run", "TestGiveWay_ToUnitsThatACutWaitsFor"},
	},
	{
		name: "yield-to-units", rule: "R6", file: "hlog/giveway.go",
		what:   "let units end that a cut waits for, between two writes of a run",
		old:    "\tif s.letUnitsEnd(cmp.Or(s.opts.giveWay, minPiece)) {\n",
		new:    "\tif s.opts.giveWay < 0 {\n",
		caught: []string{"./hlog", "-run", "TestGiveWay_ToUnitsThatACutWaitsFor"},
	},
	{
		name: "wanted-in-one-run", rule: "R4", file: "index/disk.go",
		what:   "take a run that is wanted when the log up to there is told",
		old:    "\t\treturn d.to >= d.wanted\n",
		new:    "\t\treturn d.to >= d.wanted || int64(d.to-d.from) >= d.due()\n",
		caught: []string{"./index", "-run", "TestDisk_WantIsOneRun"},
	},
}
