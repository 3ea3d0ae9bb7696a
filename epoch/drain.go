package epoch

import "sync"

// drain holds the actions that wait for the epoch.
type drain struct {
	mu      sync.Mutex
	idle    sync.Cond // signalled when running becomes false
	pending []func()
	running bool         // what runs actions was spawned and has not ended
	spawn   func(func()) // nil: a goroutine
}

// Defer runs action exactly once, when every guard that is inside now has left (E3). It does not wait and may be
// called from inside, and by an action. Actions run one at a time on a goroutine of their own, in the order of their
// Defers. An action may wait, but then it holds up the actions after it.
func (m *Manager) Defer(action func()) {
	d := &m.drain
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pending = append(d.pending, action)
	if !d.running {
		d.running = true
		if d.spawn != nil {
			d.spawn(m.runActions)
		} else {
			go m.runActions()
		}
	}
}

// runActions runs actions until none is left. There is at most one such goroutine.
func (m *Manager) runActions() {
	for {
		batch := m.takeActions()
		if batch == nil {
			return
		}
		// One wait serves the whole batch: all of it was deferred before.
		m.Synchronize()
		for i, action := range batch {
			batch[i] = nil // what an action holds can be collected as soon as it ran
			action()
		}
	}
}

// takeActions removes and returns what is pending. When nothing is, it declares the calling goroutine gone: under the
// same lock as Defer looks, so that no action is left behind.
func (m *Manager) takeActions() []func() {
	d := &m.drain
	d.mu.Lock()
	defer d.mu.Unlock()
	batch := d.pending
	d.pending = nil
	if batch == nil {
		d.running = false
		d.idle.Broadcast()
	}
	return batch
}

// Close returns when every deferred action has run. It must be called neither from inside nor by an action. It waits
// for guards that are inside; to let it end, call it when no operation is under way. Nothing is freed that a later
// call could miss: a manager that is used after Close behaves as before.
func (m *Manager) Close() {
	d := &m.drain
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.running {
		d.idle.Wait()
	}
}
