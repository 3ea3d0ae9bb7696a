package checkpoint_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// inMemory is a remote in memory, for very many objects.
type inMemory struct {
	mu      sync.Mutex
	objects map[string][]byte // of mu
}

func (r *inMemory) Put(_ context.Context, name string, data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.objects[name] = bytes.Clone(data)
	return nil
}

func (r *inMemory) PutIfAbsent(_ context.Context, name string, data []byte) (created bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, there := r.objects[name]; there {
		return false, nil
	}
	r.objects[name] = bytes.Clone(data)
	return true, nil
}

func (r *inMemory) Get(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	data, there := r.objects[name]
	if !there {
		return nil, fs.ErrNotExist
	}
	data = data[min(off, int64(len(data))):]
	if n >= 0 {
		data = data[:min(n, int64(len(data)))]
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (r *inMemory) List(_ context.Context, prefix string) (objects []checkpoint.Object, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, data := range r.objects {
		if strings.HasPrefix(name, prefix) {
			objects = append(objects, checkpoint.Object{Name: name, Size: int64(len(data))})
		}
	}
	return objects, nil
}

func (r *inMemory) Delete(_ context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.objects, name)
	return nil
}

// sequenceOf makes a remote with a sequence of so many entries, and returns hints of different ages: none, those of its
// beginning, of some entries ago, and of now.
func sequenceOf(t *testing.T, entries int) (r *inMemory, hints map[string][]byte) {
	ctx := t.Context()
	r = &inMemory{objects: map[string][]byte{}}
	m := newMachine(t, 1)
	m.commit(1, delta{log: 8192})
	mirror := m.mirror(r)
	_, err := mirror.Upload(ctx, 1)
	m.ok(err)
	hints = map[string][]byte{"missing": nil}
	for _, h := range []struct {
		age    string
		behind int
	}{{"of the beginning", entries}, {"of 20 entries ago", 20}, {"of 5 entries ago", 5}, {"of now", 0}} {
		if put := h.behind; put <= entries {
			m.ok(checkpoint.PutEntries(ctx, mirror, entries-put))
			entries = put
			m.ok(mirror.PutHint(ctx))
			hints[h.age] = getObject(t, r, "HINT")
		}
	}
	return r, hints
}

// What a version consists of is known after four answers, however long the sequence is and whatever the hint is like, if a
// listing shows the newest entries; a listing that does not costs some more.
func TestRemoteReader_ListingIsNoTruth(t *testing.T) {
	listings := map[string]struct {
		shows           func([]checkpoint.Object) ([]checkpoint.Object, error)
		trips, requests int64
	}{
		"all":             {func(all []checkpoint.Object) ([]checkpoint.Object, error) { return all, nil }, 4, 20},
		"all but three":   {func(all []checkpoint.Object) ([]checkpoint.Object, error) { return all[:len(all)-3], nil }, 5, 30},
		"all but nine":    {func(all []checkpoint.Object) ([]checkpoint.Object, error) { return all[:max(len(all)-9, 0)], nil }, 7, 40},
		"only the oldest": {func(all []checkpoint.Object) ([]checkpoint.Object, error) { return all[:min(len(all), 3)], nil }, 14, 150},
		"nothing":         {func([]checkpoint.Object) ([]checkpoint.Object, error) { return nil, nil }, 14, 150},
		"an error": {func([]checkpoint.Object) ([]checkpoint.Object, error) {
			return nil, errors.New("listings are not allowed")
		}, 14, 150},
	}
	for _, entries := range []int{10, 1_000, testkit.UnderRace(5_000, 100_000)} {
		r, hints := sequenceOf(t, entries)
		for age, hint := range hints {
			delete(r.objects, "HINT")
			if hint != nil {
				r.objects["HINT"] = hint
			}
			for _, name := range slices.Sorted(maps.Keys(listings)) {
				l := listings[name]
				t.Run(fmt.Sprintf("%d entries, a hint %s, listed %s", entries, age, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d := remotetest.NewDistant(r)
						d.Shows = l.shows
						began := time.Now()
						reader, err := checkpoint.NewRemoteReader(t.Context(), d, checkpoint.RemoteReaderOptions{})
						if err != nil {
							t.Fatal(err)
						}
						defer reader.Close()
						dir, err := reader.Directory(t.Context(), "far", reader.Head())
						if err != nil || !slices.Equal(dir.Versions(), []checkpoint.Version{1}) {
							t.Errorf("%v, %v", dir, err)
						}
						trips, requests := int64(time.Since(began)/remotetest.Trip), d.Calls()
						if trips > l.trips || requests > l.requests {
							t.Errorf("%d answers one after the other, %d requests; want %d, %d", trips, requests, l.trips, l.requests)
						}
						if n := reader.Last(); n < uint64(entries) {
							t.Errorf("the sequence ends at %d, there are %d entries", n, entries)
						}
					})
				})
			}
		}
	}
}

