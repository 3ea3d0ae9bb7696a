package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// Movers are goroutines that move amounts between accounts which they share. Each move is a unit: it takes from one
// account, gives to another, and counts in the record of its mover. The n-th move of a mover is always the same, and an
// account has a place for each mover, so that the counts in a version tell exactly what the accounts in it must be: a move
// that is lost, doubled or halved shows, and in which mover.

const (
	movers   = 4
	accounts = 20_000 // some of memory
)

type account struct {
	moved [movers]int64
	_     [64]byte
}

// move returns the n-th move of mover m.
func move(m, n uint64) (from, to uint64, amount int64) {
	x := (n*movers + m + 1) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	from, to = x%accounts, (x>>20)%accounts
	return from, to, int64(x>>50) + 1
}

// counterKey is the key of the record with the number of moves of mover m; the others are accounts.
func counterKey(m uint64) uint64 { return accounts + m }

// moveAlways makes moves of mover m until the store is closed. It keeps nothing in mind: what comes next is in the store,
// which may be taken back at any time.
func moveAlways(s *hlog.Store, m uint64) error {
	x := s.NewSession()
	defer x.Close()
	all, err := hlog.NewTable[uint64, account](x)
	if err != nil {
		return err
	}
	counters, err := hlog.NewTable[uint64, uint64](x)
	if err != nil {
		return err
	}
	next := func() error {
		n, _, err := counters.Get(counterKey(m))
		if err != nil {
			return err
		}
		from, to, amount := move(m, n)
		if err := all.Update(from, func(a *account, _ bool) { a.moved[m] -= amount }); err != nil {
			return err
		}
		if err := counters.Set(counterKey(m), n+1); err != nil {
			return err
		}
		return all.Update(to, func(a *account, _ bool) { a.moved[m] += amount })
	}
	for {
		if err := x.Unit(next); err != nil {
			return err
		}
	}
}

// moversRole opens the store and lets movers go on in it until it is killed, with checkpoints and rollbacks beside them. It
// prints a line for everything that is durable.
func moversRole() error {
	var seed uint64
	fmt.Sscan(os.Getenv(seedVar), &seed)
	s, err := hlog.Open(os.Getenv(dirVar), &writerOptions)
	if err != nil {
		return err
	}
	fmt.Println("open")
	ended := make(chan error, movers)
	for m := range uint64(movers) {
		go func() { ended <- moveAlways(s, m) }()
	}
	ctx, rng := context.Background(), rand.New(rand.NewPCG(seed, 98))
	for {
		select {
		case err := <-ended:
			return fmt.Errorf("a mover: %w", err)
		default:
		}
		info, err := s.Checkpoint(ctx)
		switch {
		case errors.Is(err, hlog.ErrUnitBusy): // the machine has better things to do
			continue
		case err != nil:
			return fmt.Errorf("checkpoint: %w", err)
		}
		fmt.Println("durable", info.Version)
		if rng.IntN(4) > 0 {
			continue
		}
		infos, err := s.Versions()
		if err != nil {
			return err
		}
		v := infos[rng.IntN(len(infos))].Version
		fmt.Println("restoring", v)
		switch _, err := s.Restore(ctx, v); {
		case errors.Is(err, hlog.ErrVersionNotFound), errors.Is(err, hlog.ErrUnitBusy):
			continue
		case err != nil:
			return fmt.Errorf("restore: %w", err)
		}
		fmt.Println("restored", v)
	}
}

// verifyMoves opens what killed movers have left and holds each version against the counts in it.
func verifyMoves(dir string, k killed) (versions int, moves uint64, err error) {
	opts := writerOptions
	opts.ReadOnly, opts.NoCompaction = true, true
	s, err := hlog.Open(dir, &opts)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	infos, err := s.Versions()
	if err != nil {
		return 0, 0, err
	}
	for _, i := range infos {
		if i.Current && i.Version < k.version && !k.restored && (k.restoring == 0 || i.Version != k.restoring) {
			return 0, 0, fmt.Errorf("opened at version %d, but %d was durable", i.Version, k.version)
		}
		w, err := s.OpenVersion(context.Background(), i.Version)
		if err != nil {
			return 0, 0, err
		}
		n, err := checkMoves(w)
		if err = errors.Join(err, w.Close()); err != nil {
			return 0, 0, fmt.Errorf("version %d: %w", i.Version, err)
		}
		moves += n
	}
	return len(infos), moves, nil
}

// checkMoves compares the accounts of a version with what the counts in it say.
func checkMoves(w *hlog.View) (moves uint64, err error) {
	is := make([][movers]int64, accounts)
	var counts [movers]uint64
	err = w.Scan(context.Background(), func(key, value []byte) bool {
		if k := nativeWord(key, 0); k < accounts {
			for m := range is[k] {
				is[k][m] = int64(nativeWord(value, m))
			}
		} else {
			counts[k-accounts] = nativeWord(value, 0)
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	want := make([][movers]int64, accounts)
	for m, n := range counts {
		for i := range n {
			from, to, amount := move(uint64(m), i)
			want[from][m] -= amount
			want[to][m] += amount
		}
		moves += n
	}
	for k := range is {
		if is[k] != want[k] {
			return 0, fmt.Errorf("account %d is %v, and must be %v after %v moves", k, is[k], want[k], counts)
		}
	}
	return moves, nil
}

// nativeWord returns the i-th word of a key or value of a table.
func nativeWord(b []byte, i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }

// TestKill_Movers kills processes whose goroutines change several keys in units, over and over: every version that is left
// has each unit whole or not at all, and what it has agrees with the counts in it.
func TestKill_Movers(t *testing.T) {
	t.Parallel()
	const chains = 2
	var kills, lines, versions atomic.Int64
	var moves atomic.Uint64
	var all sync.WaitGroup
	for chain := range chains {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(chain), uint64(time.Now().UnixNano())))
			dir := ""
			for i := range scaled(2, 5, 25, 250) {
				if i%9 == 0 {
					dir = t.TempDir()
				}
				k, err := runWriter("movers", dir, i+1, time.Duration(50+rng.IntN(200))*time.Millisecond)
				if err != nil {
					t.Errorf("kill %d: %v", i, err)
					return
				}
				n, m, err := verifyMoves(dir, k)
				if err != nil {
					t.Errorf("kill %d, after %+v: %v", i, k, err)
					return
				}
				kills.Add(1)
				lines.Add(int64(k.lines))
				versions.Add(int64(n))
				moves.Add(m)
			}
		})
	}
	all.Wait()
	testkit.Counted(t, "%d kills of units, %d checkpoints and rollbacks were durable by then, %d versions with %d units compared",
		kills.Load(), lines.Load(), versions.Load(), moves.Load())
}
