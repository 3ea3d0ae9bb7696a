package hlog_test

import (
	"bytes"
	"context"
	"errors"
	"expvar"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// The examples stop at errors that they do not expect.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// temporary returns a directory for an example, and what removes it.
func temporary() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "hlog-example-")
	check(err)
	return dir, func() { os.RemoveAll(dir) }
}

// openTemporary opens a store for an example, and returns what closes and removes it.
func openTemporary() (store *hlog.Store, done func()) {
	dir, remove := temporary()
	store, err := hlog.Open(dir, nil)
	check(err)
	return store, func() {
		check(store.Close())
		remove()
	}
}

// The store in a minute: typed counters, a checkpoint with a cookie, a rollback. It is the example of the README.
func Example() {
	ctx := context.Background()
	home, err := os.MkdirTemp("", "clicks")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)

	store, err := hlog.Open(filepath.Join(home, "clicks.db"), nil) // at the newest whole version, after a crash too
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close() // commits what is not committed yet
	clicks, err := hlog.NewTable[uint64, uint64](store.NewSession())
	if err != nil {
		log.Fatal(err)
	}
	add := func(n *uint64, existed bool) { *n++ }
	clicks.Update(42, add)
	good, err := store.Checkpoint(ctx, hlog.WithCookie([]byte("offset 1")))
	if err != nil {
		log.Fatal(err) // not durable; the version before still is
	}
	clicks.Update(42, add)
	before, _, _ := clicks.Get(42)
	_, err = store.Restore(ctx, good.Version) // the live store; sessions and tables go on
	after, _, _ := clicks.Get(42)
	fmt.Printf("version %d at %q: %d, rolled back to %d, %v\n", good.Version, good.Cookie, before, after, err)
	// Output: version 1 at "offset 1": 2, rolled back to 1, <nil>
}

// A directory opens at its newest version, with whatever options. While it is open nobody else can have it.
func ExampleOpen() {
	dir, remove := temporary()
	defer remove()
	store, err := hlog.Open(dir, nil)
	check(err)
	check(store.Set([]byte("greeting"), []byte("hello")))
	_, err = hlog.Open(dir, nil)
	fmt.Println("second open is refused:", errors.Is(err, hlog.ErrLocked))
	check(store.Close()) // commits

	store, err = hlog.Open(dir, &hlog.Options{MemoryBytes: 4 << 20, KeepVersions: 100})
	check(err)
	defer store.Close()
	value, err := store.Get(nil, []byte("greeting"))
	fmt.Printf("%s %v\n", value, err)
	_, err = store.Get(nil, []byte("farewell"))
	fmt.Println(errors.Is(err, hlog.ErrNotFound))
	// Output:
	// second open is refused: true
	// hello <nil>
	// true
}

// A read-only store writes nothing, not even a lock file, and several processes may have one open.
func ExampleOpen_readOnly() {
	dir, remove := temporary()
	defer remove()
	store, err := hlog.Open(dir, nil)
	check(err)
	check(store.Set([]byte("k"), []byte("v")))
	check(store.Close())

	one, err := hlog.Open(dir, &hlog.Options{ReadOnly: true})
	check(err)
	defer one.Close()
	two, err := hlog.Open(dir, &hlog.Options{ReadOnly: true})
	check(err)
	defer two.Close()
	value, err := two.Get(nil, []byte("k"))
	fmt.Printf("%s %v\n", value, err)
	fmt.Println(two.Set([]byte("k"), nil))
	// Output:
	// v <nil>
	// hlog: store is read-only
}

// Options out of their range are refused by name, before anything is touched.
func ExampleOptions() {
	_, err := hlog.Open("state", &hlog.Options{MemoryBytes: 1 << 20})
	fmt.Println(errors.Is(err, hlog.ErrOptions), err)
	// Output: true hlog: invalid options: MemoryBytes is 1048576, must be at least 4194304
}

