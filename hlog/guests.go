package hlog

import (
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/index"
	"github.com/hybridlog/hybridlog/internal/word"
)

// What was written at about the same time is often used at about the same time again, as when a hot set comes back. A read of
// one record from the log brings others that were written soon after it, and the cache takes those that are the newest of
// their keys in as guests, as long as it finds that guests are asked for (package coldcache). So a set comes in with as many
// reads as it has blocks. What the cache has of them is what the disk has (H12): they were on disk before the read.

// invite offers the cache the companions of the record at a, which was read for an operation. The caller is outside the epoch,
// and g is a guard of his.
func (s *Store) invite(g *epoch.Guard, a word.Address, of *reclog.Companions) {
	if !s.cache.Welcome(a) {
		return
	}
	g.Enter()
	defer g.Exit()
	if !control(s.control.Load()).open() {
		return
	}
	x := s.index()
	for {
		a, rec, ok := of.Next()
		if !ok {
			return
		}
		if _, e, status := x.Find(s.hash(rec.OnlyKey())); status == index.Found && e.Address() == a {
			s.cache.Invite(a, rec)
		}
	}
}
