package lock

// Rank is one of the types of this file.
type Rank interface{ comparable }

// The ranks, each with the package it belongs to and what its lock guards.
type (
	// Merging (hlog): one merge of cold files at a time.
	Merging struct{}
	// Compacting (hlog): one compaction, restore or clearing of entries at a time.
	Compacting struct{}
	// Cut (hlog): one cut, restore or close at a time.
	Cut struct{}
	// Tier (hlog): one change of the cold tier at a time, over the opening of files.
	Tier struct{}
	// DirCollecting (checkpoint): no fetch finds a file there that a collection is about to remove.
	DirCollecting struct{}
	// LedgerWriting (the ledger): one change of manifests at a time, over its I/O.
	LedgerWriting struct{}
	// DirWriting (checkpoint): one call at a time changes the directory's manifests.
	DirWriting struct{}
	// Mirror (checkpoint): what is known of the versions on a remote.
	Mirror struct{}
	// Table (hlog): held, shared, by those who use the index outside the epoch.
	Table struct{}
	// Flush (the log): one flush, or sync, at a time.
	Flush struct{}
	// Page (the log): one change of regions at a time.
	Page struct{}
	// Ledger (the ledger): lineage, pending versions, holds and claims; never held over I/O.
	Ledger struct{}
	// SyncAside (hlog): one sync at a time of an image or a run.
	SyncAside struct{}
	// View (hlog): the calls under way on a view.
	View struct{}
	// Segments (the log): which segment files are open.
	Segments struct{}
	// Submit (the log): one batch of single reads at a time goes to the kernel.
	Submit struct{}
	// Leaf: everything under which no lock is taken but the last.
	Leaf struct{}
	// Waking (step): the background is told that there is something to do, whatever the teller holds.
	Waking struct{}
)