// RMW hands over a copy of the value, nil when there is none, and stores what comes back, atomically; nil deletes.
func ExampleStore_RMW() {
	store, done := openTemporary()
	defer done()
	key := []byte("visited")
	visit := func(page string) func([]byte) []byte {
		return func(old []byte) []byte {
			if old == nil {
				return []byte(page)
			}
			return append(append(old, ','), page...)
		}
	}
	check(store.RMW(key, visit("/")))
	check(store.RMW(key, visit("/about")))
	value, err := store.Get(nil, key)
	fmt.Printf("%s %v\n", value, err)

	check(store.RMW(key, func([]byte) []byte { return nil }))
	_, err = store.Get(value[:0], key)
	fmt.Println(err)
	// Output:
	// /,/about <nil>
	// hlog: key not found
}

// A Get into a slice that is large enough does not allocate.
func ExampleStore_Get() {
	store, done := openTemporary()
	defer done()
	for i := range byte(3) {
		check(store.Set([]byte{'k', i}, []byte{'a' + i}))
	}
	buf := make([]byte, 0, 64)
	for i := range byte(3) {
		value, err := store.Get(buf[:0], []byte{'k', i})
		check(err)
		fmt.Print(string(value), " ")
	}
	// Output: a b c
}

// An empty value is a value; what was deleted is absent, and deleting it again is no error.
func ExampleStore_Delete() {
	store, done := openTemporary()
	defer done()
	check(store.Set([]byte("k"), nil))
	value, err := store.Get(nil, []byte("k"))
	fmt.Println(len(value), err)
	fmt.Println(store.Delete([]byte("k")), store.Delete([]byte("k")))
	_, err = store.Get(nil, []byte("k"))
	fmt.Println(err)
	// Output:
	// 0 <nil>
	// <nil> <nil>
	// hlog: key not found
}

// A session belongs to one goroutine at a time. A thousand of them are no burden.
func ExampleStore_NewSession() {
	store, done := openTemporary()
	defer done()
	finished := make(chan error)
	for range 4 {
		go func() {
			session := store.NewSession()
			defer session.Close()
			for range 1000 {
				if err := session.RMW([]byte("n"), increment); err != nil {
					finished <- err
					return
				}
			}
			finished <- nil
		}()
	}
	for range 4 {
		check(<-finished)
	}
	value, err := store.Get(nil, []byte("n"))
	fmt.Println(len(value), value[0], value[1], err) // 4000 = 0x0fa0
	// Output: 2 160 15 <nil>
}

// increment adds one to a number of two bytes.
func increment(old []byte) []byte {
	if old == nil {
		old = make([]byte, 2)
	}
	if old[0]++; old[0] == 0 {
		old[1]++
	}
	return old
}

// The Multi calls are many operations that share their waiting: cache misses and disk reads overlap.
func ExampleSession_MultiGet() {
	store, done := openTemporary()
	defer done()
	session := store.NewSession()
	defer session.Close()
	keys := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	check(session.MultiSet(keys[:2], [][]byte{[]byte("1"), []byte("2")}))
	check(session.MultiRMW(keys[:2], func(i int, old []byte) []byte { return append(old, '0') }))
	check(session.MultiGet(keys, func(i int, value []byte, err error) {
		fmt.Printf("%s = %q, %v\n", keys[i], value, err)
	}))
	// Output:
	// a = "10", <nil>
	// b = "20", <nil>
	// c = "", hlog: key not found
}

