package index

import (
	"cmp"
	"context"
	"slices"

	"github.com/hybridlog/hybridlog/internal/word"
)

// Question is a record of which Logged.Own is true, and it is asked whether a newer one of its hash is known (I21).
type Question struct {
	order uint64
	At    word.Address
	Tag   int32 // of whoever asks
	Dead  bool  // there is a newer one
}

// Ask returns the question of the record at a, whose key has the hash h.
func Ask(h uint64, a word.Address, tag int32) Question {
	return Question{order: order(h), At: a, Tag: tag}
}

// SortQuestions sorts questions as Answers takes them.
func SortQuestions(q []Question) {
	slices.SortFunc(q, func(a, b Question) int { return cmp.Compare(a.order, b.order) })
}

// Telling returns the shares that may answer questions of records from oldest on, those that hold most first.
func (d *Disk) Telling(oldest word.Address) (shares Shares) {
	d.mu.Lock()
	defer d.mu.Unlock()
	tells := func(refs ...ShareRef) {
		for _, r := range refs {
			if d.counted[r.ID].own && r.To > oldest {
				shares = append(shares, r)
			}
		}
	}
	tells(d.shares...)
	for _, r := range d.young {
		for _, g := range r.Groups {
			tells(refsOf(g.Shares)...)
		}
	}
	slices.SortFunc(shares, func(a, b ShareRef) int { return cmp.Compare(b.Triples, a.Triples) })
	return shares
}

// questionGap is how many blocks that nobody asks for are read rather than passed over by two reads.
const questionGap = 4

// Answers has memory to answer questions with.
type Answers struct {
	raw     []byte
	triples []Triple
}

// Of notes which of questions, sorted, are of records that are dead because the share has a newer one of their hash. It reads
// the blocks that those lie in which are not dead yet.
//
// Errors are *[CorruptError], and those of the file and of ctx.
func (a *Answers) Of(ctx context.Context, s *Share, questions []Question) error {
	if !s.own || len(s.first) == 0 {
		return nil
	}
	if a.raw == nil {
		a.raw = make([]byte, shareAhead)
	}
	at, _ := slices.BinarySearchFunc(questions, max(s.ref.First, s.first[0]), func(q Question, o uint64) int { return cmp.Compare(q.order, o) })
	end := at
	for end < len(questions) && questions[end].order <= s.ref.Last {
		end++
	}
	for q := questions[at:end]; len(q) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, first, last := s.stretch(q)
		var err error
		if n > 0 && first < last {
			if a.triples, err = s.read(a.triples[:0], a.raw, first, last, q[0].order, q[n-1].order); err != nil {
				return err
			}
			supersede(q[:n], a.triples)
		}
		q = q[n:]
	}
	return nil
}

// stretch returns how many of questions one read answers, which is of blocks first..last-1; there are none if all of them are
// answered.
func (s *Share) stretch(questions []Question) (n, first, last int) {
	for ; n < len(questions); n++ {
		q := &questions[n]
		if q.Dead || q.At >= s.ref.To {
			continue
		}
		if last > 0 && (last == len(s.first) || q.order < s.first[last]) {
			continue // the last block has it
		}
		i, _ := s.within(q.order, q.order)
		switch {
		case last == 0:
			first = i
		case i > last+questionGap || i >= first+shareAhead/shareBlock:
			return n, first, last
		}
		last = i + 1
	}
	return n, first, last
}

// supersede notes which of questions have a newer record among triples. Both are sorted.
func supersede(questions []Question, triples []Triple) {
	for i := range questions {
		q := &questions[i]
		for len(triples) > 0 && triples[0].order < q.order {
			triples = triples[1:]
		}
		if len(triples) == 0 {
			return
		}
		if t := triples[0]; t.order == q.order && t.Address() > q.At {
			q.Dead = true
		}
	}
}
