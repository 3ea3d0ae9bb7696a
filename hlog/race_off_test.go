//go:build !race

package hlog

// raceEnabled says that tests run some ten times slower.
const raceEnabled = false
