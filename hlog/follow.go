package hlog

import (
	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/epoch"
	"github.com/hybridlog/hybridlog/hlog/internal/reclog"
	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// membership tells which records of the log that a version was cut from belong to it (C4).
type membership struct {
	fuzzy uint64             // log below it does
	cut   uint64             // log from here on does not
	after word.RecordVersion // in between, records of this version do not
}

// members returns the membership of m, for the log of which m is a version.
func members(m *checkpoint.Manifest) membership {
	return membership{fuzzy: m.LiveFuzzy(), cut: m.Cut, after: word.MakeRecordVersion(m.LogVersion + 1)}
}

func (b membership) has(a word.Address, v word.RecordVersion) bool {
	return uint64(a) < b.fuzzy || uint64(a) < b.cut && v != b.after
}

// follower finds where the chains of the live log were at a version that the store has gone on from. It belongs to
// one goroutine.
type follower struct {
	log   *reclog.Log
	of    membership
	guard *epoch.Guard
	cold  *reclog.Reader
	known map[word.Address]older // links that a walk has seen, of records that are only on disk; may be nil
}

// older is what a record's link says.
type older struct {
	prev    word.Address
	version word.RecordVersion
}

func (s *Store) newFollower(m *checkpoint.Manifest) *follower {
	return &follower{log: s.log, of: members(m), guard: s.epochs.Register(), cold: s.log.NewReader()}
}

// target follows a chain from a down to the first record that belongs to the version.
func (f *follower) target(a word.Address) (word.Address, error) {
	for a != word.None && uint64(a) >= f.of.fuzzy {
		k, err := f.link(a)
		if err != nil {
			return 0, err
		}
		if f.of.has(a, k.version) {
			return a, nil
		}
		a = k.prev
	}
	return a, nil
}

func (f *follower) link(a word.Address) (older, error) {
	f.guard.Enter()
	if uint64(a) >= f.log.Head() {
		k := record.LinkAt(f.log.At(a))
		f.guard.Exit()
		return older{k.Prev(), k.Version()}, nil
	}
	f.guard.Exit()
	if k, ok := f.known[a]; ok {
		return k, nil
	}
	rec, _, err := f.cold.Read(a)
	if err != nil {
		return older{}, err
	}
	return older{rec.Link().Prev(), rec.Link().Version()}, nil
}
