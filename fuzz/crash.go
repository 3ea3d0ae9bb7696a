package fuzz

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/hybridlog/hybridlog/internal/step"
)

// Crasher crashes a disk at its write-class calls while something else uses it, and opens what is left. Nothing is
// played twice: at a call that is chosen the disk is cloned once for each way to crash, the clones are verified there
// and then, and the call goes on.
type Crasher struct {
	// Options open the clones.
	Options []hlog.Options
	// Outcome tells what may be found now.
	Outcome func() *Outcome
	// Every is the stride: each Every-th call is a place to crash; 0 = 1. Subsets is how many ways to crash there are
	// at each place.
	Every, Subsets int
	// Sparser has the stride grow by Every with every fourth place, so that a long run has few more than a short one.
	Sparser bool
	// Again is the stride among the clones that are crashed once more, at every call of their recovery; 0 = none.
	Again int
	// Depths is the stride among the clones that are verified deeply; 0 = none.
	Depths int
	// Stepped has the stores on the clones do their background work step by step, so that they replay.
	Stepped bool

	mu     sync.Mutex
	seed   uint64
	places int
	next   int64 // the first call that is a place again
	states int   // crash states verified, second crashes included
	second int   // of them second crashes
	deep   int
	err    error
}

// Watch crashes disk from now on.
func (c *Crasher) Watch(disk *fsx.CrashFS) {
	c.mu.Lock()
	c.next = 0 // each disk counts its own calls
	c.mu.Unlock()
	disk.SetHook(func(call fsx.Call) { c.at(disk, call) })
}

// Err returns the first disagreement.
func (c *Crasher) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Counts describes what was verified.
func (c *Crasher) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{c.places, c.states, c.second, c.deep}
}

// Counts are numbers of crash states.
type Counts struct {
	Places int // calls at which the disk was crashed
	States int // disks that were opened and verified
	Second int // of those, after a crash during the recovery from another
	Deep   int // of those, gone on from at every version
}

// Add returns the sum.
func (c Counts) Add(d Counts) Counts {
	return Counts{c.Places + d.Places, c.States + d.States, c.Second + d.Second, c.Deep + d.Deep}
}

func (c Counts) String() string {
	return fmt.Sprintf("%d crash states at %d calls, %d of them second crashes during recovery, %d gone on from", c.States, c.Places, c.Second, c.Deep)
}

// at is called before a write-class call of disk.
func (c *Crasher) at(disk *fsx.CrashFS, call fsx.Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || !c.isPlace(call.N) {
		return
	}
	c.places++
	before := c.Outcome()
	unsynced := disk.Unsynced()
	for i := range c.Subsets {
		c.seed++
		crash := c.choose(i, unsynced)
		left := disk.Clone(crash)
		allowed := before.either(c.Outcome())
		err := c.verify(left, allowed)
		if errors.Is(err, syscall.ENOSPC) { // a full disk may keep a store from going on; with room all has to be there
			left = disk.Clone(crash)
			left.SetSpace(0)
			err = c.verify(left, allowed)
		}
		if err != nil {
			c.err = fmt.Errorf("crash %v at call %d (%v %s): %w", crash, call.N, call.Op, call.Name, err)
			return
		}
	}
}

// isPlace reports whether the n-th call of a disk is a place to crash. The caller holds mu.
func (c *Crasher) isPlace(n int64) bool {
	every := int64(max(c.Every, 1))
	if !c.Sparser {
		return n%every == 0
	}
	if n < c.next {
		return false
	}
	c.next = n + every*int64(1+c.places/4)
	return true
}

// choose returns the i-th way to crash: nothing kept, everything, a prefix, torn sectors, subsets.
func (c *Crasher) choose(i, unsynced int) fsx.Crash {
	spread := int(c.seed * 0x9e3779b97f4a7c15 >> 33 % uint64(unsynced+1))
	switch i {
	case 0:
		return fsx.Crash{Keep: fsx.KeepNone}
	case 1:
		return fsx.Crash{Keep: fsx.KeepAll}
	case 2:
		return fsx.Crash{Keep: fsx.KeepPrefix, N: spread, Torn: true, Seed: c.seed}
	case 3:
		return fsx.Crash{Keep: fsx.KeepAll, Torn: true, Seed: c.seed}
	}
	return fsx.Crash{Keep: fsx.KeepSubset, Seed: c.seed, Torn: i%2 == 0}
}

// verify opens what a crash left, perhaps with crashes while it is being opened.
func (c *Crasher) verify(left *fsx.CrashFS, allowed *Outcome) error {
	c.states++
	opts := c.Options[c.states%len(c.Options)]
	if c.Again > 0 && c.states%c.Again == 0 {
		if err := c.verifyAgain(left, opts, allowed); err != nil {
			return err
		}
	}
	depth := Shallow
	switch {
	case c.Depths > 0 && c.states%c.Depths == 0:
		depth = Deep
		c.deep++
	case c.states%3 == 0:
		depth = Versions
	}
	return within(func() error { return Verify(c.files(left), opts, allowed, depth) })
}

// files returns the file system for a store on a clone.
func (c *Crasher) files(disk *fsx.CrashFS) fsx.FS {
	if !c.Stepped {
		return disk
	}
	return Stepped(disk, step.New(uint64(c.states)))
}

// verifyAgain crashes the recovery from a crash at every call, and that once more.
func (c *Crasher) verifyAgain(left *fsx.CrashFS, opts hlog.Options, allowed *Outcome) error {
	for k := int64(1); ; k++ {
		disk := left.Clone(fsx.Crash{Keep: fsx.KeepAll})
		disk.CrashAt(k)
		o := opts
		o.FS = c.files(disk)
		s, err := hlog.Open(storeDir, &o)
		if smallPages(err, &opts) {
			k-- // at the same call again
			continue
		}
		crashed := errors.Is(err, fsx.ErrCrashed)
		if err == nil {
			err = s.Close()
		}
		if err != nil && !crashed {
			return fmt.Errorf("opening with a crash at call %d: %w", k, err)
		}
		for i := range 3 {
			c.seed++
			c.states++
			c.second++
			crash := c.choose([]int{0, 1, 4}[i], disk.Unsynced())
			if err := within(func() error { return Verify(c.files(disk.Clone(crash)), opts, allowed, Shallow) }); err != nil {
				return fmt.Errorf("then crash %v at call %d of the recovery: %w", crash, k, err)
			}
		}
		if !crashed {
			return nil
		}
	}
}

// hangLimit is how long the shortest of calls may take before it counts as hanging (I4). It is far beyond what the
// slowest machine needs.
const hangLimit = 2 * time.Minute

// within runs f and panics, with the stacks of all goroutines, if it hangs.
func within(f func() error) error {
	t := time.AfterFunc(hangLimit, func() { panic("fuzz: a call on the store hangs") })
	defer t.Stop()
	return f()
}
