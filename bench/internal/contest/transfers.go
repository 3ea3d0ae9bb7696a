package contest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
)

// Transfers is a streaming job whose transactions touch several keys of one store: each takes money from one account, gives
// it to two others, and notes how far its worker has come in its partition of the stream. That is a unit (Session.Unit):
// versions are cut at any time, by a goroutine of their own, and no worker knows of it.
//
// The workers die in the middle: each within a unit, after the first of its updates. A copy of the files as they are then
// is opened, the workers take the stream up where the state says, and the dead store is given up. In every version that
// there is, before each death, after each recovery and in the end, there must be as much money as in the beginning. In
// the end every account is compared with a serial run.
type Transfers struct {
	Accounts int
	Workers  int
	Txns     int
	Every    time.Duration // between two versions
	Deaths   int
	Dist     workload.Dist
	Dir      string
	Options  hlog.Options
	At       func(done, total float64, note string)
}

// TransfersResult is what one run measured.
type TransfersResult struct {
	Latency  *workload.Latencies // of transactions
	Cuts     []float64           // milliseconds that each BeginCheckpoint took
	Versions int                 // checked, each as often as it was there
	Recovery []float64           // milliseconds from Open to the first transaction
	Replayed int                 // transactions done again
	Elapsed  time.Duration       // of the stream
	Txns     int                 // done, replays included
}

const firstBalance = 1000

// counterOf is the key of the record that says how many transactions worker w has done. Accounts have smaller keys.
func (f Transfers) counterOf(w int) uint64 { return uint64(f.Accounts + w) }

// transfer is transaction i of the stream; worker i % Workers does it.
type transfer struct {
	from, to, third uint64
	amount, fee     int64
}

func (t *transferring) transfer(i int) transfer {
	p := t.picks[3*i : 3*i+3]
	x := workload.Mix64(uint64(i))
	return transfer{uint64(p[0]), uint64(p[1]), uint64(p[2]), int64(x % 100), int64(x >> 60)}
}

// transferring is one run.
type transferring struct {
	Transfers
	picks []uint32
	store *hlog.Store
	dir   string
	done  []int // by each worker, in the store
	res   TransfersResult
}

// Run does all of it.
func (f Transfers) Run(ctx context.Context) (_ TransfersResult, err error) {
	t := &transferring{Transfers: f, picks: f.Dist.Picks(f.Accounts, 3*f.Txns, 17), done: make([]int, f.Workers)}
	t.dir = filepath.Join(f.Dir, "transfers")
	t.Options.KeepVersions = 1 << 20
	t.res.Latency = workload.NewLatencies()
	defer func() {
		if t.store != nil {
			err = errors.Join(err, t.store.Close())
		}
		err = errors.Join(err, os.RemoveAll(t.dir))
	}()
	if err := os.RemoveAll(t.dir); err != nil {
		return t.res, err
	}
	if t.store, err = hlog.Open(t.dir, &t.Options); err != nil {
		return t.res, err
	}
	if err := t.load(ctx); err != nil {
		return t.res, err
	}
	for death := range f.Deaths + 1 {
		upTo := f.Txns
		if death < f.Deaths {
			upTo = f.Txns * (death + 1) / (f.Deaths + 1)
		}
		if err := t.stream(ctx, upTo, death < f.Deaths); err != nil {
			return t.res, err
		}
	}
	return t.res, errors.Join(t.checkVersions(ctx), t.checkAccounts())
}

// load gives every account its first balance, and commits that.
func (t *transferring) load(ctx context.Context) error {
	x := t.store.NewSession()
	defer x.Close()
	balances, err := hlog.NewTable[uint64, int64](x)
	if err != nil {
		return err
	}
	for k := range uint64(t.Accounts) {
		if err := balances.Set(k, firstBalance); err != nil {
			return err
		}
	}
	_, err = t.store.Checkpoint(ctx)
	return err
}

// stream lets workers and checkpoints go on until upTo transactions are done, and then has the workers end, or die.
func (t *transferring) stream(ctx context.Context, upTo int, die bool) error {
	stop, errs := make(chan struct{}), make(chan error, t.Workers+1)
	var checkpoints sync.WaitGroup
	checkpoints.Go(func() { errs <- t.checkpointRegularly(ctx, stop) })
	begin := time.Now()
	var workers sync.WaitGroup
	lats := make([]*workload.Latencies, t.Workers)
	for w := range t.Workers {
		lats[w] = workload.NewLatencies()
		workers.Go(func() { errs <- t.work(ctx, w, upTo, lats[w]) })
	}
	workers.Wait()
	t.res.Elapsed += time.Since(begin)
	close(stop)
	checkpoints.Wait()
	for _, l := range lats {
		t.res.Latency.Merge(l)
	}
	var err error
	for range cap(errs) {
		err = errors.Join(err, <-errs)
	}
	if err != nil || !die {
		return err
	}
	if err := t.checkVersions(ctx); err != nil {
		return err
	}
	return t.dieAndRecover(ctx)
}

func (t *transferring) checkpointRegularly(ctx context.Context, stop <-chan struct{}) error {
	tick := time.NewTicker(t.Every)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return nil
		case <-tick.C:
		}
		begin := time.Now()
		p, err := t.store.BeginCheckpoint()
		t.res.Cuts = append(t.res.Cuts, float64(time.Since(begin))/float64(time.Millisecond))
		if err != nil {
			return err
		}
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
}

