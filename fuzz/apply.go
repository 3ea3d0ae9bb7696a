package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hybridlog/hybridlog/hlog"
)

// point is what the store's own methods and a session have in common.
type point interface {
	Get(dst, key []byte) ([]byte, error)
	Set(key, value []byte) error
	Delete(key []byte) error
	RMW(key []byte, fn func(old []byte) []byte) error
}

func (r *Runner) point(c byte) point {
	if c&1 == 1 {
		return r.session
	}
	return r.store
}

// fits reports whether a page of the store holds the record of a key and a value.
func (r *Runner) fits(key []byte, value int) bool {
	words := func(n int) int { return (n + 7) &^ 7 }
	header := 16
	if len(key) > 255 || words(value) > 2040 {
		header = 24
	}
	size := header + words(len(key)) + words(value)
	if size > r.opts.PageBytes {
		return false
	}
	r.largest = max(r.largest, size)
	return true
}

// wrote judges the result of a write: whether it took effect, or why that is not right.
func (r *Runner) wrote(key []byte, size int, err error) (bool, error) {
	fits := r.fits(key, size)
	switch {
	case err == nil && fits:
		return true, nil
	case errors.Is(err, hlog.ErrTooLarge) && !fits:
		return false, nil
	case err == nil:
		return false, disagree("a key of %d bytes took a value of %d, which does not fit into a page", len(key), size)
	case r.tolerable(err):
		return false, nil
	}
	return false, err
}

func (r *Runner) single(o Op) error {
	key := Key(int(o.A))
	switch o.Kind {
	case OpSet:
		return r.set(r.point(o.C), key, sizeOf(o.B))
	case OpDelete:
		return r.remove(r.point(o.C), key)
	case OpRMW:
		return r.rmw(r.point(o.A>>7), key, int(o.B)%numRMW, o.C)
	case OpTable:
		return r.tableOp(uint64(o.A), o.B)
	}
	return r.get(r.point(o.C), key)
}

func (r *Runner) set(p point, key []byte, size int) error {
	r.model.seq++
	return r.put(p, key, Value(r.model.seq, size))
}

func (r *Runner) put(p point, key, v []byte) error {
	r.Work.Pause(pauseOperations)
	ok, err := r.wrote(key, len(v), p.Set(key, v))
	if ok {
		r.model.live[string(key)] = string(v)
	}
	return err
}

func (r *Runner) remove(p point, key []byte) error {
	ok, err := r.wrote(key, 0, p.Delete(key))
	if ok {
		delete(r.model.live, string(key))
	}
	return err
}

func (r *Runner) get(p point, key []byte) error {
	got, err := p.Get([]byte("prefix"), key)
	if err == nil && string(got[:6]) != "prefix" {
		return disagree("get of key %x does not append", clip(string(key)))
	}
	if err == nil {
		got = got[6:]
	}
	return r.judge(key, got, err)
}

// judge compares what a read returned with the model.
func (r *Runner) judge(key, got []byte, err error) error {
	want, ok := r.model.live[string(key)]
	switch {
	case errors.Is(err, hlog.ErrNotFound) && ok:
		return disagree("key %x not found, its value has %d bytes", clip(string(key)), len(want))
	case errors.Is(err, hlog.ErrNotFound):
		return nil
	case err != nil:
		if r.tolerable(err) {
			return nil
		}
		return err
	case !ok:
		return disagree("key %x has %d bytes, it should be absent", clip(string(key)), len(got))
	case string(got) != want:
		return disagree("key %x has %d bytes %x, want %d bytes %x", clip(string(key)), len(got), clip(string(got)), len(want), clip(want))
	}
	return nil
}

// errPanic is what the callback of rmwPanic panics with.
var errPanic = errors.New("callback panics on purpose")