// Keys and values of a table are fixed-size types without pointers, and are stored as they are.
func ExampleNewTable() {
	store, done := openTemporary()
	defer done()
	type sensor struct{ Building, Room uint32 }
	type reading struct {
		Count    uint64
		Min, Max float64
	}
	table, err := hlog.NewTable[sensor, reading](store.NewSession())
	check(err)
	kitchen := sensor{1, 12}
	for _, celsius := range []float64{21.5, 19, 23} {
		check(table.Update(kitchen, func(r *reading, existed bool) {
			if !existed {
				r.Min, r.Max = celsius, celsius
			}
			r.Count++
			r.Min, r.Max = min(r.Min, celsius), max(r.Max, celsius)
		}))
	}
	r, found, err := table.Get(kitchen)
	fmt.Println(r, found, err)

	_, err = hlog.NewTable[string, reading](store.NewSession())
	fmt.Println(err)
	// Output:
	// {3 19 23} true <nil>
	// hlog: invalid options: table type string holds pointers (string)
}

// A table's Multi calls take slices, so that a batch costs no allocation.
func ExampleTable_MultiUpdate() {
	store, done := openTemporary()
	defer done()
	words, err := hlog.NewTable[[8]byte, uint64](store.NewSession())
	check(err)
	var keys [][8]byte
	for _, w := range strings.Fields("the cat and the dog and the bird") {
		keys = append(keys, [8]byte([]byte(w + "        ")[:8]))
	}
	check(words.MultiUpdate(keys, func(i int, n *uint64, existed bool) { *n++ }))

	ask := [][8]byte{keys[0], keys[1], [8]byte([]byte("mouse   "))}
	counts, found := make([]uint64, len(ask)), make([]bool, len(ask))
	check(words.MultiGet(ask, counts, found))
	fmt.Println(counts, found)
	// Output: [3 1 0] [true true false]
}

// The cookie ties a version to where its input was read up to. On the way back up, state and offset agree.
func ExampleStore_Checkpoint() {
	ctx := context.Background()
	dir, remove := temporary()
	defer remove()
	input := []byte("mississippi")

	store, err := hlog.Open(dir, nil)
	check(err)
	for at, letter := range input[:6] {
		check(store.RMW([]byte{letter}, increment))
		if at == 3 {
			_, err := store.Checkpoint(ctx, hlog.WithCookie([]byte{byte(at + 1)}))
			check(err)
		}
	}
	fmt.Println("letters", 6, "of them in a version with its offset", 4)
	check(store.Close()) // also commits, the last two letters with it, but knows no offset

	store, err = hlog.Open(dir, nil)
	check(err)
	defer store.Close()
	at, _ := store.Current()
	fmt.Printf("open at version %d, cookie %q\n", at.Version, at.Cookie)
	versions, err := store.Versions()
	check(err)
	for _, v := range slices.Backward(versions) {
		if len(v.Cookie) > 0 { // the newest version that knows its offset
			_, err := store.Restore(ctx, v.Version)
			check(err)
			for _, letter := range input[v.Cookie[0]:] {
				check(store.RMW([]byte{letter}, increment))
			}
			break
		}
	}
	for _, letter := range "misp" {
		n, err := store.Get(nil, []byte{byte(letter)})
		check(err)
		fmt.Printf("%c %d  ", letter, n[0])
	}
	// Output:
	// letters 6 of them in a version with its offset 4
	// open at version 2, cookie ""
	// m 1  i 4  s 4  p 2
}

// BeginCheckpoint takes the cut and returns; the version becomes durable while work goes on.
func ExampleStore_BeginCheckpoint() {
	ctx := context.Background()
	store, done := openTemporary()
	defer done()
	check(store.Set([]byte("k"), []byte("in the version")))
	pending, err := store.BeginCheckpoint(hlog.WithVersion(100)) // ids are yours if you like: ascending, with gaps
	check(err)
	check(store.Set([]byte("k"), []byte("in the next one")))
	info, err := pending.Wait(ctx)
	check(err)

	view, err := store.OpenVersion(ctx, info.Version)
	check(err)
	defer view.Close()
	then, err := view.Get(nil, []byte("k"))
	check(err)
	now, err := store.Get(nil, []byte("k"))
	check(err)
	fmt.Printf("version %d: %s; now: %s\n", info.Version, then, now)

	_, err = store.BeginCheckpoint(hlog.WithVersion(99))
	fmt.Println(errors.Is(err, hlog.ErrVersionOrder))
	// Output:
	// version 100: in the version; now: in the next one
	// true
}

