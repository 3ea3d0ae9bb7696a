package workload

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies is a histogram of durations from 1 ns to 5 min, right to three digits at every size. It is not safe for
// concurrent use: each goroutine records into its own and they are merged at the end.
type Latencies struct {
	h    *hdrhistogram.Histogram
	over int64 // durations past the range, recorded at its end
}

const longest = 5 * time.Minute

// NewLatencies returns an empty histogram.
func NewLatencies() *Latencies {
	return &Latencies{h: hdrhistogram.New(1, longest.Nanoseconds(), 3)}
}

// Record adds one duration.
func (l *Latencies) Record(d time.Duration) {
	if d > longest {
		l.over++
		d = longest
	}
	// The value is inside the range, so the histogram cannot refuse it.
	_ = l.h.RecordValue(max(1, d.Nanoseconds()))
}

// Merge adds what other holds.
func (l *Latencies) Merge(other *Latencies) {
	l.h.Merge(other.h)
	l.over += other.over
}

// Count is the number of durations recorded.
func (l *Latencies) Count() int64 { return l.h.TotalCount() }

// Quantile returns the duration that a share q in [0, 1] of the operations did not exceed; 0 when there are none.
func (l *Latencies) Quantile(q float64) time.Duration {
	return time.Duration(l.h.ValueAtQuantile(q * 100))
}

// Max is the longest duration, Mean the average; both 0 when there are none.
func (l *Latencies) Max() time.Duration  { return time.Duration(l.h.Max()) }
func (l *Latencies) Mean() time.Duration { return time.Duration(l.h.Mean()) }

// String shows the figures that reports quote.
func (l *Latencies) String() string {
	return fmt.Sprintf("n=%d mean=%v p50=%v p99=%v p99.9=%v max=%v",
		l.Count(), l.Mean(), l.Quantile(.5), l.Quantile(.99), l.Quantile(.999), l.Max())
}
