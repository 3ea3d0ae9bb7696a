//go:build race

package hlog

const raceEnabled = true
