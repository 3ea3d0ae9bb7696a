#!/usr/bin/env bash
# axiomhq/hyperloglog: Estimate writes. Two goroutines that only ask one sketch for its estimate are a data race.
#
# Guess:    Estimate, and MarshalBinary, read: a sketch that nobody inserts into any more may be asked by many at once, and
#           one that is guarded by a sync.RWMutex takes RLock for them.
# Instead:  as long as the sketch is sparse, which is where each one begins, Estimate moves what was inserted lately into its
#           sorted list, and may turn the sketch into the dense form. The race detector reports it, for two calls without any
#           Insert. Once the sketch is dense it is silent.
# Seen:     axiomhq/hyperloglog v0.3.0, go 1.26.
# Source:   Sketch.Estimate in hyperloglog.go calls mergeSparse, and toNormal.
# Matters:  counts of distinct keys for each segment or tenant are mostly of small sets, so sparse, and are read by a metrics
#           endpoint and a planner at once. Tests with many keys are dense and pass. Take the write lock for Estimate, or
#           Clone first under it.
# Needs:    cgo, for -race.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'GO'
package main

import (
	"fmt"
	"os"
	"sync"

	"github.com/axiomhq/hyperloglog"
)

func main() {
	count := 100
	if os.Args[1] == "dense" {
		count = 1_000_000
	}
	sketch := hyperloglog.New14()
	for i := range count {
		sketch.Insert(fmt.Append(nil, i))
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { sketch.Estimate() })
	}
	both.Wait()
}
GO
go mod init finding >/dev/null 2>&1
go get github.com/axiomhq/hyperloglog@v0.3.0 >/dev/null 2>&1
CGO_ENABLED=1 go build -race -o racy .
reports() { ./racy "$1" 2>&1 | grep -c 'WARNING: DATA RACE' || true; }
sparse=$(reports sparse)
dense=$(reports dense)
echo "reports of a race between two calls of Estimate: $sparse for 100 keys, $dense for 1,000,000"
if [ "$sparse" = 0 ] || [ "$dense" != 0 ]; then
  echo "the behaviour has changed"
  exit 1
fi
