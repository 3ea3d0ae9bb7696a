package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/hybridlog/hybridlog/hlog"
)

// BenchmarkTravel brings a state of keys of 8 bytes with values of 100 random ones from a store to another directory that opens
// there, in turns: by View.WriteTo into a file and Import out of it, by Pebble's Checkpoint and two copies of its files, and, as
// what the device allows, by copies of the stream. Every file is synced, as its name is. out and in are MiB/s of what each moves,
// open the time until the first read is served after that; medians of the rounds, of which a first one does not count.
//
//	go -C bench/peers test -run '^$' -bench Travel/size=100MB -benchtime 5x .
//	go -C bench/peers test -run '^$' -bench Travel/size=2000MB -benchtime 1x .
func BenchmarkTravel(b *testing.B) {
	for _, mb := range []int{100, 2_000} { // the large size takes 8 GB of disk, and some minutes
		b.Run(fmt.Sprintf("size=%dMB", mb), func(b *testing.B) { newTraveller(b, mb*1_000_000/136).run(b) }) // log and index of a key
	}
}

// traveller has a state in both stores.
type traveller struct {
	dir    string
	keys   int
	store  *hlog.Store
	pebble *pebbleEngine
	took   map[string][]float64
}

func newTraveller(b *testing.B, keys int) *traveller {
	t := &traveller{dir: b.TempDir(), keys: keys}
	var err error
	t.store, err = hlog.Open(t.at("hybridlog"), &hlog.Options{MemoryBytes: 256 << 20, NoCompaction: true})
	need(b, err)
	b.Cleanup(func() { t.store.Close() })
	e, err := openPebble(t.at("pebble"), 256<<20, true)
	need(b, err)
	t.pebble = e.(*pebbleEngine)
	b.Cleanup(func() { e.Close() })
	x := t.store.NewSession()
	random, value, key := rand.NewChaCha8([32]byte{}), make([]byte, 100), make([]byte, 8)
	for i := range keys {
		random.Read(value)
		binary.BigEndian.PutUint64(key, uint64(i)*0x9e3779b97f4a7c15) // in no order
		need(b, errors.Join(x.Set(key, value), e.Set(key, value)))
	}
	need(b, x.Close())
	_, err = t.store.Checkpoint(b.Context())
	need(b, err)
	need(b, t.pebble.db.Flush())
	return t
}

func need(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (t *traveller) at(name string) string { return filepath.Join(t.dir, name) }

func (t *traveller) run(b *testing.B) {
	t.round(b)
	t.took = map[string][]float64{}
	for b.Loop() {
		t.round(b)
	}
	b.ReportMetric(0, "ns/op") // of a round, which says nothing
	for what, all := range t.took {
		slices.Sort(all)
		b.ReportMetric(all[len(all)/2], what)
	}
}

// round moves everything once.
func (t *traveller) round(b *testing.B) {
	stream, raw, arrived := t.at("stream"), t.at("raw"), t.at("arrived")
	out := t.timed(b, "hlog-out-MiB/s", func() (n int64, err error) {
		v, err := t.store.OpenVersion(b.Context(), 0)
		if err != nil {
			return 0, err
		}
		defer v.Close()
		return synced(stream, func(w io.Writer) error { _, err := v.WriteTo(w); return err })
	})
	copied := t.timed(b, "copy-MiB/s", func() (int64, error) { return copyFile(raw, stream) })
	need(b, os.Remove(raw))
	in := t.timed(b, "hlog-in-MiB/s", func() (int64, error) {
		f, err := os.Open(stream)
		if err != nil {
			return 0, err
		}
		defer f.Close()
		_, err = hlog.Import(b.Context(), arrived, f)
		i, _ := f.Stat()
		return i.Size(), err
	})
	t.note("hlog-out/copy", out/copied)
	t.note("hlog-in/copy", in/copied)
	t.opened(b, "hlog-open-ms", func(key []byte) (func() error, error) {
		s, err := hlog.Open(arrived, &hlog.Options{MemoryBytes: 64 << 20})
		if err != nil {
			return nil, err
		}
		_, err = s.Get(nil, key)
		return s.Close, err
	})
	need(b, errors.Join(os.Remove(stream), os.RemoveAll(arrived)))

	cut := t.at("cut")
	t.timed(b, "pebble-out-MiB/s", func() (int64, error) {
		if err := t.pebble.db.Checkpoint(cut, pebble.WithFlushedWAL()); err != nil {
			return 0, err
		}
		return copyFiles(stream, cut)
	})
	t.timed(b, "pebble-in-MiB/s", func() (int64, error) { return copyFiles(arrived, stream) })
	t.opened(b, "pebble-open-ms", func(key []byte) (func() error, error) {
		db, err := pebble.Open(arrived, t.pebble.opts())
		if err != nil {
			return nil, err
		}
		_, closer, err := db.Get(key)
		if err != nil {
			return db.Close, err
		}
		return db.Close, closer.Close()
	})
	need(b, errors.Join(os.RemoveAll(stream), os.RemoveAll(cut), os.RemoveAll(arrived)))
}

func (t *traveller) note(what string, x float64) {
	if t.took != nil {
		t.took[what] = append(t.took[what], x)
	}
}

// timed returns MiB/s of what moves some bytes.
func (t *traveller) timed(b *testing.B, what string, move func() (int64, error)) float64 {
	began := time.Now()
	n, err := move()
	rate := float64(n) / (1 << 20) / time.Since(began).Seconds()
	need(b, err)
	t.note(what, rate)
	return rate
}

// opened notes how long a store takes that is opened and read from.
func (t *traveller) opened(b *testing.B, what string, open func(key []byte) (end func() error, err error)) {
	key := binary.BigEndian.AppendUint64(nil, uint64(t.keys/2)*0x9e3779b97f4a7c15)
	began := time.Now()
	end, err := open(key)
	t.note(what, float64(time.Since(began).Microseconds())/1000)
	need(b, err)
	need(b, end())
}

// synced makes a file, and returns its size when it is durable.
func synced(name string, write func(io.Writer) error) (size int64, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	err = errors.Join(write(f), f.Sync())
	if i, failed := f.Stat(); failed == nil {
		size = i.Size()
	}
	return size, errors.Join(err, f.Close(), syncDir(filepath.Dir(name)))
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// copyFile copies through a buffer, as bytes go over a network, and not within the file system.
func copyFile(to, from string) (int64, error) {
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return synced(to, func(w io.Writer) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		return err
	})
}

// copyFiles copies a directory without directories in it, and returns how many bytes that were.
func copyFiles(to, from string) (bytes int64, err error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, err
	}
	files, err := os.ReadDir(from)
	for _, f := range files {
		if err != nil {
			break
		}
		var n int64
		n, err = copyFile(filepath.Join(to, f.Name()), filepath.Join(from, f.Name()))
		bytes += n
	}
	return bytes, errors.Join(err, syncDir(filepath.Dir(to)))
}