// A rollback destroys nothing: versions form a tree, and one can go back and forth in it.
func ExampleStore_Restore() {
	ctx := context.Background()
	store, done := openTemporary()
	defer done()
	commit := func(value string) {
		check(store.Set([]byte("plan"), []byte(value)))
		_, err := store.Checkpoint(ctx)
		check(err)
	}
	commit("walk")
	commit("drive")
	_, err := store.Restore(ctx, 1)
	check(err)
	commit("cycle")
	versions, err := store.Versions()
	check(err)
	for _, v := range versions {
		_, err := store.Restore(ctx, v.Version)
		check(err)
		plan, err := store.Get(nil, []byte("plan"))
		check(err)
		fmt.Printf("version %d, made from %d: %s\n", v.Version, v.Parent, plan)
	}
	_, err = store.Restore(ctx, 17)
	fmt.Println(errors.Is(err, hlog.ErrVersionNotFound))
	// Output:
	// version 1, made from 0: walk
	// version 2, made from 1: drive
	// version 3, made from 1: cycle
	// true
}

// A view reads an old version while the store goes on. What it needs is kept until it is closed.
func ExampleStore_OpenVersion() {
	ctx := context.Background()
	store, done := openTemporary()
	defer done()
	check(store.Set([]byte("a"), []byte("old")))
	info, err := store.Checkpoint(ctx)
	check(err)
	check(store.Delete([]byte("a")))
	check(store.Set([]byte("b"), []byte("new")))

	view, err := store.OpenVersion(ctx, info.Version)
	check(err)
	defer view.Close()
	check(view.Scan(ctx, func(key, value []byte) bool {
		fmt.Printf("then: %s = %s\n", key, value)
		return true
	}))
	check(store.Scan(ctx, func(key, value []byte) bool {
		fmt.Printf("now: %s = %s\n", key, value)
		return true
	}))
	// Output:
	// then: a = old
	// now: b = new
}

// Changes tells what has become of the state from one version to another: a second store to which all of it is applied holds
// the same.
func ExampleStore_Changes() {
	ctx := context.Background()
	store, done := openTemporary()
	defer done()
	check(store.Set([]byte("a"), []byte("old")))
	check(store.Set([]byte("b"), []byte("stays")))
	from, err := store.Checkpoint(ctx)
	check(err)
	check(store.Delete([]byte("a")))
	to, err := store.Checkpoint(ctx)
	check(err)

	check(store.Changes(ctx, from.Version, to.Version, func(c hlog.Change) bool {
		fmt.Printf("%s = %q, deleted %v\n", c.Key, c.Value, c.Deleted)
		return true
	}))
	// Output:
	// a = "", deleted true
}

// A unit keeps an update and the offset of its source together, in every version, without a stop.
func ExampleSession_Unit() {
	store, done := openTemporary()
	defer done()
	session := store.NewSession()
	defer session.Close()
	counts, err := hlog.NewTable[uint64, uint64](session)
	check(err)
	for offset, user := range []uint64{7, 42, 7} {
		check(session.Unit(func() error {
			if err := counts.Update(user, func(n *uint64, existed bool) { *n++ }); err != nil {
				return err
			}
			return session.Set([]byte("offset"), fmt.Append(nil, offset+1))
		}))
	}
	n, _, err := counts.Get(7)
	check(err)
	offset, err := session.Get(nil, []byte("offset"))
	check(err)
	fmt.Printf("%d after offset %s\n", n, offset)
	// Output:
	// 2 after offset 3
}

