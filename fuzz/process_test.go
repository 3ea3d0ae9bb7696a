package fuzz

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/testkit"
)

// Tests with real processes: the test binary starts itself with a role in the environment.

const (
	roleVar = "HLOG_FUZZ_ROLE"
	dirVar  = "HLOG_FUZZ_DIR"
	seedVar = "HLOG_FUZZ_SEED"
)

func TestMain(m *testing.M) {
	roles := map[string]func() error{"writer": writerRole, "locker": lockerRole, "limited": limitedRole, "movers": moversRole}
	if role := roles[os.Getenv(roleVar)]; role != nil {
		if err := role(); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testkit.LetGarbageGrow()
	os.Exit(m.Run())
}

// child prepares this program in a role of its own.
func child(role, dir string, seed uint64) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVar+"="+role, dirVar+"="+dir, fmt.Sprintf("%s=%d", seedVar, seed))
	return c
}

// history says how a state came about: stretches of operations, each numbered and chosen by its seed. It is the cookie of
// every version that the writer commits.
type history []stretch

type stretch struct{ seed, ops uint64 }

func (h history) encode() []byte {
	var b []byte
	for _, s := range h {
		b = binary.AppendUvarint(binary.AppendUvarint(b, s.seed), s.ops)
	}
	return b
}

func decodeHistory(b []byte) (h history, err error) {
	for len(b) > 0 {
		var s stretch
		for _, p := range []*uint64{&s.seed, &s.ops} {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, errors.New("not a history")
			}
			*p, b = v, b[n:]
		}
		h = append(h, s)
	}
	return h, nil
}

// operation is the i-th operation of a stretch: what it does with which key.
func operation(seed, i uint64) (key []byte, way int, value []byte) {
	rng := rand.New(rand.NewPCG(seed, i))
	k := int(rng.ExpFloat64() * 60)
	return Key(k % wideKeys), rng.IntN(8), Value(seed<<20+i, sizeClasses[rng.IntN(16)])
}

// state replays a history.
func (h history) state() State {
	s := State{}
	for _, st := range h {
		for i := range st.ops {
			key, way, value := operation(st.seed, i)
			switch way {
			case 0:
				delete(s, string(key))
			case 1, 2:
				s[string(key)] = s[string(key)][:len(s[string(key)])/2] + string(value[:min(8, len(value))])
			default:
				s[string(key)] = string(value)
			}
		}
	}
	return s
}

// apply does the i-th operation of a stretch.
func apply(s *hlog.Store, seed, i uint64) error {
	key, way, value := operation(seed, i)
	switch way {
	case 0:
		return s.Delete(key)
	case 1, 2:
		return s.RMW(key, func(old []byte) []byte {
			return append(append([]byte{}, old[:len(old)/2]...), value[:min(8, len(value))]...)
		})
	}
	return s.Set(key, value)
}

// writerOptions make the writer spill, flush and compact early.
var writerOptions = hlog.Options{MemoryBytes: 4 << 20, PageBytes: 32 << 10, SegmentBytes: 256 << 10, KeepVersions: 6, MutableFraction: 0.3}

// writerRole opens the store, says what it finds, and goes on from there until it is killed: operations, checkpoints
// that overlap them, rollbacks, compactions. It prints a line for everything that is durable.
func writerRole() error {
	var seed uint64
	fmt.Sscan(os.Getenv(seedVar), &seed)
	s, err := hlog.Open(os.Getenv(dirVar), &writerOptions)
	if err != nil {
		return err
	}
	fmt.Println("open")
	ctx := context.Background()
	infos, err := s.Versions()
	if err != nil {
		return err
	}
	var h history
	for _, i := range infos {
		if i.Current {
			if h, err = decodeHistory(i.Cookie); err != nil {
				return err
			}
		}
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	for branch := seed << 8; ; branch++ {
		h = append(h, stretch{seed: branch})
		last := &h[len(h)-1]
		for range 1 + rng.IntN(6) {
			for range rng.IntN(400) {
				if err := apply(s, branch, last.ops); err != nil {
					return fmt.Errorf("operation: %w", err)
				}
				last.ops++
			}
			p, err := s.BeginCheckpoint(hlog.WithCookie(h.encode()))
			if err != nil {
				return err
			}
			for range rng.IntN(50) {
				if err := apply(s, branch, last.ops); err != nil {
					return fmt.Errorf("operation during a checkpoint: %w", err)
				}
				last.ops++
			}
			if _, err := p.Wait(ctx); err != nil {
				return fmt.Errorf("checkpoint: %w", err)
			}
			fmt.Println("durable", p.Version())
		}
		switch rng.IntN(3) {
		case 0:
			if err := s.Compact(ctx); err != nil {
				return fmt.Errorf("compaction: %w", err)
			}
		case 1:
			infos, err := s.Versions()
			if err != nil {
				return err
			}
			v := infos[rng.IntN(len(infos))]
			fmt.Println("restoring", v.Version)
			switch _, err := s.Restore(ctx, v.Version); {
			case errors.Is(err, hlog.ErrVersionNotFound): // retention was faster
				continue
			case err != nil:
				return fmt.Errorf("restore: %w", err)
			}
			fmt.Println("restored", v.Version)
			if h, err = decodeHistory(v.Cookie); err != nil {
				return err
			}
		}
	}
}

// killed is what a writer had printed when it was killed.
type killed struct {
	opened    bool
	version   Version // what was durable by then
	restored  bool    // by a rollback
	restoring Version // the target of a rollback that was begun after that, and may be durable too; 0: none
	lines     int
}

// runWriter starts a writer, in one of the roles that are some, and kills it after d.
func runWriter(role, dir string, seed uint64, d time.Duration) (k killed, err error) {
	c := child(role, dir, seed)
	out, err := c.StdoutPipe()
	if err != nil {
		return k, err
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return k, err
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return k, errors.Join(err, c.Process.Kill(), c.Wait())
		}
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "open":
			k.opened = true
			timer := time.AfterFunc(d, func() { c.Process.Kill() })
			defer timer.Stop()
		case "restoring":
			if _, err := fmt.Sscan(rest, &k.restoring); err != nil {
				return k, err
			}
		case "durable", "restored":
			k.restoring = 0
			if _, err := fmt.Sscan(rest, &k.version); err != nil {
				return k, err
			}
			k.restored = what == "restored"
			k.lines++
		default:
			c.Process.Kill()
			c.Wait()
			return k, fmt.Errorf("the writer says: %s", line)
		}
	}
	c.Wait() // killed: that is an error, and the point
	return k, nil
}

