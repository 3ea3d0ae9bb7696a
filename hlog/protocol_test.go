package hlog

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/hybridlog/hybridlog/internal/fsx"
)

func k8(i uint64) []byte { return binary.LittleEndian.AppendUint64(nil, i) }

// An in-place update between the read and the write of an RMW, and the page made read-only in between.
func TestRMW_UpdatedInPlaceThenReadOnly(t *testing.T) {
	for _, evict := range []bool{false, true} {
		s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10})
		if err != nil {
			t.Fatal(err)
		}
		x, y := s.NewSession(), s.NewSession()
		key := k8(1)
		y.Set(key, k8(0))
		addr := s.log.Tail() - 1
		inc := func(old []byte) []byte { return k8(binary.LittleEndian.Uint64(old) + 1) }
		calls := 0
		err = x.RMW(key, func(old []byte) []byte {
			calls++
			v := inc(old)
			if calls == 1 {
				if err := y.RMW(key, inc); err != nil {
					t.Fatal(err)
				}
				for i := uint64(100); ; i++ {
					l := s.log.SafeReadOnly()
					if evict {
						l = s.log.Head()
					}
					if l > addr {
						break
					}
					y.Set(k8(i), make([]byte, 1000))
				}
			}
			return v
		})
		got, err2 := s.Get(nil, key)
		t.Log(evict, calls, got, err, err2)
		if binary.LittleEndian.Uint64(got) != 2 {
			t.Errorf("evict %v: two increments, value %d", evict, binary.LittleEndian.Uint64(got))
		}
		s.Close()
	}
}

// A record of version v+1 below the cut of v; then Compact.
func TestCompact_MovesTheFuzzyEnd(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s.Set(k8(1), k8(1))
	g := s.epochs.Register()
	g.Enter() // an operation of the old version that takes its time
	p, err := s.BeginCheckpoint()
	if err != nil {
		t.Fatal(err)
	}
	s.Set(k8(2), k8(2))
	g.Exit()
	if _, err := p.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(nil, k8(2))
	t.Log("before compact", got, err)
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	got, err = s.Get(nil, k8(2))
	if err != nil {
		t.Errorf("live: %v %v", got, err)
	}
	s.Close()
	s, err = Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= 2; i++ {
		if got, err = s.Get(nil, k8(i)); err != nil {
			t.Errorf("reopened: key %d: %v %v", i, got, err)
		}
	}
	s.Close()
}

type blockFS struct {
	fsx.FS
	armed   atomic.Bool
	reached chan struct{}
	release chan struct{}
}
type blockFile struct {
	fsx.File
	b *blockFS
}

func (b *blockFS) Open(name string, f fsx.Flag) (fsx.File, error) { return b.open(b.FS, name, f) }

func (b *blockFS) OpenRoot(dir string) (fsx.Root, error) {
	return fsx.OpenRootBy(b.FS, dir, b.open)
}

func (b *blockFS) open(in fsx.FS, name string, f fsx.Flag) (fsx.File, error) {
	x, err := in.Open(name, f)
	if err != nil {
		return nil, err
	}
	return &blockFile{x, b}, nil
}
func (f *blockFile) ReadAt(p []byte, off int64) (int, error) {
	if f.b.armed.CompareAndSwap(true, false) {
		n, err := f.File.ReadAt(p, off)
		close(f.b.reached)
		<-f.b.release
		return n, err
	}
	return f.File.ReadAt(p, off)
}

// A cold read of a chain while compaction empties the log below it.
func testColdBegin(t *testing.T, rmw bool) {
	b := &blockFS{FS: fsx.OS(), reached: make(chan struct{}), release: make(chan struct{})}
	s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10, NoReadCache: true, FS: b})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	ka := k8(1)
	ha := s.hash(ka)
	var kb []byte
	for i := uint64(2); ; i++ {
		if kk := k8(i); (s.hash(kk)^ha)&(1<<24-1) == 0 {
			kb = kk
			break
		}
	}
	s.Set(kb, k8(77))
	s.Set(ka, k8(11))
	addr := s.log.Tail()
	for i := uint64(1 << 40); s.log.Head() <= addr; i++ {
		s.Set(k8(i), make([]byte, 4000))
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	b.armed.Store(true)
	type res struct {
		v   []byte
		err error
	}
	done := make(chan res)
	go func() {
		if rmw {
			var saw []byte
			err := s.RMW(kb, func(old []byte) []byte { saw = append([]byte(nil), old...); return nil })
			done <- res{saw, err}
			return
		}
		v, err := s.Get(nil, kb)
		done <- res{v, err}
	}()
	<-b.reached
	if err := s.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	close(b.release)
	r := <-done
	if r.err != nil || len(r.v) == 0 {
		t.Errorf("read during compaction: %v %v", r.v, r.err)
	}
	v, err := s.Get(nil, kb)
	t.Log("afterwards", v, err)
	if rmw && err == nil {
		t.Errorf("RMW that deletes returned nil, the key is still there: %v", v)
	}
	s.Close()
}
func TestGet_ColdWhileCompactionMovesBegin(t *testing.T) { testColdBegin(t, false) }
func TestRMW_ColdWhileCompactionMovesBegin(t *testing.T) { testColdBegin(t, true) }

// Scan over a Restore.
func TestScan_RestoreMeanwhile(t *testing.T) {
	s, err := Open(t.TempDir(), &Options{MemoryBytes: MinMemoryBytes, PageBytes: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	s.Set(k8(1), k8(1))
	if _, err := s.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for i := uint64(0); i < 2000; i++ {
		s.Set(k8(1000+i), make([]byte, 800))
	}
	n := 0
	err = s.Scan(ctx, func(k, v []byte) bool {
		n++
		if n == 1 {
			if _, err := s.Restore(ctx, 1); err != nil {
				t.Fatal(err)
			}
			for i := uint64(0); i < 10000; i++ {
				s.Set(k8(100000+i), make([]byte, 800))
			}
			runtime.Gosched()
		}
		return true
	})
	t.Log(n, err)
	if errors.Is(err, ErrCorrupt) {
		t.Errorf("scan over a restore: %v", err)
	}
	s.Close()
}