// Who has not looked for some time, so that the entries behind the last one that it knows have been removed, finds the end as
// one that begins does: by a listing.
func TestRemoteReader_CatchUpAfterALongTime(t *testing.T) {
	for _, more := range []int{3, 20, 300} {
		ctx := context.Background()
		r := &inMemory{objects: map[string][]byte{}}
		writer := newMachine(t, 1)
		writer.commit(1, delta{log: 8192})
		mirror := writer.mirror(r)
		_, err := mirror.Upload(ctx, 1)
		writer.ok(err)
		writer.ok(checkpoint.PutEntries(ctx, mirror, 1_000))
		synctest.Test(t, func(t *testing.T) {
			d := remotetest.NewDistant(r)
			reader, err := checkpoint.NewRemoteReader(t.Context(), d, checkpoint.RemoteReaderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			last := reader.Last()
			writer.ok(checkpoint.PutEntries(ctx, mirror, more))
			before, asked := time.Now(), d.Calls()
			writer.ok(reader.CatchUp(t.Context()))
			trips, requests := int64(time.Since(before)/remotetest.Trip), d.Calls()-asked
			if n := reader.Last(); n < last+uint64(more) {
				t.Errorf("the sequence ends at %d, %d entries were put after %d", n, more, last)
			}
			if trips > 6 || requests > 40 {
				t.Errorf("after %d entries: %d answers one after the other, %d requests", more, trips, requests)
			}
		})
	}
}

// A guess that leads to damage that is of no consequence decides nothing (J10).
func TestRemoteReader_GuessLeadsToDamage(t *testing.T) {
	ctx := context.Background()
	for _, listed := range []int{0, 10} { // the newest entries that a listing leaves out
		for _, behind := range []int{0, 10} { // how old the hint is; 0: there is none
			r := &inMemory{objects: map[string][]byte{}}
			m := newMachine(t, 1)
			m.commit(1, delta{log: 8192})
			mirror := m.mirror(r)
			_, err := mirror.Upload(ctx, 1)
			m.ok(err)
			m.ok(checkpoint.PutEntries(ctx, mirror, 1_000-behind))
			if behind > 0 {
				m.ok(mirror.PutHint(ctx))
				m.ok(checkpoint.PutEntries(ctx, mirror, behind))
			}
			var names []string
			for name := range r.objects {
				if strings.Contains(name, "/entries/") {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			for _, name := range names {
				whole := r.objects[name]
				r.objects[name] = whole[:len(whole)-1]
				d := &listsLate{r, listed}
				_, err := checkpoint.NewRemoteReader(ctx, d, checkpoint.RemoteReaderOptions{Attempts: 1})
				bare := &listsLate{&inMemory{objects: maps.Clone(r.objects)}, len(names)}
				delete(bare.objects, "HINT")
				if _, want := checkpoint.NewRemoteReader(ctx, bare, checkpoint.RemoteReaderOptions{Attempts: 1}); want == nil && err != nil {
					t.Errorf("%d not listed, a hint of %d entries ago: who searches opens, and who guesses does not: %v", listed, behind, err)
				}
				r.objects[name] = whole
			}
		}
	}
}

// listsLate is a remote whose listings lack the newest names.
type listsLate struct {
	*inMemory
	late int
}

func (l *listsLate) List(ctx context.Context, prefix string) ([]checkpoint.Object, error) {
	objects, err := l.inMemory.List(ctx, prefix)
	slices.SortFunc(objects, func(a, b checkpoint.Object) int { return strings.Compare(a.Name, b.Name) })
	return objects[:max(len(objects)-l.late, 0)], err
}

// Where very many versions stand, the sequence does not grow without end either: entries are removed as fast as they come (J8),
// and a reader without a hint finds the newest snapshot by one listing.
func TestMirror_SequenceOfManyVersions(t *testing.T) {
	const newest, entries = 9_000, 250
	ctx := t.Context()
	for _, stand := range []int{1, newest - 1} {
		r := &inMemory{objects: map[string][]byte{}}
		m := newMachine(t, 1)
		m.commit(newest, delta{log: 8192})
		mirror := m.mirror(r)
		_, err := mirror.Upload(ctx, newest)
		m.ok(err)
		m.ok(checkpoint.StandBesides(ctx, mirror, stand))
		m.ok(checkpoint.PutEntries(ctx, mirror, entries))
		delete(r.objects, "HINT")
		var left, bytes int64
		for name, data := range r.objects {
			if strings.Contains(name, "entries/") {
				left, bytes = left+1, bytes+int64(len(data))
			}
		}
		t.Logf("%d versions: %d of more than %d entries are left, %d KiB", stand+1, left, entries, bytes>>10)
		if left < 10 || left > 140 {
			t.Errorf("%d versions: %d of more than %d entries are left", stand+1, left, entries)
		}
		synctest.Test(t, func(t *testing.T) {
			d := remotetest.NewDistant(r)
			began := time.Now()
			reader, err := checkpoint.NewRemoteReader(t.Context(), d, checkpoint.RemoteReaderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			trips, requests := int64(time.Since(began)/remotetest.Trip), d.Calls()
			if n := len(reader.Versions()); n != stand+1 || trips > 4 || requests > 40 {
				t.Errorf("%d versions stand, found %d: %d answers one after the other, %d requests", stand+1, n, trips, requests)
			}
		})
	}
}
