// Package units keeps the cuts of versions and units of operations apart: a cut is taken when no unit is under way. It
// knows neither a version nor an operation.
//
// Every session that has units has a guard in an epoch of their own (package epoch), and is inside it while a unit is
// under way. Between the units and whoever takes a cut stands a [Gate]:
//
//	a unit                              a cut
//	------                              -----
//	Enter: it is under way              phase := shut
//	is the gate open?                   Synchronize: nobody is inside who was before
//	  yes: its operations               the log version is raised; nobody is inside but to look at the gate
//	  no:  Exit, wait for the gate      phase := open
//	Exit
//
// Either the unit finds the gate shut, or the cut finds the unit inside: Enter and Synchronize make sure of it (E2), and
// a unit costs what a guard costs, two plain stores on linux/amd64.
//
// When a unit does not end, the gate is opened although no cut was taken, and may be shut again at once. So that others do
// not wait for ever, whoever opens the gate in vain lets those in who wait: under the gate's lock he enters the epoch for
// them. Whoever shuts it next finds them inside, although none of them may have run yet. After a cut they are only woken:
// of a thousand that wait few are under way when the next cut comes, and it need not wait for all of them.
package units
