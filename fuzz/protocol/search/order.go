package search

// MaxEvents is how many events an Order may have.
const MaxEvents = 16

// Order is the search for an order of events, one after the other, that explains what each of them saw. V is all that the
// store holds. Sets of events are masks: event e is 1<<e.
type Order[V comparable] struct {
	After   [MaxEvents]uint16 // the events that certainly came before each
	Cuts    uint16            // the events at which a version is taken
	Without [MaxEvents]uint16 // the cuts that must not hold each: it comes after them, unless it changes nothing

	// Apply returns what the store holds after event e, which found v there, and whether what it saw fits. past is what the
	// store has held up to now, empty when no cut is among the events.
	Apply func(e int, v V, past []V) (next V, fits bool)
	// Allowed, unless nil, says whether e may come when done are over.
	Allowed func(e int, done uint16) bool

	todo uint16
	end  V
	past []V
}

// Exists reports whether the events of todo have such an order that leads from begin to end.
func (o *Order[V]) Exists(todo uint16, begin, end V) bool {
	o.todo, o.end, o.past = todo, end, o.past[:0]
	return o.search(0, begin)
}

// search looks for an order of what is left to do, with done behind it and v as what the store holds.
func (o *Order[V]) search(done uint16, v V) bool {
	past := o.past
	if o.todo&o.Cuts != 0 {
		o.past = append(o.past, v)
	}
	found := done == o.todo && v == o.end
	for e := 0; e < MaxEvents && !found; e++ {
		left := o.todo &^ done
		if left&(1<<e) == 0 || o.After[e]&left != 0 || o.Allowed != nil && !o.Allowed(e, done) {
			continue
		}
		next, fits := o.Apply(e, v, o.past)
		if fits && (next == v || o.Without[e]&left == 0) {
			found = o.search(done|1<<e, next)
		}
	}
	o.past = past
	return found
}
