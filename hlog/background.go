package hlog

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hybridlog/hybridlog/internal/step"
)

// background has all jobs of a store. A job has a goroutine only while it has something to do: a store that is idle has
// none.
//
//	job           does                                  woken by                              holds (package lock)
//	------------  ------------------------------------  ------------------------------------  ---------------------
//	pager         opens pages of log, makes old ones    a page that was filled; the index     Flush, Page
//	              read-only, writes them                takes memory
//	sizing        divides memory between frames and     pages that have left memory; records  nothing
//	              the cache                             that the cache had to refuse
//	prefetch      reads ahead for Prefetch              Prefetch                              nothing
//	commit        makes checkpoints durable             a checkpoint that has begun           Flush, LedgerWriting
//	runs          writes index runs                     the flusher                           nothing
//	merges        merges index shares, and cold files   a run; the log has grown by a page;   Merging; Tier for a
//	                                                    a demotion                            moment
//	housekeeping  frees index entries, purges           a commit; a view or a scan that has   Compacting while it
//	              versions, demotes, compacts,          ended                                 compacts or demotes, with
//	              removes files; merges cold files                                            Cut and Tier for a moment;
//	              before a demotion when there are                                            DirCollecting while it
//	              many                                                                        removes; Merging
//	interval      begins a checkpoint                   Options.CheckpointEvery               Cut
//	copy          copies versions to the remote         a commit; every catchUp               nothing
//	events        calls the callbacks of Events         what they tell of                     nothing
//
//	once          does                                  begun by
//	------------  ------------------------------------  ------------------------------------
//	cut           ends the log of a version             BeginCheckpoint                       nothing
//	fill          fetches what Open does not wait for,  Open                                  nothing, then what Open does
//	              and opens the store then
//	ahead         asks the remote for what operations   Prefetch while the directory is       nothing
//	              will need                             filled
//	sweep         removes what an earlier process left  Open                                  DirCollecting
//	warm          loads the index and the newest log    Open; the index alone: Restore        Table, shared; Page
//	growth        moves a table of the index into one   the index                             nothing
//	              that is twice as large
//
// Close stops interval, housekeeping, runs, merges, pager, sizing and prefetch, and waits only for the rounds that are under way:
// these look at the context of the store, which ends before. What belongs to Close it has finished: the commits of checkpoints that have
// begun, the copies, the callbacks.
//
// Some goroutines belong to one call, which waits for them: the reader of a replay and of a read-ahead, those that close
// several things at a time. A call of Options.Cookie has one, too, which its caller waits for a second at most. The reaper
// of single reads (package reclog) exists while such reads are under way, and what waits for the epoch is done by package
// epoch.
type background struct {
	jobs *step.Jobs

	pager, sizing, prefetch, commit, runs, merges, housekeeping, interval, copy, events *step.Job

	pause     time.Time    // of the rounds of interval: none begins a checkpoint before
	givingWay atomic.Int32 // how many wait in giveWay
}

// init makes the jobs. None does anything before start.
func (b *background) init(s *Store, work *step.Work) {
	b.jobs = step.NewJobs(work)
	b.pager = b.jobs.Add("pager", step.Pager, func() { s.log.Turn() })
	b.sizing = b.jobs.Add("sizing", step.Sizing, s.sizeCache)
	b.prefetch = b.jobs.Add("prefetch", step.Apart, s.prefetcher.round)
	b.commit = b.jobs.Add("commit", step.Commit, s.commitRound)
	b.events = b.jobs.Add("events", step.Apart, s.events.callAll)
	s.events.job = b.events
	if !s.writable {
		return
	}
	b.runs = b.jobs.Add("runs", step.Runs, func() { s.disk.WriteRuns() })
	b.merges = b.jobs.Add("merges", step.Merges, s.mergeShares)
	b.housekeeping = b.jobs.Add("housekeeping", step.Chores, s.maintain)
	b.interval = b.jobs.Add("interval", step.Apart, s.checkpointIfChanged)
	b.copy = b.jobs.Add("copy", step.Apart, func() { s.copies.round(s) })
	s.copies.init(b.copy)
}

// work is what the jobs are done in step by step, nil but in tests that must replay.
func (b *background) work() *step.Work { return b.jobs.Work() }

// startJobs sets the background going.
func (s *Store) startJobs() {
	b := &s.background
	for _, j := range []*step.Job{b.events, b.pager, b.sizing, b.prefetch, b.commit, b.runs, b.merges, b.housekeeping} {
		j.Start()
	}
	if s.copies.mirror != nil {
		b.copy.Start()
		b.copy.Wake()
		b.copy.Every(catchUp)
	}
	if s.opts.CheckpointEvery > 0 && b.jobs.Work() == nil {
		b.interval.Start()
		b.interval.Every(s.opts.CheckpointEvery)
	}
	if s.writable {
		b.jobs.Once("sweep", step.Other, s.sweep)
	}
	b.jobs.Once("warm", step.Other, s.warm)
}

// kickMaintenance asks for a round of housekeeping.
func (s *Store) kickMaintenance() { s.background.housekeeping.Wake() }

// checkpointIfChanged commits a version if anything has changed.
func (s *Store) checkpointIfChanged() {
	if !s.changed() || time.Now().Before(s.background.pause) {
		return
	}
	began := time.Now()
	p, err := s.begin(s.life.Context(), checkpointOptions{ask: true})
	if errors.Is(err, ErrUnitBusy) {
		// Units go on for as long as they were waited for: else one that does not end would keep others waiting all the time.
		s.background.pause = time.Now().Add(time.Since(began))
	}
	if err == nil {
		p.Wait(s.life.Context()) // a failure is logged and counted where it happens
	} else if s.check() == nil && err != ErrClosed {
		s.counters.checkpointErrors.Add(1)
		s.logger.Error("checkpoint", "err", err)
	}
}