func (r *Runner) rmw(p point, key []byte, way int, size byte) (err error) {
	r.model.seq++
	seq := r.model.seq
	r.Work.Pause(pauseOperations)
	want, existed := r.model.live[string(key)]
	var seen error
	defer func() {
		if x := recover(); x != nil {
			if x != errPanic || way != rmwPanic {
				panic(x)
			}
			err = nil // and nothing has changed
		}
	}()
	call := p.RMW(key, func(old []byte) []byte {
		if (old != nil) != existed || string(old) != want {
			seen = disagree("rmw of key %x saw %d bytes (nil: %v), want %d (%v)", clip(string(key)), len(old), old == nil, len(want), !existed)
		}
		r.Work.Pause(pauseOperations) // the world goes on between read and write
		if way == rmwPanic {
			if len(old) > 0 {
				old[0]++
			}
			panic(errPanic)
		}
		return Modify(way, old, seq, size)
	})
	if seen != nil {
		return seen
	}
	r.modified(key, want, existed, way, seq, size, call, &err)
	return err
}

// modified brings the model to what an RMW made of it.
func (r *Runner) modified(key []byte, old string, existed bool, way int, seq uint64, size byte, call error, err *error) {
	var in []byte
	if existed {
		in = append([]byte{}, old...)
	}
	out := Modify(way, in, seq, size)
	ok, e := r.wrote(key, len(out), call)
	*err = e
	if !ok {
		return
	}
	if out == nil {
		delete(r.model.live, string(key))
	} else {
		r.model.live[string(key)] = string(out)
	}
}

func (r *Runner) tableOp(k uint64, way byte) error {
	key := binary.LittleEndian.AppendUint64(nil, k)
	want, existed := r.model.live[string(key)]
	var n uint64
	if existed && len(want) == 8 {
		n = binary.LittleEndian.Uint64([]byte(want))
	}
	var err error
	switch way % 4 {
	case 0:
		err = r.table.Update(k, func(v *uint64, was bool) { *v++ })
		n++
	case 1:
		r.model.seq++
		n = r.model.seq
		err = r.table.Set(k, n)
		want = string(make([]byte, 8)) // whatever it was
	case 2:
		got, ok, e := r.table.Get(k)
		switch {
		case e == nil && (ok != existed || ok && got != n):
			return disagree("table: %d is %d, %v, want %d, %v", k, got, ok, n, existed)
		case errors.Is(e, hlog.ErrValueSize) && existed && len(want) != 8, e == nil, r.tolerable(e):
			return nil
		}
		return e
	default:
		return r.remove(tablePoint{r.table}, key)
	}
	if errors.Is(err, hlog.ErrValueSize) && existed && len(want) != 8 {
		return nil
	}
	if err == nil && existed && len(want) != 8 {
		return disagree("table: updated a value of %d bytes", len(want))
	}
	ok, err := r.wrote(key, 8, err)
	if ok {
		r.model.live[string(key)] = string(binary.LittleEndian.AppendUint64(nil, n))
	}
	return err
}

// tablePoint lets a table delete by bytes.
type tablePoint struct{ t *hlog.Table[uint64, uint64] }

func (p tablePoint) Get([]byte, []byte) ([]byte, error)        { return nil, nil }
func (p tablePoint) Set([]byte, []byte) error                  { return nil }
func (p tablePoint) RMW([]byte, func(old []byte) []byte) error { return nil }
func (p tablePoint) Delete(key []byte) error                   { return p.t.Delete(binary.LittleEndian.Uint64(key)) }