// Old versions leave by themselves (Options.KeepVersions) or when they are purged; Info says what that frees.
func ExampleStore_Purge() {
	ctx := context.Background()
	store, done := openTemporary()
	defer done()
	for i := range byte(3) {
		check(store.Set([]byte{i}, make([]byte, 10_000)))
		_, err := store.Checkpoint(ctx)
		check(err)
	}
	check(store.Purge(ctx, 2))
	versions, err := store.Versions()
	check(err)
	for _, v := range versions {
		fmt.Printf("version %d, %d bytes of its own\n", v.Version, v.DeltaBytes)
	}
	fmt.Println(errors.Is(store.Purge(ctx, 3), hlog.ErrVersionInUse)) // the store has gone on from it
	// Output:
	// version 1, 12288 bytes of its own
	// version 3, 12288 bytes of its own
	// true
}

// Scan visits every live key once, in no order. The callback may use the store.
func ExampleStore_Scan() {
	store, done := openTemporary()
	defer done()
	for _, word := range []string{"carp", "bream", "asp", "dace"} {
		check(store.Set([]byte(word), []byte{byte(len(word))}))
	}
	check(store.Delete([]byte("bream")))
	var found []string
	check(store.Scan(context.Background(), func(key, value []byte) bool {
		found = append(found, fmt.Sprintf("%s %d", key, value[0]))
		return true
	}))
	slices.Sort(found)
	fmt.Println(found)
	// Output: [asp 3 carp 4 dace 4]
}

// The store compacts by itself. Compact does it now and whole: the next version is the first without the old log.
func ExampleStore_Compact() {
	ctx := context.Background()
	dir, remove := temporary()
	defer remove()
	store, err := hlog.Open(dir, &hlog.Options{KeepVersions: 1})
	check(err)
	defer store.Close()
	for round := range 10 {
		for i := range byte(100) {
			check(store.Set([]byte{i}, []byte{byte(round), 99: i}))
		}
		_, err := store.Checkpoint(ctx)
		check(err)
	}
	before, err := store.Versions()
	check(err)
	check(store.Compact(ctx))
	_, err = store.Checkpoint(ctx)
	check(err)
	after, err := store.Versions()
	check(err)
	fmt.Println("log shrank at least fivefold:", after[len(after)-1].LogBytes*5 <= before[len(before)-1].LogBytes)
	value, err := store.Get(nil, []byte{7})
	fmt.Println(value[0], value[99], err)
	// Output:
	// log shrank at least fivefold: true
	// 9 7 <nil>
}

// With a remote, Wait returns when the version is there too, and a machine that has nothing opens from it.
func ExampleOptions_remote() {
	ctx := context.Background()
	here, remove := temporary()
	defer remove()
	remote, err := checkpoint.NewDirRemote(filepath.Join(here, "bucket")) // or your own five verbs
	check(err)
	store, err := hlog.Open(filepath.Join(here, "one"), &hlog.Options{Remote: remote})
	check(err)
	check(store.Set([]byte("k"), []byte("v")))
	_, err = store.Checkpoint(ctx, hlog.WithCookie([]byte("offset 9")))
	if errors.Is(err, hlog.ErrRemote) {
		fmt.Println("durable here; the copy will be made later") // not in this example
	}
	check(err)
	check(store.Close())

	store, err = hlog.Open(filepath.Join(here, "two"), &hlog.Options{Remote: remote}) // an empty machine
	check(err)
	defer store.Close()
	at, _ := store.Current()
	value, err := store.Get(nil, []byte("k"))
	fmt.Printf("version %d, %s: %s %v\n", at.Version, at.Cookie, value, err)
	// Output: version 1, offset 9: v <nil>
}

// Metrics are a plain struct: print it, subtract an earlier one for rates, or publish it with one line.
func ExampleStore_Metrics() {
	store, done := openTemporary()
	defer done()
	expvar.Publish("hlog", expvar.Func(func() any { return store.Metrics() })) // for /debug/vars

	earlier := store.Metrics()
	for i := range byte(200) {
		check(store.Set([]byte{i}, make([]byte, 92)))
	}
	_, err := store.Checkpoint(context.Background())
	check(err)
	since := store.Metrics().Sub(earlier)
	fmt.Println("appended", since.AppendedBytes, "bytes, checkpoints", since.CheckpointCount, "versions", since.Versions)
	fmt.Println(strings.Contains(store.Metrics().String(), "checkpoints  1, 0 failed"))
	fmt.Println(strings.Contains(expvar.Get("hlog").String(), `"CheckpointCount":1`))
	// Output:
	// appended 24576 bytes, checkpoints 1 versions 1
	// true
	// true
}

