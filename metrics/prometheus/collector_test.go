package hlogprom

import (
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/hybridlog/hybridlog/hlog"
)

// fixed is a store that is always the same.
type fixed hlog.Metrics

func (f fixed) Metrics() hlog.Metrics { return hlog.Metrics(f) }

// values returns what a scrape of a store with these metrics shows, by name and labels.
func values(t *testing.T, m hlog.Metrics) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(NewCollector("s", fixed(m))); err != nil {
		t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]float64)
	for _, f := range families {
		for _, x := range f.GetMetric() {
			var name strings.Builder
			name.WriteString(f.GetName())
			for _, l := range x.GetLabel() {
				name.WriteString(" " + l.GetName() + "=" + l.GetValue())
			}
			found[name.String()] = x.GetCounter().GetValue() + x.GetGauge().GetValue()
		}
	}
	return found
}

// Every field of Metrics is exported: none can be changed without a series changing.
func TestCollector_ExportsEveryField(t *testing.T) {
	base := hlog.Metrics{PerVersion: []hlog.VersionMetrics{{Version: 1, Current: true}}, Segments: make([]hlog.SegmentMetrics, 1)}
	before := values(t, base)
	v := reflect.ValueOf(&base).Elem()
	for i := range v.NumField() {
		name, f := v.Type().Field(i).Name, v.Field(i)
		old := reflect.ValueOf(f.Interface())
		switch f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(7_000_000_000)
		case reflect.Uint64:
			f.SetUint(7_000_000_000)
		case reflect.Float64:
			f.SetFloat(7)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			f.SetString("something")
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 2, 2))
		default:
			t.Fatalf("%s is a %v: say here how to change it", name, f.Kind())
		}
		if reflect.DeepEqual(values(t, base), before) {
			t.Errorf("Metrics.%s is not exported: it belongs into the list of series.go", name)
		}
		f.Set(old)
	}
}

// Units and names, down to the bytes of one scrape.
func TestCollector_Values(t *testing.T) {
	got := values(t, hlog.Metrics{
		GetCount: 3, UpdateCount: 4, StallTime: 1_500_000_000, LastCheckpoint: 2_000_000, FrameBytes: 4096, LogTail: 1 << 40, IndexLoad: .5,
		PerVersion: []hlog.VersionMetrics{{Version: 6, ExclusiveBytes: 10, LogBytes: 90}, {Version: 9, ExclusiveBytes: 5, LogBytes: 100, Current: true}},
		Segments:   make([]hlog.SegmentMetrics, 3),
	})
	for name, want := range map[string]float64{
		"hybridlog_operations_total op=get store=s": 3, "hybridlog_operations_total op=update store=s": 4, "hybridlog_operations_total op=set store=s": 0,
		"hybridlog_stall_seconds_total store=s": 1.5, "hybridlog_checkpoint_last_seconds store=s": .002, "hybridlog_memory_bytes store=s use=frames": 4096,
		"hybridlog_log_position_bytes position=tail store=s": 1 << 40, "hybridlog_index_load_ratio store=s": .5, "hybridlog_current_version store=s": 9,
		"hybridlog_current_version_log_bytes store=s": 100, "hybridlog_versions_exclusive_bytes store=s": 15, "hybridlog_segments store=s": 3,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s: %v (there: %v), want %v", name, v, ok, want)
		}
	}
}

// The names are as Prometheus' own checker wants them.
func TestCollector_NamesPassPromlint(t *testing.T) {
	problems, err := testutil.CollectAndLint(NewCollector("s", fixed{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Two stores fit into a registry, two of one name do not.
func TestCollector_StoresInOneRegistry(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	a := NewCollector("a", fixed{GetCount: 1})
	for _, c := range []*Collector{a, NewCollector("b", fixed{GetCount: 2})} {
		if err := r.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Register(NewCollector("b", fixed{})); err == nil {
		t.Error("a second store of one name was accepted")
	}
	want := `# HELP hybridlog_versions Versions that can be restored.
# TYPE hybridlog_versions gauge
hybridlog_versions{store="a"} 0
hybridlog_versions{store="b"} 0
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "hybridlog_versions"); err != nil {
		t.Error(err)
	}
	if !r.Unregister(a) {
		t.Error("a was not registered")
	}
	if err := r.Register(NewCollector("a", fixed{})); err != nil { // the store was opened again
		t.Error(err)
	}
}
