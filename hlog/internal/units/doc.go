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
// Whoever shuts the gate marks the units that are under way, and the last of them to end tells him (E8). He neither yields nor
// sleeps while units run, because the goroutines that are ready to run may be a thousand, and the shortest sleep of an idle
// process is a millisecond; and nobody else tells him, because each who did would have to give up its processor to him. A unit
// that was descheduled ends when the scheduler comes to it, behind all others that were ready to run before: no cut is taken
// sooner than that.
//
// When the gate opens after a cut, as many units are woken as there are processors, and each that has passed wakes another.
// So whoever shuts the gate next finds few goroutines ready to run that only want to look at the gate, and those asleep
// cost him nothing.
//
// When a unit does not end, the gate is opened although no cut was taken, and may be shut again at once. So that others do
// not wait for ever, whoever opens the gate in vain lets those in who wait, however long they have: under the gate's lock he
// enters the epoch for them. Whoever shuts it next finds them inside, although none of them may have run yet.
package units