func (r *Runner) many(o Op) error {
	switch o.Kind {
	case OpMultiGet:
		return r.multiGet(o)
	case OpMultiSet:
		return r.multiSet(o)
	case OpMultiRMW:
		return r.multiRMW(o)
	case OpBurst:
		return r.burst(o)
	case OpFill:
		for i := range int(o.B) {
			if err := r.set(r.session, Key(4*int(o.A)+i), sizeOf(o.C)); err != nil {
				return err
			}
		}
		return nil
	}
	span := int(o.C)%16 + 1
	for i := range 8 * int(o.B) {
		if err := r.set(r.session, Key(int(o.A)+i%span), 8+i%8*8); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) run(o Op) [][]byte {
	ks := make([][]byte, int(o.B)%64)
	for i := range ks {
		ks[i] = Key((int(o.A) + i%50) % 256) // the last ones are repeated
	}
	return ks
}

func (r *Runner) multiGet(o Op) error {
	ks := r.run(o)
	next := 0
	var wrong error
	err := r.session.MultiGet(ks, func(i int, value []byte, err error) {
		if i != next {
			wrong = errors.Join(wrong, disagree("multiget: call %d is about key %d", next, i))
		}
		next++
		wrong = errors.Join(wrong, r.judge(ks[i], value, err))
	})
	if wrong != nil {
		return wrong
	}
	if err != nil && !r.tolerable(err) {
		return err
	}
	if err == nil && next != len(ks) {
		return disagree("multiget: %d calls for %d keys", next, len(ks))
	}
	return nil
}

func (r *Runner) multiSet(o Op) error {
	ks := r.run(o)
	if r.Faults { // one by one: what a call that fails half-way has done would not be known
		for _, k := range ks {
			if err := r.set(r.session, k, sizeOf(o.C)); err != nil {
				return err
			}
		}
		return nil
	}
	vs := make([][]byte, len(ks))
	fit := true
	for i := range vs {
		r.model.seq++
		vs[i] = Value(r.model.seq, sizeOf(o.C))
		fit = fit && r.fits(ks[i], len(vs[i]))
	}
	err := r.session.MultiSet(ks, vs)
	if !fit && errors.Is(err, hlog.ErrTooLarge) {
		return nil
	}
	if err != nil || !fit {
		return fmt.Errorf("multiset of values that fit (%v): %w", fit, err)
	}
	for i, k := range ks {
		r.model.live[string(k)] = string(vs[i])
	}
	return nil
}

func (r *Runner) multiRMW(o Op) error {
	way := int(o.C) % rmwReplace // those that always fit
	ks := r.run(o)
	if r.Faults {
		for _, k := range ks {
			if err := r.rmw(r.session, k, way, 0); err != nil {
				return err
			}
		}
		return nil
	}
	for _, k := range ks {
		if len(k)+maxModified+100 > r.opts.PageBytes || !r.fits(k, len(r.model.live[string(k)])) {
			return nil
		}
	}
	r.model.seq++
	seq := r.model.seq
	var wrong error
	last, want, ok := -1, "", false
	err := r.session.MultiRMW(ks, func(i int, old []byte) []byte {
		if i != last { // else it runs again for the same key
			last = i
			want, ok = r.model.live[string(ks[i])]
		}
		if string(old) != want || (old != nil) != ok {
			wrong = errors.Join(wrong, disagree("multirmw of key %x saw %d bytes, want %d", clip(string(ks[i])), len(old), len(want)))
		}
		out := Modify(way, old, seq+uint64(i), 0)
		if out == nil { // later keys may be the same one
			delete(r.model.live, string(ks[i]))
		} else {
			r.model.live[string(ks[i])] = string(out)
		}
		return out
	})
	r.model.seq += uint64(len(ks))
	return errors.Join(wrong, err)
}

// burst has three goroutines update keys of their own at once; then the model learns all of it.
func (r *Runner) burst(o Op) error {
	if r.Faults {
		return nil
	}
	const workers, span = 3, 4
	base := r.model.seq
	n := int(o.B)%64 + 1
	r.model.seq += uint64(workers * n)
	errs := make([]error, workers)
	news := make([]State, workers)
	if r.Work != nil {
		return r.burstInTurn(o, base, n, workers, span)
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			x := r.store.NewSession()
			defer x.Close()
			news[w] = State{}
			for i := range n {
				k := Key((int(o.A) + w*span + i%span) % 256)
				v := Value(base+uint64(w*n+i), 8+int(o.C)%100)
				if err := x.Set(k, v); err != nil {
					errs[w] = err
					return
				}
				news[w][string(k)] = string(v)
			}
		})
	}
	wg.Wait()
	for _, s := range news {
		for k, v := range s {
			r.model.live[k] = v
		}
	}
	return errors.Join(errs...)
}

