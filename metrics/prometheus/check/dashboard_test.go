package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/hybridlog/hybridlog/hlog"
	hlogprom "github.com/hybridlog/hybridlog/metrics/prometheus"
)

// What is scraped counts as scraped every interval. The dashboard's rates look at all of it.
const (
	scrapes  = 5
	interval = 15 * time.Second
	window   = 2 * time.Minute
)

// query is one query of the dashboard.
type query struct{ panel, expr string }

func queries(t *testing.T) (found []query) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(hlogprom.Dashboard()), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, x := range p.Targets {
			found = append(found, query{p.Title, x.Expr})
		}
	}
	if len(found) < 20 {
		t.Fatalf("the dashboard has %d queries", len(found))
	}
	return found
}

// history is what Prometheus keeps of its scrapes.
type history map[string]*kept

type kept promql.Series

// scrape asks a server for its metrics, over the network, and keeps them as of a time.
func (h history) scrape(t *testing.T, url string, at time.Time) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	decoder := &expfmt.SampleDecoder{
		Dec:  expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header)),
		Opts: &expfmt.DecodeOptions{Timestamp: model.TimeFromUnixNano(at.UnixNano())},
	}
	for {
		var v model.Vector
		if err := decoder.Decode(&v); err == io.EOF {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		for _, s := range v {
			h.add(s)
		}
	}
}

func (h history) add(s *model.Sample) {
	k := h[s.Metric.String()]
	if k == nil {
		b := labels.NewScratchBuilder(len(s.Metric))
		for name, value := range s.Metric {
			b.Add(string(name), string(value))
		}
		b.Sort()
		k = &kept{Metric: b.Labels()}
		h[s.Metric.String()] = k
	}
	k.Floats = append(k.Floats, promql.FPoint{T: int64(s.Timestamp), F: float64(s.Value)})
}

// Querier implements storage.Queryable.
func (h history) Querier(from, to int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		s := &selection{}
		for _, k := range h {
			if matches(k.Metric, matchers) {
				s.rest = append(s.rest, k)
			}
		}
		return s
	}}, nil
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(l.Get(m.Name)) {
			return false
		}
	}
	return true
}

// run evaluates a query as of a time, for a choice of stores.
func (h history) run(t *testing.T, expr, stores string, at time.Time) promql.Vector {
	t.Helper()
	expr = strings.NewReplacer("$store", stores, "$__rate_interval", model.Duration(window).String()).Replace(expr)
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute})
	defer engine.Close()
	q, err := engine.NewInstantQuery(context.Background(), h, nil, expr, at)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	defer q.Close()
	r := q.Exec(context.Background())
	v, err := r.Vector()
	if err != nil || len(r.Warnings) > 0 {
		t.Fatalf("%s: %v, %v", expr, err, r.Warnings)
	}
	return append(promql.Vector(nil), v...) // Close takes the result back
}

// Each query of the dashboard has an answer for each store that was scraped, and those whose answer is known give it.
func TestDashboard_QueriesHaveAnswers(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	var stores []*hlog.Store
	for _, name := range []string{"a", "b"} {
		s, err := hlog.Open(t.TempDir(), &hlog.Options{MemoryBytes: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		stores = append(stores, s)
		registry.MustRegister(hlogprom.NewCollector(name, s))
	}
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	const gets, sets = 30, 60 // between two scrapes, in store a; twice that in b
	start := time.Now().Truncate(time.Second)
	h := make(history)
	var last time.Time
	for i := range scrapes {
		if i > 0 {
			for k, s := range stores {
				work(t, s, gets*(k+1), sets*(k+1))
			}
		}
		last = start.Add(time.Duration(i) * interval)
		h.scrape(t, server.URL, last)
	}

	for _, q := range queries(t) {
		seen := make(map[string]bool)
		for _, x := range h.run(t, q.expr, ".*", last) {
			seen[x.Metric.Get("store")] = true
		}
		if !seen["a"] || !seen["b"] || len(seen) != 2 {
			t.Errorf("%s: answers for the stores %v: %s", q.panel, seen, q.expr)
		}
		for _, x := range h.run(t, q.expr, "b", last) {
			if x.Metric.Get("store") != "b" {
				t.Errorf("%s: an answer for %v, asked for b: %s", q.panel, x.Metric, q.expr)
			}
		}
	}
	for expr, want := range map[string]float64{
		`increase(hybridlog_operations_total{store="a",op="get"}[60001ms])`:                       gets * (scrapes - 1),
		`increase(hybridlog_operations_total{store="b",op="set"}[60001ms])`:                       2 * sets * (scrapes - 1),
		`sum by (store) (rate(hybridlog_operations_total{store="b",op="get"}[60001ms]))`:          2 * gets / interval.Seconds(),
		`increase(hybridlog_checkpoints_total{store="a"}[60001ms])`:                               scrapes - 1,
		`sum by (store) (increase(hybridlog_operations_total{store="a",op!~"get|set"}[60001ms]))`: 0,
		`hybridlog_memory_limit_bytes{store="a"}`:                                                 8 << 20,
	} {
		// The first scrape lies at the open end of the window, hence its last millisecond. Prometheus extrapolates by that much.
		v := h.run(t, expr, "", last)
		if len(v) != 1 || math.Abs(v[0].F-want) > .002*want {
			t.Errorf("%s: %v, want %v", expr, v, want)
		}
	}
}

// work does operations and commits a version.
func work(t *testing.T, s *hlog.Store, gets, sets int) {
	t.Helper()
	for i := range sets {
		if err := s.Set(fmt.Appendf(nil, "key %d", i), []byte("value")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range gets {
		if _, err := s.Get(nil, fmt.Appendf(nil, "key %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// selection is a storage.SeriesSet.
type selection struct {
	rest []*kept
	at   *kept
}

func (s *selection) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.at, s.rest = s.rest[0], s.rest[1:]
	return true
}

func (s *selection) At() storage.Series                { return promql.NewStorageSeries(promql.Series(*s.at)) }
func (s *selection) Err() error                        { return nil }
func (s *selection) Warnings() annotations.Annotations { return nil }
