package main

// mutation is one mistake: a piece of the source, replaced by another.
type mutation struct {
	name string // of the promise that it breaks
	rule string // its number, where it has one
	what string // what the code no longer does
	file string
	old  string // what it is in the source, once
	new  string
	// caught is the test that has to notice: the flags and arguments of go test.
	caught []string
	// refused says that it is the compiler that has to notice: go test does not get as far as a test.
	refused bool
}

var mutations = []mutation{
	{
		name: "seal", rule: "H4", file: "hlog/set.go",
		what:   "seal a record before a copy of it is published",
		old:    `sealed, ok := src.seen.Seal()`,
		new:    `sealed, ok := record.Sealed{}, true`,
		caught: []string{"./hlog", "-run", "TestSet_SealsWhatItCopies"},
	},
	{
		name: "drain-frames", rule: "H3", file: "hlog/internal/reclog/pager.go",
		what:   "wait until every operation that saw the old head has left before frames are used again",
		old:    "\tl.head.Store(target)\n\tl.epochs.Synchronize()\n",
		new:    "\tl.head.Store(target)\n",
		caught: []string{"./hlog/internal/reclog", "-run", "TestRegions_DrainedBeforeTheSecondStep"},
	},
	{
		name: "offered-after-leaving", rule: "H12", file: "hlog/internal/reclog/pager.go",
		what:   "offer records to the cache before head passes them",
		old:    "\tl.offer(old, target)\n\tl.head.Store(target)\n",
		new:    "\tl.head.Store(target)\n\tl.offer(old, target)\n",
		caught: []string{"./hlog/internal/reclog", "-run", "TestLeaving_OfferedBeforeItLeaves"},
	},
	{
		name: "flight-for-ever", rule: "H14", file: "hlog/prefetch.go",
		what:   "end the flights of what is not read any more when the store closes",
		old:    "\tp.closed = true\n\tp.mu.Unlock()\n\tp.giveUp()\n",
		new:    "\tp.closed = true\n\tp.mu.Unlock()\n",
		caught: []string{"./hlog", "-run", "TestPrefetch_EndsFlights"},
	},
	{
		name: "no-wait-for-flight", rule: "H14", file: "hlog/prefetch.go",
		what:   "wait for a record that is under way",
		old:    "\t\tp.change.Wait()\n",
		new:    "\t\tbreak\n",
		caught: []string{"./hlog", "-run", "TestPrefetch_OperationsFindWhatWasRead"},
	},
	{
		name: "heat-on-disk", rule: "H13", file: "hlog/internal/record/disk.go",
		what:   "leave the heat of a record out of what is written",
		old:    "\tbinary.LittleEndian.PutUint64(b, uint64(b.Link().WithHeat(0)))\n",
		new:    "",
		caught: []string{"./hlog/internal/record", "-run", "TestSetCheck_LeavesHeatOut"},
	},
	{
		name: "heat-lost", rule: "H13", file: "hlog/compact.go",
		what:   "pass on the heat of a record that compaction moves",
		old:    "\t\t\t\tc.x.inherit(a)\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestKeep_WalksAddNoHeat"},
	},
	{
		name: "gap-in-no-list", rule: "Q5", file: "hlog/internal/coldcache/gaps.go",
		what:   "give what is left of a gap a list",
		old:    "\tif whole > words {\n",
		new:    "\tif whole > words+gapLists {\n",
		caught: []string{"./hlog/internal/coldcache", "-run", "TestCache_AgreesWithModel"},
	},
	{
		name: "drain-read-only", rule: "H2", file: "hlog/internal/reclog/pager.go",
		what:   "wait until every operation that saw the old readOnly has left before what lies below it is written",
		old:    "\tl.epochs.Synchronize()\n\traise(&l.safeReadOnly, target)\n",
		new:    "\traise(&l.safeReadOnly, target)\n",
		caught: []string{"./hlog/internal/reclog", "-run", "TestRegions_DrainedBeforeTheSecondStep"},
	},
	{
		name: "fresh-block", rule: "H8", file: "hlog/internal/reclog/log.go",
		what:   "begin a new block behind a cut",
		old:    "\t\tcut := AlignBlock(t)\n",
		new:    "\t\tcut := t\n",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "run-of-another-version", rule: "R4", file: "hlog/internal/ledger/claim.go",
		what:   "end an index run where a checkpoint that is not committed began",
		old:    `return p.From`,
		new:    `return tail`,
		caught: []string{"./hlog", "-run", "TestRun_EndsWhereAVersionBegan"},
	},
	{
		name: "run-of-the-unwritten", rule: "R4", file: "hlog/run.go",
		what:   "wait for the operations that are writing records before an index run is made of them",
		old:    `s.epochs.Synchronize() // what was`,
		new:    `// what was`,
		caught: []string{"./hlog", "-run", "TestRun_WaitsForWhatIsBeingWritten"},
	},
	{
		name: "name-that-was-lost", rule: "G8", file: "hlog/open.go",
		what:   "begin a segment of its own at Open, when log lies there that no version refers to",
		old:    "start := (there + size - 1) / size * size\n",
		new:    "start := committed\n",
		caught: []string{"./hlog", "-run", "TestOpen_TheFirstSegmentsNameWasLost"},
	},
	{
		name: "not-a-new-store", rule: "V13", file: "checkpoint/create.go",
		what:   "refuse a directory with files of a store but without a manifest",
		old:    "case d.none == noneYet && d.head == (head{}):",
		new:    "case rec == nil || a != word.None:",
		caught: []string{"./checkpoint", "-run", "TestOpenDir_WhatIsLeftOfAStore"},
	},
	{
		name: "strays-stay", rule: "V12", file: "checkpoint/collect.go",
		what:   "keep what lies beyond the newest version until the first commit",
		old:    "if strays[f.Path] {",
		new:    "if len(strays) < 0 {",
		caught: []string{"./checkpoint", "-run", "TestDir_StraysStayUntilTheFirstCommit"},
	},
	{
		name: "sync-again", rule: "F5", file: "internal/fsx/queue_linux.go",
		what:   "take what a sync has ended with for its result, instead of asking once more",
		old:    `case r.Sync && (errno == unix.EINVAL || errno == unix.EOPNOTSUPP), !r.Sync`,
		new:    `case r.Sync, !r.Sync`,
		caught: []string{"./internal/fsx", "-run", "TestQueue_ASyncThatFailed"},
	},
	{
		name: "update-changed-since", rule: "H4", file: "hlog/rmw.go",
		what:   "notice that a record changed in place between the read and the write of a Table's update, and left memory",
		old:    "settled = uint64(a) < l.SafeReadOnly() // before the value",
		new:    "settled = true",
		caught: []string{"./hlog", "-run", "TestTable_FirstUpdateAfterACut"},
	},
	{
		name: "manifest-last", rule: "C5", file: "hlog/checkpoint.go",
		what: "make the log durable before the manifest that names it",
		old: `	if err := s.log.SyncTo(p.Cut); err != nil {
		s.ledger.Fail(p, err)
		return checkpoint.Info{}, err
	}
	info, err := s.ledger.Commit(p, makeAux(p.IndexBits, s.log.Totals()), s.opts.PageBytes)
`,
		new: `	info, err := s.ledger.Commit(p, makeAux(p.IndexBits, s.log.Totals()), s.opts.PageBytes)
	if err := s.log.SyncTo(p.Cut); err != nil {
		return checkpoint.Info{}, err
	}
`,
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "image-first", rule: "C5", file: "hlog/image.go",
		what:   "make an image durable before the manifest that names it",
		old:    "\tif err == nil {\n\t\terr = s.syncAside(f)\n\t}\n",
		new:    "",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "sync-segment-names", rule: "D5", file: "internal/fsx/names.go",
		what:   "sync the directory of the segments",
		old:    "\tif err := n.fs.SyncDir(n.dir); err != nil {",
		new:    "\tif err := error(nil); err != nil {",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "sync-image-names", rule: "C5", file: "hlog/image.go",
		what:   "sync the directory of the images",
		old:    "\t\terr = s.root.SyncDir(s.ledger.ImagesPath())\n",
		new:    "",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "sync-manifest-names", rule: "V1", file: "internal/fsx/fs.go",
		what:   "sync the directory after a manifest or HEAD was renamed",
		old:    "\treturn fsys.SyncDir(filepath.Dir(name))\n",
		new:    "\t_ = filepath.Dir\n\treturn nil\n",
		caught: []string{"./checkpoint", "-run", "TestDir_CrashAtEveryCall"},
	},
	{
		name: "sync-store-name", rule: "G3", file: "hlog/open.go",
		what:   "make the name of a new store's directory durable",
		old:    "\t\terr := fsys.SyncDir(up)\n",
		new:    "\t\terr := error(nil)\n",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "version-test", rule: "C2", file: "hlog/internal/record/door.go",
		what:   "change in place only what is of the operation's version",
		old:    "\tif uint64(x.a) >= d.readOnly && x.k.OfVersion(d.counter) && !x.st.Busy() &&\n",
		new:    "\tif uint64(x.a) >= d.readOnly && !x.st.Busy() &&\n",
		caught: []string{"./hlog", "-run", "TestCheckpoint_EveryDoorCopies"},
	},
	{
		name: "region-test", rule: "H2", file: "hlog/internal/record/door.go",
		what:   "change in place only what is mutable",
		old:    "\tif uint64(x.a) >= d.readOnly && x.k.OfVersion(d.counter) && !x.st.Busy() &&\n",
		new:    "\tif x.k.OfVersion(d.counter) && !x.st.Busy() &&\n",
		caught: []string{"./hlog/internal/record", "-run", "TestDoor_Admits"},
	},
	{
		name: "state-test", rule: "W4", file: "hlog/internal/record/door.go",
		what:   "lock only what is neither locked nor sealed",
		old:    "x.k.OfVersion(d.counter) && !x.st.Busy() &&\n",
		new:    "x.k.OfVersion(d.counter) &&\n",
		caught: []string{"./hlog/internal/record", "-run", "TestDoor_HeldOrChangedSince"},
	},
	{
		name: "door-of-its-own", rule: "W5", file: "hlog/words.go",
		what:   "go through the door in one of the operations: it forgets the version",
		old:    "\t\tif d := s.door(c); d.Mutable(a) {\n\t\t\tif x := record.See(a, s.log.At(a)); x.IsPair(key) {\n",
		new:    "\t\tif d := record.DoorOf(s.log.ReadOnly(), uint64(record.LinkAt(s.log.At(a)).Version())); d.Mutable(a) {\n\t\t\tif x := record.See(a, s.log.At(a)); x.IsPair(key) {\n",
		caught: []string{"./internal/lint", "-run", "TestRecords_AreChangedThroughOneDoor"},
	},
	{
		name: "lock-of-its-own", rule: "W5", file: "hlog/words.go",
		what:   "go through the door in one of the operations: it locks by itself",
		old:    "\t\t\t\tif r, locked := d.Lock(x); locked {\n\t\t\t\t\tr.SetWord(value)\n\t\t\t\t\tok = true\n\t\t\t\t}\n",
		new:    "\t\t\t\tp := mem.Add(s.log.At(a), 8)\n\t\t\t\tif mem.CompareAndSwap(p, uint64(x.State()), uint64(x.State().WithLock())) {\n\t\t\t\t\tmem.StoreRelease(mem.Add(p, 16), value)\n\t\t\t\t\tmem.StoreRelease(p, uint64(x.State().Bump()))\n\t\t\t\t\tok = true\n\t\t\t\t}\n",
		caught: []string{"./internal/lint", "-run", "TestRecords_AreChangedThroughOneDoor"},
	},
	{
		name: "conditional-move", rule: "K1", file: "hlog/compact.go",
		what:   "move a record only if its chain is still what it was when the record was the newest of its key",
		old:    "\tcase at != seen && at != a:\n\t\treturn done, true\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestCompact_NewerRecordBeforeTheMove"},
	},
	{
		name: "move-superseded", rule: "K1", file: "hlog/compact.go",
		what:   "leave a record that has been superseded in memory where it is",
		old:    "\tcase ok && at != a:\n\t\treturn done, false // superseded\n",
		new:    "\tcase ok && at != a:\n",
		caught: []string{"./hlog", "-run", "TestCompact_NewerRecordBeforeTheMove"},
	},
	{
		name: "checksum-record", rule: "W3", file: "hlog/internal/record/disk.go",
		what:   "verify a record that was read from disk",
		old:    "if verify && !Bytes(b[:sh.Size]).Verify(a) {",
		new:    "if false {",
		caught: []string{"./fuzz", "-run", "TestCorrupt_EveryByte"},
	},
	{
		name: "checksum-image", rule: "G6", file: "index/load.go",
		what:   "verify a block of an index image",
		old:    "if xxh3.Hash(raw) != ref.sum {",
		new:    "if false {",
		caught: []string{"./index", "-run", "TestImage_EveryFlipAndTruncation"},
	},
	{
		name: "checksum-manifest", rule: "G6", file: "checkpoint/frame.go",
		what:   "verify a manifest, HEAD or STORE",
		old:    "got := sealSum(b), xxh3.Hash(body); got != want {",
		new:    "got := sealSum(b), xxh3.Hash(body); false {",
		caught: []string{"./checkpoint", "-run", "TestManifest_EveryDamagedByte"},
	},
	{
		name: "tombstone", rule: "H1", file: "hlog/delete.go",
		what:   "write a tombstone over values that are only on disk",
		old:    "\t\tif uint64(a) < s.log.Begin() {\n\t\t\treturn done\n\t\t}\n",
		new:    "\t\treturn done\n",
		caught: []string{"./fuzz", "-short", "-run", "TestTapes_Random"},
	},
	{
		name: "tombstone-forgotten", rule: "K3", file: "hlog/compact.go",
		what:   "remember that the index has forgotten a tombstone with the log below it",
		old:    "\tc.mu.Lock()\n\tdefer c.mu.Unlock()\n\tfor _, d := range c.dropped {\n\t\tif d.at < begin {\n\t\t\tc.cleared",
		new:    "\tc.mu.Lock()\n\tdefer c.mu.Unlock()\n\treturn 0\n\tfor _, d := range c.dropped {\n\t\tif d.at < begin {\n\t\t\tc.cleared",
		caught: []string{"./hlog", "-run", "TestCompact_DroppedEntryDoesNotComeBack"},
	},
	{
		name: "tombstone-replay", rule: "H1", file: "hlog/replay.go",
		what:   "let a tombstone hide older values in recovery",
		old:    "\t\tbatch = append(batch, ",
		new:    "\t\tif rec.State().Tombstone() {\n\t\t\treturn true, nil\n\t\t}\n\t\tbatch = append(batch, ",
		caught: []string{"./fuzz", "-short", "-run", "TestTapes_Random"},
	},
	{
		name: "flock", rule: "", file: "internal/fsx/lock_flock.go",
		what:   "lock a directory against other processes",
		old:    "err := flock(f, how|unix.LOCK_NB)",
		new:    "err := flock(f, (how|unix.LOCK_NB)&0)",
		caught: []string{"./fuzz", "-run", "TestLock_TwoProcesses"},
	},
	{
		name: "unlock", rule: "", file: "internal/fsx/lock.go",
		what:   "end a lock before the file is closed that a forked child may share",
		old:    "		_ = unlockFile(f)",
		new:    "		_ = f",
		caught: []string{"./internal/fsx", "-run", "TestLock_ReleasedWhileAChildSharesTheDescriptor"},
	},
	{
		name: "lock-registry", rule: "", file: "internal/fsx/lock.go",
		what:   "refuse a directory that the same process holds",
		old:    "if os.SameFile(other.info, l.info) && !(shared && other.shared) {",
		new:    "if false && os.SameFile(other.info, l.info) {",
		caught: []string{"./internal/fsx", "-run", "TestOS_LockRegistryAlone"},
	},
	{
		name: "re-check", rule: "W1", file: "hlog/internal/record/read.go",
		what:   "look at the state again after a value was read",
		old:    "\t\t\tif StateAt(p) == x.st {\n\t\t\t\treturn dst, x\n",
		new:    "\t\t\tif true {\n\t\t\t\treturn dst, x\n",
		caught: []string{"./hlog", "-run", "TestGet_SmallValueIsWhole|TestGet_ValuesGrowAndShrink"},
	},
	{
		name: "re-check-fast", rule: "W1", file: "hlog/internal/record/read.go",
		what:   "the same, in the short path of a Get",
		old:    "\treturn value, StateAt(x.p) == x.st\n}\n\n// ReadOfWord",
		new:    "\treturn value, true\n}\n\n// ReadOfWord",
		caught: []string{"./hlog/internal/record", "-run", "TestSeen_ReadOnlyIfUnchanged"},
	},
	{
		name: "re-check-short", rule: "W1", file: "hlog/internal/record/read.go",
		what:   "the same, in that of a key of 8 bytes",
		old:    "copyOut(dst, valueOfWord(x.p))\n\treturn StateAt(x.p) == x.st\n",
		new:    "copyOut(dst, valueOfWord(x.p))\n\treturn true\n",
		caught: []string{"./hlog/internal/record", "-run", "TestSeen_ReadOnlyIfUnchanged"},
	},
	{
		name: "re-check-pair", rule: "W1", file: "hlog/internal/record/read.go",
		what:   "the same, in that of a table of words",
		old:    "\treturn value, StateAt(x.p) == x.st\n}\n\n// AppendFor",
		new:    "\treturn value, true\n}\n\n// AppendFor",
		caught: []string{"./hlog/internal/record", "-run", "TestSeen_ReadOnlyIfUnchanged"},
	},
	{
		name: "cut-waits", rule: "C4", file: "hlog/checkpoint.go",
		what:   "wait for the operations of the old version before the cut",
		old:    "\ts.epochs.Synchronize()\n\tbits",
		new:    "\tbits",
		caught: []string{"./hlog", "-run", "TestEpoch_IsDrainedBeforeTheSecondStep"},
	},
	{
		name: "two-versions", rule: "C3", file: "hlog/checkpoint.go",
		what:   "wait for the cut before, so that no more than two versions have operations under way",
		old:    "\tif p := s.ledger.Newest(); p != nil {\n\t\ts.waitCut(p)\n",
		new:    "\tif p := s.ledger.Newest(); p != nil && false {\n\t\ts.waitCut(p)\n",
		caught: []string{"./hlog", "-run", "TestCheckpoint_WaitsForTheCutBefore"},
	},
	{
		name: "overtaken", rule: "C3", file: "hlog/set.go",
		what:   "start over when a record of the next version is met",
		old:    "return uint64(a) >= safe && record.LinkAt(s.log.At(a)).Version() == c.version().Next()",
		new:    "return false && uint64(a) >= safe",
		caught: []string{"./hlog", "-run", "TestCheckpoint_OvertakenOperationStartsOver"},
	},
	{
		name: "skip-newer", rule: "C4", file: "hlog/recover.go",
		what:   "skip records of the next version in the fuzzy end of a version",
		old:    "return uint64(a) >= e.Fuzzy && rec.Link().Version() == after",
		new:    "return false && rec.Link().Version() == after",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "laundered-sync", rule: "D6", file: "hlog/internal/reclog/durability.go",
		what:   "write again what a failed sync has covered",
		old:    "\t\td.fail(err, head)\n",
		new:    "\t\t_ = head\n",
		caught: []string{"./fuzz", "-short", "-run", "TestFault_SyncDropsOnce"},
	},
	{
		name: "lost-sync", rule: "D6", file: "hlog/internal/reclog/durability.go",
		what:   "remember that what a failed sync has covered has left memory",
		old:    "\td.lost.Store(&cause)\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestCheckpoint_AfterALostSync"},
	},
	{
		name: "lost-names", rule: "D6", file: "internal/fsx/names.go",
		what:   "give files their names again after the sync of their directory has failed",
		old:    "\tif n.again {\n",
		new:    "\tif false {\n",
		caught: []string{"./fuzz", "-short", "-run", "TestFault_SyncDropsOnce"},
	},
	{
		name: "fetch-of-the-dropped", rule: "M6", file: "checkpoint/fetch.go",
		what:   "write again what an earlier fetch has left that could not sync it",
		old:    "\tif here && f.durable(p) {\n",
		new:    "\tif here {\n",
		caught: []string{"./checkpoint", "-run", "TestPull_SyncThatFailsOnce"},
	},
	{
		name: "fetch-of-the-nameless", rule: "M6", file: "checkpoint/fetch.go",
		what:   "give a fetched segment its name again that an earlier fetch may have left without one",
		old:    "\tf.segments.Doubt()\n",
		new:    "",
		caught: []string{"./checkpoint", "-run", "TestPull_SyncThatFailsOnce"},
	},
	{
		name: "durability-moved", rule: "D5", file: "hlog/restore.go",
		what:    "leave it to the log to say up to where it is durable",
		old:     "\ts.log.Abandon()\n",
		new:     "\ts.log.Durability().durable.Store(tail)\n",
		caught:  []string{"./hlog", "-run", "^$"},
		refused: true,
	},
	{
		name: "durability-moved-inside", rule: "D5", file: "hlog/internal/reclog/flush.go",
		what:   "leave it to the one file that knows the rule for a sync that failed",
		old:    "\tl.durability.abandon(l.tail.Load())\n",
		new:    "\tl.durability.durable.Store(l.tail.Load())\n",
		caught: []string{"./internal/lint", "-run", "TestDurability_MovesInOneFile"},
	},
	{
		name: "durability-abandoned", rule: "D6", file: "hlog/checkpoint.go",
		what:   "give up what a failed sync has covered only when the store goes back to a version",
		old:    "\tif err := s.log.SyncTo(p.Cut); err != nil {\n",
		new:    "\tif err := s.log.SyncTo(p.Cut); err != nil {\n\t\ts.log.Abandon()\n",
		caught: []string{"./internal/lint", "-run", "TestDurability_MovesInOneFile"},
	},
	{
		name: "granularity", rule: "R1", file: "hlog/recover.go",
		what:   "replay into an index that tells as many keys apart as the one of then",
		old:    "\tc.InitialBits = auxBits(m.Aux)\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestOpen_IndexIsAsFineAsThen"},
	},
	{
		name: "image-of-one-version", rule: "R2", file: "hlog/image.go",
		what:   "follow chains down to where they were when an image is written",
		old:    "\tdefer follow.guard.Release()\n",
		new:    "\tdefer follow.guard.Release()\n\tfollow.of.fuzzy = 1 << 62\n",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
	},
	{
		name: "abandoned", rule: "W2", file: "hlog/internal/record/write.go",
		what:   "mark an allocation whose publication failed",
		old:    "\tstoreState(p, StateAt(p).WithInvalid())\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestSet_AbandonedRecordStaysDead"},
	},
	{
		name: "settled", rule: "H10", file: "hlog/rmw.go",
		what:   "start over if a record that could still change was evicted between an update's read and its write",
		old:    "return a == at && m.settled",
		new:    "return a == at",
		caught: []string{"./hlog", "-run", "TestRMW_UpdatedInPlaceThenReadOnly"},
	},
	{
		name: "second-phase", rule: "I4", file: "index/insert.go",
		what:   "look for another entry of the same tag before a claim is made final",
		old:    "if t.contested(b, word.MakeQuery(h, t.Bits), p) {",
		new:    "if false {",
		caught: []string{"./index", "-run", "TestInsert_BesideAFreedSlot"},
	},
	{
		name: "barrier", rule: "E1", file: "epoch/epoch.go",
		what:   "make up, in Synchronize, for the fence that Enter leaves out",
		old:    "\tm.barrier()\n",
		new:    "",
		caught: []string{"./epoch", "-run", "TestSynchronize_NobodyReadsWhatWasReclaimed"},
	},
	{
		name: "restore-settles", rule: "G5", file: "hlog/restore.go",
		what:   "write HEAD when the store is restored",
		old:    "\t\terr = s.ledger.SetHead(m.Version)\n",
		new:    "",
		caught: []string{"./fuzz", "-short", "-run", "TestCrash_EveryCall"},
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
	if err := m.publish(ctx, r); err != nil {
		return err
	}
	if err := m.putLog(ctx, r); err != nil {
		return err
	}
`,
		caught: []string{"./checkpoint", "-run", "TestUpload_InterruptedAtEveryCall"},
	},
	{
		name: "head-in-doubt", rule: "V7", file: "checkpoint/commit.go",
		what:   "finish what a failed call has left in doubt",
		old:    "\t\td.headInDoubt = true\n",
		new:    "",
		caught: []string{"./checkpoint", "-run", "TestDir_ErrorAtEveryCall"},
	},
	{
		name: "baseline-manifest-last", rule: "S1", file: "compare/internal/fileset/set.go",
		what:   "sync the files of a baseline engine before the manifest that names them",
		old:    "\t\tif err := f.sync(); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tm.Files",
		new:    "\t\tm.Files",
		caught: []string{"./fuzz", "-short", "-run", "TestEngines_Tapes"},
	},
	{
		name: "flushed-in-order", rule: "D4", file: "hlog/internal/reclog/durability.go",
		what:   "count a piece of log as flushed only when all before it are",
		old:    `if d.written.Load() != from {`,
		new:    `if d.written.Load() > from {`,
		caught: []string{"./hlog/internal/reclog", "-run", "TestFlush_UpToThePieceThatFails"},
	},
	{
		name: "read-ahead-above-head", rule: "D3", file: "hlog/internal/reclog/readahead.go",
		what:   "take what was read ahead for complete, whatever the head was when it was read",
		old:    "w.start == start && w.end >= need {",
		new:    "w.start == start {",
		caught: []string{"./hlog/internal/reclog", "-run", "TestReadAhead_AsTheSegments"},
	},
	{
		name: "io-under-the-lock", rule: "B1", file: "hlog/internal/ledger/pending.go",
		what:   "let go of the ledger's lock while a manifest is written",
		old:    "\terr := l.dir.Commit(m)\n\tl.mu.Lock()\n\tdefer l.mu.Unlock()\n",
		new:    "\tl.mu.Lock()\n\tdefer l.mu.Unlock()\n\terr := l.dir.Commit(m)\n",
		caught: []string{"./hlog/internal/ledger", "-run", "TestCommit_KeepsNobodyWaiting"},
	},
	{
		name: "named-meanwhile", rule: "B4", file: "hlog/internal/ledger/pending.go",
		what:   "keep the index files that a manifest names while it is written",
		old:    "\tl.naming = x.IDs()\n",
		new:    "",
		caught: []string{"./hlog/internal/ledger", "-run", "TestManifest_IndexReplacedWhileItIsWritten"},
	},
	{
		name: "list-first", rule: "B5", file: "checkpoint/collect.go",
		what:   "list the files before the picture of what keeps them is taken",
		old:    "\tfiles, err := d.listFiles()\n\tif err != nil {\n\t\treturn nil, Picture{}, err\n\t}\n\tp, err := picture()\n",
		new:    "\tp, err := picture()\n\tfiles, _ := d.listFiles()\n",
		caught: []string{"./hlog/internal/ledger", "-run", "TestCollect_FileMadeMeanwhile"},
	},
	{
		name: "claim-of-another-era", rule: "B9", file: "hlog/internal/ledger/claim.go",
		what:   "drop what was claimed before a restore",
		old:    "if c.era != l.era {",
		new:    "if false {",
		caught: []string{"./hlog/internal/ledger", "-run", "TestClaim_EndsWithItsEra"},
	},
	{
		name: "held-log", rule: "B3", file: "hlog/internal/ledger/claim.go",
		what:   "keep the log that somebody holds",
		old:    "for h := range l.holds {\n\t\tlive",
		new:    "for h := range l.holds {\n\t\t_ = h\n\t\tbreak\n\t\tlive",
		caught: []string{"./hlog/internal/ledger", "-run", "TestHold_OutlivesVersionsAndRestores"},
	},
	{
		name: "removed-elsewhere", rule: "B3", file: "hlog/image.go",
		what:   "leave the removal of files to the ledger",
		old:    "\treturn &checkpoint.ImageRef{ID: id",
		new:    "\tif n == 0 {\n\t\treturn nil, s.root.Remove(name)\n\t}\n\treturn &checkpoint.ImageRef{ID: id",
		caught: []string{"./internal/lint", "-run", "TestFiles_AreRemovedInFewPlaces"},
	},
	{
		name: "cut-in-a-unit", rule: "U2", file: "hlog/checkpoint.go",
		what:   "take a cut when no unit is under way",
		old:    "if err := s.shutUnits(ctx, lost); err != nil {",
		new:    "if err := error(nil); lost < 0 {",
		caught: []string{"./hlog", "-short", "-run", "TestUnit_PairsAreWholeInEveryVersion"},
	},
	{
		name: "restore-in-a-unit", rule: "U2", file: "hlog/restore.go",
		what:   "pause operations for a restore when no unit is under way",
		old:    "if err := s.shutUnits(ctx, lost); err != nil {",
		new:    "if err := error(nil); lost < 0 {",
		caught: []string{"./hlog", "-run", "TestUnit_ARestoreUndoesItWhole"},
	},
	{
		name: "shut-until-the-pause", rule: "U2", file: "hlog/restore.go",
		what:   "keep the gate shut until operations are paused for a restore",
		old:    "\ts.setControl(pausedBit, 0)\n\tdefer s.setControl(0, pausedBit)\n\ts.units.Open()",
		new:    "\ts.units.Open()\n\ttime.Sleep(time.Millisecond)\n\ts.setControl(pausedBit, 0)\n\tdefer s.setControl(0, pausedBit)\n\t",
		caught: []string{"./hlog", "-short", "-run", "TestUnit_PairsAreWholeInEveryVersion"},
	},
	{
		name: "look-before-you-say", rule: "U3", file: "hlog/internal/units/gate.go",
		what:   "say that a unit is under way before looking at the gate",
		old:    "\tu.Enter()\n\tif phase(g.phase.Load()) == open {\n\t\treturn nil\n\t}\n\tu.Exit()\n",
		new:    "\tif phase(g.phase.Load()) == open {\n\t\tfor range 2000 {\n\t\t\tg.mu.Lock()\n\t\t\tg.mu.Unlock()\n\t\t}\n\t\tu.Enter()\n\t\treturn nil\n\t}\n",
		caught: []string{"./hlog/internal/units", "-run", "TestGate_NobodyIsInsideWhileItIsShut"},
	},
	{
		name: "look-at-the-gate", rule: "U3", file: "hlog/internal/units/gate.go",
		what:   "keep units that begin waiting while the gate is shut",
		old:    "\tu.Enter()\n\tif phase(g.phase.Load()) == open {\n\t\treturn nil\n",
		new:    "\tu.Enter()\n\tif phase(g.phase.Load()) != over {\n\t\treturn nil\n",
		caught: []string{"./hlog", "-run", "TestUnit_ACutWaitsAndUnitsWaitForTheCut"},
	},
	{
		name: "waited-in-vain", rule: "U4", file: "hlog/internal/units/gate.go",
		what:   "let units in that have waited at a gate which was shut in vain",
		old:    "if w.listed = false; inVain {",
		new:    "if w.listed = false; false {",
		caught: []string{"./hlog/internal/units", "-run", "TestGate_LetsThoseInWhoHaveWaitedInVain"},
	},
	{
		name: "open-again", rule: "U4", file: "hlog/internal/units/gate.go",
		what:   "open the gate when units are not waited for any longer",
		old:    "\t\tg.reopen(true)\n",
		new:    "",
		caught: []string{"./hlog/internal/units", "-run", "TestGate_ShutsBetweenUnits"},
	},
	{
		name: "end-of-a-unit", rule: "U1", file: "hlog/unit.go",
		what:   "end a unit whose function panics",
		old:    "\tdefer s.endUnit()\n\treturn fn()\n",
		new:    "\terr := fn()\n\ts.endUnit()\n\treturn err\n",
		caught: []string{"./hlog", "-run", "TestUnit_EndsHoweverItsFunctionEnds"},
	},
	{
		name: "part-of-a-unit-at-the-end", rule: "U6", file: "hlog/close.go",
		what:   "commit no last version with a part of a unit",
		old:    "if s.changed() && !whole {",
		new:    "if s.changed() && false {",
		caught: []string{"./hlog", "-run", "TestUnit_Close"},
	},
	{
		name: "changes-of-one-side", rule: "Z1", file: "hlog/changes.go",
		what:   "look at the log that only the older version has, too",
		old:    "if now := w.has(a, rec); now != old.has(a, rec) &&",
		new:    "if now := w.has(a, rec); now && !old.has(a, rec) &&",
		caught: []string{"./hlog", "-run", "TestChanges_DeletionWhoseTombstoneIsGone"},
	},
	{
		name: "changes-in-a-fuzzy-end", rule: "C4", file: "hlog/changes.go",
		what:   "look at the fuzzy ends of extents that two versions do not share",
		old:    "\t\t\tboth.Add(e.Fuzzy, e.End)\n",
		new:    "",
		caught: []string{"./hlog", "-run", "TestChanges_OfAFuzzyEnd"},
	},
	{
		name: "changes-once", rule: "Z2", file: "hlog/changes.go",
		what:   "report a key of which each version has a record of its own only once",
		old:    "case rec == nil || d.old.has(a, rec):",
		new:    "case rec == nil || a != word.None:",
		caught: []string{"./hlog", "-run", "TestChanges_AcrossBranches"},
	},
	{
		name: "changes-of-values", rule: "Z2", file: "hlog/changes.go",
		what:   "leave out a key that has been written, and has its old value",
		old:    "case has && (!had || !bytes.Equal(value, old)):",
		new:    "case has:",
		caught: []string{"./hlog", "-run", "TestChanges_AcrossBranches"},
	},
}