// burstInTurn does what the goroutines of burst do, one operation of each at a time.
func (r *Runner) burstInTurn(o Op, base uint64, n, workers, span int) error {
	sessions := make([]*hlog.Session, workers)
	for w := range sessions {
		sessions[w] = r.store.NewSession()
		defer sessions[w].Close()
	}
	for i := range n {
		for w, x := range sessions {
			k := Key((int(o.A) + w*span + i%span) % 256)
			v := Value(base+uint64(w*n+i), 8+int(o.C)%100)
			r.Work.Pause(pauseOperations)
			if err := x.Set(k, v); err != nil {
				return err
			}
			r.model.live[string(k)] = string(v)
		}
	}
	return nil
}

// begin begins a checkpoint.
func (r *Runner) begin(o Op) error {
	m := r.model
	cookie := string(Value(uint64(o.A)<<8|uint64(o.B), int(o.B)))
	opts := []hlog.CheckpointOption{}
	if cookie != "" {
		opts = append(opts, hlog.WithCookie([]byte(cookie)))
	}
	id := Version(0)
	if o.A%4 != 0 || len(m.pending) > 0 {
		id = m.maxID + 1 + Version(o.A/4)
		opts = append(opts, hlog.WithVersion(id))
	}
	m.begin(id, cookie)
	r.publish()
	p, err := r.store.BeginCheckpoint(opts...)
	if err != nil {
		m.refused(id)
		r.publish()
		return fmt.Errorf("begin of checkpoint: %w", err)
	}
	if id == 0 {
		id = p.Version()
		if id <= m.current {
			return disagree("version %d after %d", id, m.current)
		}
		m.named(id)
		r.publish()
	}
	if p.Version() != id {
		return disagree("checkpoint has id %d, asked for was %d", p.Version(), id)
	}
	r.pending = append(r.pending, p)
	return nil
}

// wait waits for all checkpoints and compares the list of versions.
func (r *Runner) wait() error {
	if err := r.awaitCheckpoints(); err != nil {
		return err
	}
	return r.versions()
}

// awaitCheckpoints waits for all checkpoints.
func (r *Runner) awaitCheckpoints() error {
	m := r.model
	for _, p := range r.pending {
		e := m.pending[0]
		info, err := p.Wait(context.Background())
		switch {
		case err == nil:
			m.committed()
			if info.Version != e.id || !e.mayHave(info.Cookie) || e.sure && info.Parent != e.parent {
				return disagree("version %d (parent %d) is described as %+v", e.id, e.parent, info)
			}
		case r.tolerable(err):
			m.failed()
		default:
			return fmt.Errorf("checkpoint: %w", err)
		}
		r.publish()
	}
	r.pending = nil
	return nil
}

// versions compares the list of versions with the model.
func (r *Runner) versions() error {
	if len(r.pending) > 0 {
		return nil
	}
	infos, err := r.store.Versions()
	if err != nil {
		return err
	}
	m := r.model
	there := map[Version]bool{}
	for _, i := range infos {
		there[i.Version] = true
		if m.listed[i.Version] == nil {
			return disagree("version %d is listed", i.Version)
		}
		if i.Current != (i.Version == m.current) {
			return disagree("version %d is current: %v, the current one is %d", i.Version, i.Current, m.current)
		}
	}
	for _, id := range m.ids() {
		switch {
		case there[id]:
		case m.gone[id] == nil:
			return disagree("version %d is not listed", id)
		}
	}
	return nil
}

