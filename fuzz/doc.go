// Package fuzz looks for answers that are wrong: it plays tapes of commands against a store and a model that knows every
// version, on file systems that crash and fail.
//
// # Tapes
//
// A [Tape] is a sequence of commands of four bytes ([Op]): every call of the API, reopening with other options, and the
// plug pulled. Any bytes are a tape, so that a fuzzer may write them. A [Runner] plays one against a store and a
// [Model]; presence and absence of every key there could be are compared. The model also says what a crash may leave
// ([Outcome]): which versions must be there, which may, and which of them may be current.
//
// A [Crasher] does not play anything twice. Before a write-class call of the disk it clones the disk once for each way to
// crash (nothing unsynced kept, everything, a prefix, torn sectors, subsets), opens each clone, verifies it there and
// then, some of them at every version, and lets the call go on; or it crashes the recovery, too, at each of its calls.
//
// # Runs that replay
//
// A store has goroutines: pager, commits, housekeeping, growth. With [Runner.Work] it has none: what it would do in the
// background is pieces of work (package internal/step) that run in the goroutine of the runner, while that waits for
// them and now and then between two operations, in an order that follows from a seed. Then a run is single-threaded and
// does the same calls to its disk every time (TestStepped_Replays), and "the k-th call" means something: TestFault_* and
// most of TestCrash_EveryCall are of this kind, and so is a fuzz target's input with bit 2 of its first byte set.
//
// A piece of work runs to its end before anything else happens. What interleaves within one is for the tests with
// goroutines, whose failures may need several runs to come again: TestLinearizable, TestKill_Writer, TestRegress, and a
// share of the others.
//
// # What fails
//
// A tape that fails is minimised ([Minimise]) and printed as Go, for TestRegress; a fuzz target prints its bytes
// besides, and the go command keeps the input under testdata/fuzz. A history that is not linearizable is drawn, and saved
// as JSON beside the drawing, in a directory that the failure names. A call that hangs panics after two minutes, with
// all stacks.
//
// # How much
//
// go test runs a bit of everything, in a minute; -short, less. The variable HLOG_FUZZ asks for more: HLOG_FUZZ=ci for the
// full counts, which a change must pass (.ci/run sets it), HLOG_FUZZ=long for hours. Each test logs what it has counted
// (go test -v). README.md has the counts, and the table of mistakes that were made on purpose to see that these tests
// notice them (go run ./fuzz/mutate).
//
// Package fuzz/protocol explores a model of the engine in every order of its steps, fuzz/linearize checks histories.
package fuzz
