package cold

import (
	"bytes"
	"cmp"
	"math/bits"
	"slices"
)

// place is where a record is to be taken from.
type place struct {
	order uint64
	at    int
}

// SortRecords brings records into the order that [Write] wants. Orders are those of hashes, evenly distributed: the first bits
// of each say about where it belongs, and few have to be compared.
func SortRecords(records []Record) {
	places := distribute(records)
	for from := 0; from < len(places); {
		to := from + 1
		for to < len(places) && places[to].order>>sortedBits(len(records)) == places[from].order>>sortedBits(len(records)) {
			to++
		}
		slices.SortFunc(places[from:to], func(a, b place) int {
			if c := cmp.Compare(a.order, b.order); c != 0 {
				return c
			}
			return bytes.Compare(records[a.at].Key, records[b.at].Key)
		})
		from = to
	}
	permute(records, places)
}

// sortedBits returns how many low bits distribute does not look at, for so many records.
func sortedBits(n int) int { return 64 - max(bits.Len(uint(n))-2, 1) }

// distribute returns the places of records, ascending by the first bits of their orders.
func distribute(records []Record) []place {
	low := sortedBits(len(records))
	ends := make([]int, 1<<(64-low)) // by first bits: how many, then where the next goes
	for i := range records {
		ends[records[i].Order>>low]++
	}
	sum := 0
	for i, n := range ends {
		ends[i] = sum
		sum += n
	}
	places := make([]place, len(records))
	for i := range records {
		b := records[i].Order >> low
		places[ends[b]] = place{records[i].Order, i}
		ends[b]++
	}
	return places
}

// permute takes each record from its place, which is of no use any more then.
func permute(records []Record, places []place) {
	for i := range places {
		first, at := records[i], i
		for from := places[at].at; from != i; from = places[at].at {
			records[at] = records[from]
			places[at].at = at
			at = from
		}
		records[at] = first
		places[at].at = at
	}
}
