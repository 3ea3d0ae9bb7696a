package main

import "slices"

// mutations are all of them.
var mutations = slices.Concat(general, ofScans, ofCommits, ofSpace, ofRemotes)

// ofRemotes break promises about remotes.
var ofRemotes = []mutation{
	{
		name: "closed-but-asking", rule: "G9", file: "checkpoint/remote_related.go",
		what:   "end what is asked for two views when either is closed",
		old:    "interruptible(ctx, d, o)",
		new:    "interruptible(ctx)",
		caught: []string{"./hlog", "-timeout", "30s", "-run", "TestView_ChangesOnARemoteThatHangsForOneEndWithTheOther"},
	},
	{
		name: "deep-version", rule: "R7", file: "hlog/checkpoint.go",
		what:   "merge index shares before a version goes to a remote that would have too many for a hash",
		old:    "\t\t\ts.disk.MakeShallow(p.LogVersion, p.Cut) // (R7)\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestClose_BoundsTheSharesOfItsVersion|TestOpenRemote_FirstReadOfADeepStore"},
	},
	{
		name: "deep-runs", rule: "R7", file: "hlog/internal/shares/runs.go",
		what:   "let runs that no version wants wait for merges when there are many",
		old:    "\t\td.makeRoom()\n\t\tr, ok",
		new:    "\t\tr, ok",
		caught: []string{"./hlog", "-run", "TestWriteRuns_MakeRoomForVersions"},
	},
	{
		name: "named-in-part", rule: "I22", file: "index/disk.go",
		what:   "name a share as it was written, as long as anything is left of it",
		old:    "d.shares.With(refs...)",
		new:    "d.shares.Add(refs...)",
		caught: []string{"./index", "-run", "TestDisk_ShallowerMergesEnd"},
	},
	{
		name: "unopened-elsewhere", rule: "I22", file: "index/distant.go",
		what:   "open a distant share when what was read of it does not show that nothing lies before",
		old:    "i > 0 && order(i) > first || ",
		new:    "",
		caught: []string{"./index", "-run", "TestShareSet_DistantSharesAnswerAtOnce"},
	},
	{
		name: "unopened-beyond", rule: "I22", file: "index/distant.go",
		what:   "open a distant share when what was read of it does not show that nothing follows",
		old:    " || j < blocks && order(j-1) <= last {",
		new:    " {",
		caught: []string{"./index", "-run", "TestShareSet_DistantSharesAnswerAtOnce"},
	},
	{
		name: "opened-from-afar", rule: "I22", file: "index/loadshares.go",
		what:   "open a distant share by what was read of it together with its blocks",
		old:    "OpenShare(h, ref)",
		new:    "OpenShare(f, ref)",
		caught: []string{"./index", "-run", "TestShareSet_DistantSharesAnswerAtOnce"},
	},
	{
		name: "filter-from-afar", rule: "T39", file: "hlog/internal/cold/tier.go",
		what:   "take a filter from what was read to open its share, which nobody keeps",
		old:    "len(e.b) > 0 && off >= e.at {",
		new:    "len(e.b) < 0 {",
		caught: []string{"./hlog/internal/cold", "-run", "TestTier_Fetch"},
	},
	{
		name: "slow-trim", rule: "J8", file: "checkpoint/sequence_write.go",
		what:   "remove entries of the sequence as fast as they come",
		old:    "const maxTrim = 2 * snapshotMost",
		new:    "const maxTrim = snapshotEvery",
		caught: []string{"./checkpoint", "-run", "TestMirror_SequenceOfManyVersions"},
	},
	{
		name: "rare-snapshots", rule: "J8", file: "checkpoint/sequence_write.go",
		what:   "put a snapshot after so many entries at the latest, however many versions stand",
		old:    "min(max(snapshotEvery, uint64(len(s.versions)/snapshotShare)), snapshotMost)",
		new:    "max(snapshotEvery, uint64(len(s.versions)/snapshotShare))",
		caught: []string{"./checkpoint", "-run", "TestMirror_SequenceOfManyVersions"},
	},
	{
		name: "fetch-of-the-dropped", rule: "M6", file: "checkpoint/fetch.go",
		what:   "write again what an earlier fetch has left that could not sync it",
		old:    "\t\tsame = f.localLog()\n",
		new:    "\t\tsame = rest.Clone()\n",
		caught: []string{"./checkpoint", "-run", "TestPull_SyncThatFailsOnce"},
	},
	{
		name: "fill-of-the-purged", rule: "Y4", file: "checkpoint/fetch.go",
		what:   "tell a version that was purged while it was fetched from a damaged one",
		old:    "\t\tif errors.Is(err, ErrCorrupt) { // a piece may be missing because v was purged\n",
		new:    "\t\tif false {\n",
		caught: []string{"./checkpoint", "-run", "TestFill_OfWhatIsPurged"},
	},
	{
		name: "fill-in-sync", rule: "J4", file: "checkpoint/fetch.go",
		what:   "leave the remote alone when its head has moved while the directory was filled",
		old:    "\tif err != nil || m.state.head != v {\n",
		new:    "\tif err != nil {\n",
		caught: []string{"./checkpoint", "-run", "TestFill_BringsTheVersionItWasAskedFor"},
	},
	{
		name: "fill-reads-on", rule: "Y5", file: "hlog/fill.go",
		what:   "end the reads on the remote before writes begin here",
		old:    "\tif err := s.closeFilling(); err != nil { // its memory is the store's from here on\n",
		new:    "\tif err := error(nil); err != nil {\n",
		caught: []string{"./hlog", "-run", "TestFill_ReadsGoOnWhenItIsWhole"},
	},
	{
		name: "fill-fails-alone", rule: "Y6", file: "hlog/fill.go",
		what:   "tell those who wait for a fill that it has failed",
		old:    "\tf.err = err\n",
		new:    "",
		caught: []string{"./hlog", "-timeout", "30s", "-run", "TestFill_RemoteFails"},
	},
	{
		name: "early-over-whatever", rule: "Y8", file: "hlog/early.go",
		what:   "begin an update again whose key was written meanwhile, while the directory is filled",
		old:    "\tif !e.sealed && e.byKey[string(key)] != old {\n",
		new:    "\tif false {\n",
		caught: []string{"./hlog", "-run", "TestEarly_UpdatesGoOnThroughTheMove"},
	},
	{
		name: "early-after-the-phase", rule: "Y9", file: "hlog/fill.go",
		what:   "move what was written early into the log before operations begin there",
		old:    "\tif err := f.early.move(s); err != nil {\n",
		new:    "\ts.moveTo(life.Open)\n\tif err := f.early.move(s); err != nil {\n",
		caught: []string{"./hlog", "-run", "TestEarly_"},
	},
	{
		name: "early-lost-in-silence", rule: "Y10", file: "hlog/close.go",
		what:   "commit nothing, and say so, when the early writes could not be moved",
		old:    "\t\terr = s.lostEarly()\n",
		new:    "\t\terr = nil\n",
		caught: []string{"./hlog", "-run", "TestEarly_DiskFailsTheMove"},
	},
	{
		name: "claim-after-reading", rule: "Y4", file: "hlog/fill.go",
		what:   "choose the version that reads and the fill are of after the claim",
		old:    "\tif err := r.CatchUp(ctx); err != nil || r.Head() == w.m.Version {\n",
		new:    "\tif true {\n\t\tvar err error\n",
		caught: []string{"./hlog", "-run", "TestFill_Claims"},
	},
	{
		name: "hint-believed", rule: "J10", file: "checkpoint/remote_seek.go",
		what:   "prove what the hint says by the sequence",
		old:    " && hint.root == root.root && hint.is(entries[0]) {\n",
		new:    " {\n",
		caught: []string{"./checkpoint", "-run", "TestRemoteReader_HintIsNoTruth"},
	},
	{
		name: "left-before-a-purge", rule: "J6", file: "checkpoint/upload.go",
		what:   "leave out pieces of an interrupted copy that a purge since may be about to delete",
		old:    " && g >= m.state.purged && ",
		new:    " && ",
		caught: []string{"./checkpoint", "-run", "TestAside_PiecesThatMayGo"},
	},
	{
		name: "listing-believed", rule: "J2", file: "checkpoint/remote_seek.go",
		what:   "look for entries that a listing does not show",
		old:    "useless, err := r.readOn(ctx, s, entries)",
		new:    "useless, err := false, error(nil)",
		caught: []string{"./checkpoint", "-run", "TestRemoteReader_ListingIsNoTruth"},
	},
	{
		name: "checksum-far-record", rule: "G6", file: "hlog/internal/record/disk.go",
		what:   "verify a record that was read where it lies on a remote",
		old:    "\tif verify && !Bytes(b[:sh.Size]).Verify(a) {\n",
		new:    "\tif false {\n",
		caught: []string{"./hlog", "-run", "TestOpenRemote_Damage"},
	},
	{
		name: "fetch-of-the-nameless", rule: "M6", file: "checkpoint/fetch.go",
		what:   "give a fetched segment its name again that an earlier fetch may have left without one",
		old:    "\tf.segments.Doubt()\n",
		new:    "",
		caught: []string{"./checkpoint", "-run", "TestPull_SyncThatFailsOnce"},
	},
	{
		name: "remote-manifest-last", rule: "V1", file: "checkpoint/upload.go",
		what: "put the log on the remote before the manifest that names it",
		old: `	if err := m.putLog(ctx, r); err != nil {
		return err
	}
	if err := m.putFiles(ctx, r); err != nil {
		return err
	}
	if err := m.makeList(ctx, r); err != nil {
		return err
	}
	if err := m.dir.stillHas(manifest.Version); err != nil { // else what was read may not be what it was
		return err
	}
	if err := m.publish(ctx, r); err != nil {
		return err
	}
`,
		new: `	if err := m.putFiles(ctx, r); err != nil {
		return err
	}
	if err := m.makeList(ctx, r); err != nil {
		return err
	}
	if err := m.dir.stillHas(manifest.Version); err != nil { // else what was read may not be what it was
		return err
	}
	if err := m.publish(ctx, r); err != nil {
		return err
	}
	if err := m.putLog(ctx, r); err != nil {
		return err
	}
`,
		caught: []string{"./checkpoint", "-run", "TestUpload_InterruptedAtEveryCall"},
	},
}
