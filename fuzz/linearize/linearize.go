// Package linearize checks that histories of single-key operations are linearizable: that there is one order of them,
// in agreement with real time, in which each returned what it had to (Herlihy and Wing, 1990). Checkpoints and
// restores are operations, too: a checkpoint remembers the value that each key has at some moment of its own, and a
// restore brings it back.
//
// Linearizability is local: a history is linearizable if that of each key is. Each key is checked by itself, with
// package porcupine, which makes a million operations a matter of seconds.
package linearize

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// Kind is what an operation does.
type Kind uint8

// The kinds. A value is a token, 0 for none; every write of a history has a token of its own, so that a read tells
// which write it has seen.
const (
	Get        Kind = iota // returns the token
	Set                    // writes the token
	Delete                 // writes none
	RMW                    // returns what it has seen and writes the token, or none
	Checkpoint             // remembers the value under Version
	Restore                // brings the value under Version back
)

var kindNames = [...]string{"get", "set", "delete", "rmw", "checkpoint", "restore"}

// String returns the name.
func (k Kind) String() string { return kindNames[k] }

// MaxVersions is how many versions a history may have: they are numbered from 0.
const MaxVersions = 16

// Op is one operation on one key.
type Op struct {
	Kind    Kind
	Key     int
	Token   uint64 // what it writes; 0: none
	Saw     uint64 // what it returned; 0: none
	Version int    // of Checkpoint and Restore
	last    bool   // the version is not restored again
	Call    int64  // when it began and returned, from Recorder.Now
	Return  int64
}

// Recorder collects the operations of several clients. Each client uses its own Client.
type Recorder struct {
	start   time.Time
	mu      sync.Mutex
	clients []*Client
	global  []Op // checkpoints and restores, which concern every key
}

// Client is what one goroutine records.
type Client struct {
	r   *Recorder
	id  int
	ops []Op
}

// New returns an empty recorder.
func New() *Recorder { return &Recorder{start: time.Now()} }

// Now returns the time in nanoseconds since the recorder was made.
func (r *Recorder) Now() int64 { return int64(time.Since(r.start)) }

// Client returns a recorder for one more goroutine.
func (r *Recorder) Client() *Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Client{r: r, id: len(r.clients)}
	r.clients = append(r.clients, c)
	return c
}

// Begin returns an operation that begins now.
func (c *Client) Begin(kind Kind, key int) Op { return Op{Kind: kind, Key: key, Call: c.r.Now()} }

// End records an operation that returns now.
func (c *Client) End(op Op) {
	op.Return = c.r.Now()
	c.ops = append(c.ops, op)
}

// Global records a checkpoint or a restore that began at call and returns now. Any goroutine may.
func (r *Recorder) Global(kind Kind, version int, call int64) {
	op := Op{Kind: kind, Version: version, Call: call, Return: r.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.global = append(r.global, op)
}

// state is the value of one key, and that in each version.
type state struct {
	value uint64
	saved [MaxVersions]uint64
}

func step(s, input, _ any) (bool, any) {
	st, op := s.(state), input.(Op)
	switch op.Kind {
	case Get:
		return st.value == op.Saw, st
	case Set, Delete:
		st.value = op.Token
	case RMW:
		if st.value != op.Saw {
			return false, st
		}
		st.value = op.Token
	case Checkpoint:
		st.saved[op.Version] = st.value
	case Restore:
		st.value = st.saved[op.Version]
		if op.last {
			st.saved[op.Version] = 0
		}
	}
	return true, st
}

// Model is the specification of one key.
var Model = porcupine.Model{
	Init: func() any { return state{} },
	Step: step,
	DescribeOperation: func(input, _ any) string {
		switch op := input.(Op); op.Kind {
		case Get:
			return fmt.Sprintf("get -> %x", op.Saw)
		case Set:
			return fmt.Sprintf("set %x", op.Token)
		case RMW:
			return fmt.Sprintf("rmw %x -> %x", op.Saw, op.Token)
		case Checkpoint, Restore:
			return fmt.Sprintf("%v %d", op.Kind, op.Version)
		default:
			return op.Kind.String()
		}
	},
	DescribeState: func(s any) string { return fmt.Sprintf("%x", s.(state).value) },
}

// Result is what a check came to.
type Result struct {
	Operations int
	Keys       int
	Unknown    int      // keys for which the search took too long
	Bad        []string // files that show the histories of keys that are not linearizable, or what kept them from being saved
}

// Check checks every key. timeout bounds the search for one: it can take any time when many clients have been interrupted
// in the middle of an operation, and then nothing is known of the key. What is not linearizable is drawn into dir. No
// client may be recording.
func (r *Recorder) Check(workers int, timeout time.Duration, dir string) Result {
	byKey := map[int][]porcupine.Operation{}
	res := Result{}
	for _, c := range r.clients {
		for _, op := range c.ops {
			byKey[op.Key] = append(byKey[op.Key], porcupine.Operation{ClientId: c.id, Input: op, Call: op.Call, Return: op.Return})
			res.Operations++
		}
	}
	keys := make([]int, 0, len(byKey))
	global := r.relevant()
	for key := range byKey {
		keys = append(keys, key)
		for i, op := range global {
			byKey[key] = append(byKey[key], porcupine.Operation{ClientId: len(r.clients) + i%2, Input: op, Call: op.Call, Return: op.Return})
		}
	}
	slices.SortFunc(keys, cmp.Compare[int])
	res.Keys = len(keys)
	var next atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(keys)); i = next.Add(1) - 1 {
				bad, known := checkKey(keys[i], byKey[keys[i]], timeout, dir)
				mu.Lock()
				if bad != "" {
					res.Bad = append(res.Bad, bad)
				}
				if !known {
					res.Unknown++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return res
}

// relevant returns the checkpoints and restores without what makes states different that are not: versions that nobody
// restores, or not any more. Restores do not overlap each other.
func (r *Recorder) relevant() []Op {
	lastRestore := [MaxVersions]int{}
	for i, op := range r.global {
		if op.Kind == Restore {
			lastRestore[op.Version] = i + 1
		}
	}
	var ops []Op
	for i, op := range r.global {
		op.last = i+1 == lastRestore[op.Version]
		if lastRestore[op.Version] > i {
			ops = append(ops, op)
		}
	}
	return ops
}

// checkKey returns where the history of a key that is not linearizable has been drawn, and whether the search has ended.
// Beside the drawing the history is saved, operation by operation.
func checkKey(key int, history []porcupine.Operation, timeout time.Duration, dir string) (bad string, known bool) {
	switch porcupine.CheckOperationsTimeout(Model, history, timeout) {
	case porcupine.Ok:
		return "", true
	case porcupine.Unknown:
		return "", false
	}
	_, info := porcupine.CheckOperationsVerbose(Model, history, timeout)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Sprintf("key %d: %v", key, err), true
	}
	name := filepath.Join(dir, fmt.Sprintf("not-linearizable-%d", key))
	saved, err := json.Marshal(history)
	err = cmp.Or(err, os.WriteFile(name+".json", saved, 0o644), porcupine.VisualizePath(Model, info, name+".html"))
	if err != nil {
		return fmt.Sprintf("key %d: %v", key, err), true
	}
	return name + ".html", true
}
