package main

// event is what happens: a user spends an amount.
type event struct {
	User, Amount uint64
}

// source is one partition of a replayable source: what a topic's partition, a change log or a file is in real life. It
// is read from any offset, and always holds the same events.
type source struct {
	partition, partitions uint64
	events                uint64 // in this partition
	users                 uint64
}

func newSource(c config, partition int) source {
	p, n := uint64(partition), uint64(c.Partitions)
	return source{p, n, (c.Events + n - 1 - p) / n, c.Users}
}

// read fills batch with the events from an offset on and returns how many there were; 0 is the end.
func (s source) read(batch []event, offset uint64) int {
	n := min(uint64(len(batch)), s.events-min(offset, s.events))
	for i := range n {
		r := scramble((offset+i)*s.partitions + s.partition + 1)
		// Of two uniform picks the smaller: some users are busier than others.
		batch[i] = event{min(r%s.users, r>>32%s.users), r >> 57}
	}
	return int(n)
}

// scramble is the finalizer of splitmix64.
func scramble(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
