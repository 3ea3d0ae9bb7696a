// Package hlogprom exports what stores do to Prometheus: a collector over hlog.Store.Metrics with names and units as the
// ecosystem has them, and a dashboard for Grafana that uses them.
//
//	store, err := hlog.Open(dir, nil)
//	...
//	registry.MustRegister(hlogprom.NewCollector("sessions", store))
//	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// Every series has the label store, so that several stores of a process fit into one registry. All is in base units,
// bytes and seconds. What ends in _total counts from the opening of the store on: a store that is opened again starts
// from 0, which rate() and increase() take for the reset that it is.
//
// Versions and segments come and go, and a series for each of them would never end. What Metrics lists of them is
// exported as sums, and for the current version.
package hlogprom
