package epoch

// Mark marks every guard that is inside and was there before the last Synchronize or SynchronizeUnless began, and returns how
// many they are; no other guard stays marked. Each of them is to ask [Guard.TakeMark] when it has left, and is told once that
// it was marked (E8): so whoever waits for them can sleep until the last one has said so, instead of looking again and again.
//
// A guard that is released or collected as garbage says nothing: whoever sleeps has to look again after some time.
func (m *Manager) Mark() (marked int) {
	target := m.current.Load()
	inside := func(c *cell) bool {
		e := c.local.Load()
		return e != 0 && e < target
	}
	for _, ch := range *m.chunks.Load() {
		for i := range ch {
			c := &ch[i]
			if !inside(c) {
				if c.marked.Load() {
					c.marked.Store(false) // of an earlier call, or of a guard that has said nothing
				}
				continue
			}
			c.marked.Store(true)
			// Either the guard is still inside here, and will find the mark; or it has left meanwhile, and if it has not
			// found the mark it never will.
			if inside(c) || !c.marked.CompareAndSwap(true, false) {
				marked++
			}
		}
	}
	return marked
}

// TakeMark reports whether the guard was marked and nobody has been told so yet. It is called after Exit.
func (g *Guard) TakeMark() bool { return g.cell.marked.CompareAndSwap(true, false) }