// errDies is how a unit ends in which its worker dies.
var errDies = errors.New("bench: died within a unit")

// bank is what one worker has of the store.
type bank struct {
	session  *hlog.Session
	balances *hlog.Table[uint64, int64]
}

func (t *transferring) bank() (bank, error) {
	x := t.store.NewSession()
	balances, err := hlog.NewTable[uint64, int64](x)
	return bank{x, balances}, err
}

// do does the n-th transaction of worker w, or a part of it.
func (t *transferring) do(b bank, w, n int, dies bool) error {
	x := t.transfer(n*t.Workers + w)
	return b.session.Unit(func() error {
		if err := b.balances.Update(x.from, func(v *int64, _ bool) { *v -= x.amount + x.fee }); err != nil {
			return err
		}
		if dies {
			return errDies
		}
		if err := b.balances.Update(x.to, func(v *int64, _ bool) { *v += x.amount }); err != nil {
			return err
		}
		if err := b.balances.Update(x.third, func(v *int64, _ bool) { *v += x.fee }); err != nil {
			return err
		}
		return b.balances.Set(t.counterOf(w), int64(n+1))
	})
}

// work does the transactions of worker w, from where it stands up to those before upTo.
func (t *transferring) work(ctx context.Context, w, upTo int, lat *workload.Latencies) error {
	b, err := t.bank()
	if err != nil {
		return err
	}
	defer b.session.Close()
	n := t.done[w]
	for first := n; n*t.Workers+w < upTo; n++ {
		begin := time.Now()
		if err := t.do(b, w, n, false); err != nil {
			return err
		}
		lat.Record(time.Since(begin))
		if n%1024 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if w == 0 && n > first {
				t.At(float64(n*t.Workers), float64(t.Txns), "")
			}
		}
	}
	t.done[w] = n
	return nil
}

// dieAndRecover has all workers die within a unit, and goes on with what a crash leaves then.
func (t *transferring) dieAndRecover(ctx context.Context) error {
	for w := range t.Workers {
		b, err := t.bank()
		if err != nil {
			return err
		}
		if err := t.do(b, w, t.done[w], true); err != errDies {
			return fmt.Errorf("worker %d lives on: %w", w, err)
		}
	}
	image := t.dir + "-died"
	if err := CopyDir(image, t.dir); err != nil {
		return err
	}
	dead := t.store
	t.store = nil
	if err := errors.Join(dead.Close(), os.RemoveAll(t.dir), os.Rename(image, t.dir)); err != nil {
		return err
	}
	begin := time.Now()
	var err error
	if t.store, err = hlog.Open(t.dir, &t.Options); err != nil {
		return err
	}
	b, err := t.bank()
	if err != nil {
		return err
	}
	defer b.session.Close()
	for w, before := range t.done {
		n, _, err := b.balances.Get(t.counterOf(w))
		if err != nil {
			return err
		}
		t.done[w] = int(n)
		t.res.Replayed += before - int(n)
	}
	t.res.Recovery = append(t.res.Recovery, float64(time.Since(begin))/float64(time.Millisecond))
	return t.checkVersions(ctx)
}

// checkVersions demands of each version that no money was made or lost.
func (t *transferring) checkVersions(ctx context.Context) error {
	versions, err := t.store.Versions()
	if err != nil {
		return err
	}
	for _, v := range versions {
		if err := t.checkVersion(ctx, v.Version); err != nil {
			return fmt.Errorf("version %d: %w", v.Version, err)
		}
		t.res.Versions++
	}
	return nil
}

func (t *transferring) checkVersion(ctx context.Context, v checkpoint.Version) error {
	w, err := t.store.OpenVersion(ctx, v)
	if err != nil {
		return err
	}
	defer w.Close()
	sum := int64(0)
	err = w.Scan(ctx, func(key, value []byte) bool {
		if nativeWord(key) < uint64(t.Accounts) {
			sum += int64(nativeWord(value))
		}
		return true
	})
	if err == nil && sum != int64(t.Accounts)*firstBalance {
		err = fmt.Errorf("wrong: there are %d, and there were %d in the beginning", sum, int64(t.Accounts)*firstBalance)
	}
	return err
}

// checkAccounts compares every account with a serial run.
func (t *transferring) checkAccounts() error {
	want := make([]int64, t.Accounts)
	for i := range t.Txns {
		x := t.transfer(i)
		want[x.from] -= x.amount + x.fee
		want[x.to] += x.amount
		want[x.third] += x.fee
	}
	b, err := t.bank()
	if err != nil {
		return err
	}
	defer b.session.Close()
	for k, moved := range want {
		v, _, err := b.balances.Get(uint64(k))
		if err != nil {
			return err
		}
		if v != firstBalance+moved {
			return fmt.Errorf("wrong: account %d has %d, %d in the serial run", k, v, firstBalance+moved)
		}
	}
	for _, n := range t.done {
		t.res.Txns += n
	}
	t.res.Txns += t.res.Replayed
	return nil
}

// nativeWord returns the word that a table keeps as b.
func nativeWord(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
