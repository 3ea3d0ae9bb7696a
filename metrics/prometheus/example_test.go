package hlogprom_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hybridlog/hybridlog/hlog"
	hlogprom "github.com/hybridlog/hybridlog/metrics/prometheus"
)

func Example() {
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	store, err := hlog.Open(dir, &hlog.Options{MemoryBytes: 8 << 20})
	if err != nil {
		panic(err)
	}
	defer store.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(hlogprom.NewCollector("sessions", store))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	for i := range 5 {
		if err := store.Set([]byte{byte(i)}, []byte("value")); err != nil {
			panic(err)
		}
	}
	store.Get(nil, []byte{1})

	answer, err := http.Get(server.URL)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "hybridlog_operations_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// hybridlog_operations_total{op="delete",store="sessions"} 0
	// hybridlog_operations_total{op="get",store="sessions"} 1
	// hybridlog_operations_total{op="set",store="sessions"} 5
	// hybridlog_operations_total{op="update",store="sessions"} 0
}
