#!/usr/bin/env bash
# porcupine: operations that touch in time are concurrent, also two of one client, so that a coarse clock hides stale reads.
#
# Guess:    an operation that is called when another has returned comes after it, the more so if both are of one ClientId:
#           a client does one thing at a time. A history of a client that writes 1 and then reads 0 is never linearizable.
# Instead:  CheckOperations puts calls before returns where times are equal, and does not look at ClientId at all. Write 1 from
#           tick 5 to 6, read 0 from tick 6 to 7, by the same client: linearizable. One tick later it is not. CheckEvents goes
#           by the order of the events, and refuses.
# Seen:     porcupine v1.3.1, go 1.26.
# Source:   byTime.Less in checker.go: "if the timestamps are the same, we need to make sure we order calls before returns".
#           ClientId is used by the visualization only.
# Matters:  a recorder that reads the clock once between two operations (the end of one is the begin of the next), one that keeps
#           milliseconds, or a clock that stands still for a tick (Windows: up to 15 ms) makes every neighbour concurrent, and the
#           checker passes a store that forgets what its own client has just written. Take the times from one atomic counter,
#           added to before and after each operation, or record events.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"

	"github.com/anishathalye/porcupine"
)

type input struct {
	write bool
	value int
}

var register = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, in, out any) (bool, any) {
		if i := in.(input); i.write {
			return true, i.value
		}
		return out.(int) == state.(int), state
	},
}

// staleRead checks a write of 1 in ticks 5 to 6, and a read of 0 by the same client that is called at a tick.
func staleRead(called int64) bool {
	return porcupine.CheckOperations(register, []porcupine.Operation{
		{ClientId: 1, Input: input{true, 1}, Call: 5, Return: 6},
		{ClientId: 1, Input: input{}, Output: 0, Call: called, Return: called + 1},
	})
}

func main() {
	touching, later := staleRead(6), staleRead(7)
	events := porcupine.CheckEvents(register, []porcupine.Event{
		{ClientId: 1, Kind: porcupine.CallEvent, Value: input{true, 1}, Id: 0},
		{ClientId: 1, Kind: porcupine.ReturnEvent, Value: 0, Id: 0},
		{ClientId: 1, Kind: porcupine.CallEvent, Value: input{}, Id: 1},
		{ClientId: 1, Kind: porcupine.ReturnEvent, Value: 0, Id: 1},
	})
	fmt.Printf("a client that reads 0 after it has written 1 is right: at the same tick %v, a tick later %v, as events %v\n", touching, later, events)
	if !touching || later || events {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/anishathalye/porcupine@v1.3.1 >/dev/null 2>&1
go run .