// Events tell what happens in the background.
func ExampleEvents() {
	ctx := context.Background()
	dir, remove := temporary()
	defer remove()
	durable := make(chan checkpoint.Info, 1)
	store, err := hlog.Open(dir, &hlog.Options{Events: hlog.Events{
		CheckpointDurable: func(info checkpoint.Info, elapsed time.Duration) { durable <- info },
		CheckpointFailed:  func(v checkpoint.Version, err error) { log.Print(v, err) },
		Restored: func(info checkpoint.Info, elapsed time.Duration) {
			fmt.Println("restored version", info.Version)
		},
	}})
	check(err)
	defer store.Close()
	check(store.Set([]byte("k"), []byte("v")))
	_, err = store.Checkpoint(ctx)
	check(err)
	info := <-durable
	fmt.Println("durable version", info.Version, "of", info.DeltaBytes, "bytes")
	_, err = store.Restore(ctx, info.Version)
	check(err)
	// Output:
	// durable version 1 of 4096 bytes
	// restored version 1
}

// Damage is an error that says where, never a wrong value. Here Open meets it, because it replays the end of the log;
// an older version that is whole can be opened all the same. With a remote the damage would have been repaired.
func ExampleCorruptionError() {
	dir, remove := temporary()
	defer remove()
	store, err := hlog.Open(dir, nil)
	check(err)
	for _, value := range []string{"sound", "fragile"} {
		check(store.Set([]byte("k"), []byte(value)))
		_, err := store.Checkpoint(context.Background())
		check(err)
	}
	check(store.Close())

	segment := filepath.Join(dir, "log", "000000000000.seg")
	data, err := os.ReadFile(segment)
	check(err)
	copy(data[strings.Index(string(data), "fragile"):], "forged!")
	check(os.WriteFile(segment, data, 0o644))

	_, err = hlog.Open(dir, nil)
	var damage *hlog.CorruptionError
	if errors.As(err, &damage) {
		fmt.Println(filepath.Base(damage.File), damage.Offset, damage.Reason)
	}
	fmt.Println(errors.Is(err, hlog.ErrCorrupt))

	store, err = hlog.Open(dir, &hlog.Options{Version: 1})
	check(err)
	defer store.Close()
	value, err := store.Get(nil, []byte("k"))
	fmt.Printf("%s %v\n", value, err)
	// Output:
	// 000000000000.seg 8192 record fails its checksum
	// true
	// sound <nil>
}

// A store that is running is copied as a stream; a delta brings the copy up to date.
func ExampleView_WriteTo() {
	ctx := context.Background()
	store, done := openTemporary()
	defer done()
	dir, remove := temporary()
	defer remove()

	var sent checkpoint.Version
	for day := range 2 {
		check(store.Set([]byte("day"), []byte{byte('1' + day)}))
		_, err := store.Checkpoint(ctx)
		check(err)
		view, err := store.OpenVersion(ctx, 0)
		check(err)
		var wire bytes.Buffer // a file, or a connection
		_, err = view.WriteDelta(&wire, sent)
		check(err)
		check(view.Close())
		copied, err := hlog.Import(ctx, dir, &wire)
		check(err)
		sent = copied.Version
	}

	copied, err := hlog.Open(dir, nil)
	check(err)
	defer copied.Close()
	day, err := copied.Get(nil, []byte("day"))
	check(err)
	fmt.Printf("version %d, day %s\n", sent, day)
	// Output: version 2, day 2
}
