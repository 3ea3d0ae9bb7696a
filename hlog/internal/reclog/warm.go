package reclog

import (
	"context"

	"github.com/hybridlog/hybridlog/hlog/internal/record"
	"github.com/hybridlog/hybridlog/internal/word"
)

// Warm reads pages below head into free frames and lowers head over them, page by page. [start, end) is one extent.
// [gap, opened) is log that was skipped when the log was opened at opened, and that nobody looks at.
func (l *Log) Warm(ctx context.Context, start, end, gap, opened uint64) error {
	if l.head.Load() == opened && gap == end {
		l.lowerHead(opened, gap)
	}
	if l.head.Load() != end {
		return nil
	}
	w := l.segments.NewWalker()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.pageMu.Lock()
		head := l.head.Load()
		page := l.pageStart(head - 1)
		full := l.limit.Load()-page > l.windowPages()*l.pageBytes
		if head > end || full || head <= start {
			l.pageMu.Unlock()
			return nil
		}
		err := l.warmPage(w, max(page, start), head)
		l.pageMu.Unlock()
		if err != nil {
			return err
		}
	}
}

// lowerHead makes frames below head part of memory without filling them, if there is room.
func (l *Log) lowerHead(from, to uint64) {
	l.pageMu.Lock()
	defer l.pageMu.Unlock()
	if l.head.Load() == from && l.limit.Load()-l.pageStart(to) <= l.windowPages()*l.pageBytes {
		l.head.Store(to)
	}
}

// warmPage reads [from, to), which lie in one page, into their frame. The caller holds pageMu: nobody moves head.
func (l *Log) warmPage(w *Walker, from, to uint64) error {
	for a := from; a < to; {
		c := w.fetchDisk(a, min(to, (a/l.segments.size+1)*l.segments.size), to)
		next, _, err := w.visitChunk(c, to, func(word.Address, record.Bytes, record.Shape, bool) (bool, error) { return true, nil })
		if err != nil {
			return err
		}
		copy(l.frame(a, int(next-a)), c.b)
		a = next
	}
	l.head.Store(from)
	return nil
}
