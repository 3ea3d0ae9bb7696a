// Package lint holds the rules of the house as a test, so that `go test ./...` keeps them:
//
//	imports    bench, fuzz, compare, cmd -> hlog -> index, epoch, checkpoint -> internal; the library depends on four
//	           modules and no more
//	unsafe     only in internal/mem, assembly and linkname nowhere else either
//	atomics    typed ones only
//	library    does not print, exit, log by itself or run at import
//	codes      of rules (H3) mean one rule, which is stated
//	durability how far the log is durable moves in one file, and only a restore abandons log
//	life       the phase of a store moves in one function
//	background jobs are made in one file, which has the table of them
//	locks      the locks of a store have ranks; a Store has 20 fields at most
//	files      formatted by gofmt and no longer than 800 lines
package lint