// verifyKilled opens what a killed writer has left and compares all versions with their histories.
func verifyKilled(dir string, readOnly bool, k killed) (versions int, err error) {
	opts := writerOptions
	opts.KeepVersions = 1000
	opts.ReadOnly = readOnly
	opts.NoCompaction = true // closing would commit what it has moved, in a version without a history
	s, err := hlog.Open(dir, &opts)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	infos, err := s.Versions()
	if err != nil {
		return 0, err
	}
	var current Version
	for _, i := range infos {
		h, err := decodeHistory(i.Cookie)
		if err != nil {
			return 0, fmt.Errorf("cookie of version %d: %w", i.Version, err)
		}
		want := h.state()
		if i.Current {
			current = i.Version
			if err := checkState(s, want); err != nil {
				return 0, fmt.Errorf("version %d: %w", i.Version, err)
			}
		}
		w, err := s.OpenVersion(context.Background(), i.Version)
		if err == nil {
			err = errors.Join(checkState(w, want), w.Close())
		}
		if err != nil {
			return 0, fmt.Errorf("view of version %d: %w", i.Version, err)
		}
	}
	if current < k.version && !k.restored && (k.restoring == 0 || current != k.restoring) {
		return 0, fmt.Errorf("opened at version %d, but %d was durable", current, k.version)
	}
	return len(infos), nil
}

// TestKill_Writer kills processes with SIGKILL, over and over, several directories at a time.
func TestKill_Writer(t *testing.T) {
	t.Parallel()
	const chains = 4
	var kills, lines, versions atomic.Int64
	var all sync.WaitGroup
	for chain := range chains {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(chain), uint64(time.Now().UnixNano())))
			dir := ""
			for i := range scaled(2, 5, 25, 250) {
				if i%9 == 0 { // histories get long
					dir = t.TempDir()
				}
				k, err := runWriter("writer", dir, i+1, time.Duration(rng.IntN(150))*time.Millisecond)
				if err != nil {
					t.Errorf("kill %d: %v", i, err)
					return
				}
				n, err := verifyKilled(dir, i%2 == 0, k)
				if err != nil {
					t.Errorf("kill %d, after %+v: %v", i, k, err)
					return
				}
				kills.Add(1)
				lines.Add(int64(k.lines))
				versions.Add(int64(n))
			}
		})
	}
	all.Wait()
	testkit.Counted(t, "%d kills, %d checkpoints and rollbacks were durable by then, %d versions compared", kills.Load(), lines.Load(), versions.Load())
}

// lockerRole tries to open a directory and says how that went.
func lockerRole() error {
	s, err := hlog.Open(os.Getenv(dirVar), &writerOptions)
	if errors.Is(err, hlog.ErrLocked) {
		fmt.Println("locked")
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Println("open")
	return s.Close()
}

// TestLock_TwoProcesses: while one process has a store open, another one is refused, by whatever path.
func TestLock_TwoProcesses(t *testing.T) {
	dir := t.TempDir()
	link := t.TempDir() + "/link"
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	s, err := hlog.Open(dir, &writerOptions)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, want string) {
		t.Helper()
		out, err := child("locker", path, 0).CombinedOutput()
		if got := string(bytes.TrimSpace(out)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	ask(dir, "locked")
	ask(link, "locked")
	if _, err := hlog.Open(link, &writerOptions); !errors.Is(err, hlog.ErrLocked) {
		t.Errorf("the same process by a symbolic link: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	ask(link, "open")
	ask(dir, "open")
}
