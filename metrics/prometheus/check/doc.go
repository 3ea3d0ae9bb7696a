// Package check runs the queries of the dashboard in Prometheus' own engine, over scrapes of real stores. It is a module
// of its own so that those who import the collector get none of what the engine needs.
package check