func (r *Runner) restore(o Op) error {
	m := r.model
	v := m.pick(o.A)
	ask := v
	if v == 0 {
		return nil
	}
	if o.A == 255 { // the newest: what is pending counts, as Restore waits for it
		if err := r.wait(); err != nil {
			return err
		}
		if ask, v = 0, m.current; v == 0 {
			return nil
		}
	}
	m.restoring(v)
	r.publish()
	info, err := r.store.Restore(context.Background(), ask)
	// It has waited for all checkpoints; how they came out does not change where the store is.
	if err := r.awaitCheckpoints(); err != nil {
		return err
	}
	switch {
	case err == nil && info.Version != v:
		return disagree("restore of %d brought %d", v, info.Version)
	case err == nil:
		m.restored(v)
		r.publish()
		return errors.Join(r.versions(), r.scan())
	case errors.Is(err, hlog.ErrVersionNotFound) && m.gone[v] != nil:
		m.target = nil
		delete(m.listed, v)
	case errors.Is(err, hlog.ErrOptions) && r.largest > r.opts.PageBytes: // its log has a record that is larger
		m.notRestored()
	case r.tolerable(err):
		m.notRestored()
	default:
		return fmt.Errorf("restore of version %d: %w", v, err)
	}
	r.publish()
	return r.versions()
}

func (r *Runner) purge(o Op) error {
	m := r.model
	v := m.pick(o.A)
	if v == 0 {
		return nil
	}
	viewed := false
	for _, w := range r.views {
		viewed = viewed || w.entry.id == v
	}
	if v == m.current || viewed {
		if len(r.pending) > 0 {
			return nil // it may be committed meanwhile
		}
		if err := r.store.Purge(context.Background(), v); !errors.Is(err, hlog.ErrVersionInUse) && !r.tolerable(err) {
			return disagree("purge of version %d, which is in use: %v", v, err)
		}
		return nil
	}
	e := m.listed[v]
	m.gone[v] = e
	r.publish()
	err := r.store.Purge(context.Background(), v)
	switch {
	case err == nil, errors.Is(err, hlog.ErrVersionNotFound):
		delete(m.listed, v)
		delete(m.gone, v)
		if err == nil && len(m.pending) == 0 {
			m.settled()
		}
		r.publish()
		return nil
	case !r.tolerable(err):
		return fmt.Errorf("purge of version %d: %w", v, err)
	}
	return nil
}

func (r *Runner) viewOp(o Op) error {
	m := r.model
	if o.Kind == OpView {
		v := m.pick(o.A)
		if v == 0 || len(r.views) >= 3 {
			return nil
		}
		w, err := r.store.OpenVersion(context.Background(), v)
		switch {
		case err == nil:
			r.views = append(r.views, openView{w, m.listed[v]})
		case errors.Is(err, hlog.ErrVersionNotFound) && m.gone[v] != nil, r.tolerable(err):
		default:
			return fmt.Errorf("view of version %d: %w", v, err)
		}
		return nil
	}
	if len(r.views) == 0 {
		return nil
	}
	i := int(o.A) % len(r.views)
	w := r.views[i]
	if o.Kind == OpViewClose {
		r.views = append(r.views[:i:i], r.views[i+1:]...)
		return w.view.Close()
	}
	if err := checkState(w.view, w.entry.state); err != nil && !r.tolerable(err) {
		return fmt.Errorf("view of version %d: %w", w.entry.id, err)
	}
	return nil
}

// misuse asks for what must be refused without any effect.
func (r *Runner) misuse(o Op) error {
	ctx := context.Background()
	var err, want error
	switch o.A % 6 {
	case 0:
		err, want = r.store.Set(nil, []byte("x")), hlog.ErrEmptyKey
	case 1:
		err, want = r.store.Set(make([]byte, 1<<16), nil), hlog.ErrTooLarge
	case 2:
		if r.model.maxID == 0 || len(r.pending) > 0 || r.model.current == 0 {
			return nil
		}
		_, err = r.store.Checkpoint(ctx, hlog.WithVersion(r.model.current))
		want = hlog.ErrVersionOrder
	case 3:
		_, err = r.store.Restore(ctx, r.model.maxID+1000)
		want = hlog.ErrVersionNotFound
	case 4:
		_, err = r.store.OpenVersion(ctx, r.model.maxID+1000)
		want = hlog.ErrVersionNotFound
	case 5:
		opts := r.opts
		_, err = hlog.Open(storeDir, &opts)
		want = hlog.ErrLocked
	}
	if !errors.Is(err, want) && !r.tolerable(err) {
		return disagree("got %v, want %v", err, want)
	}
	return nil
}
