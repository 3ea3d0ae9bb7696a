// Package report turns what experiments measured into things a person can read: aligned tables on the terminal, CSV
// files for other programs, figures as PNG and SVG, and one HTML page that needs no other file.
//
// A [Report] is a list of [Section]s; a section is what one experiment found: its settings, its tables, its figures and
// a few sentences. Numbers are kept as numbers until they are drawn.
package report
