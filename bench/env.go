package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// env is what the command line says, and where output goes. Zero sizes mean that each experiment takes its own default.
type env struct {
	experiments string
	scale       float64
	far         bool // -scale beyond
	keys        int
	keyBytes    int
	valueBytes  int
	ops         int
	goroutines  int
	memory      int64
	dists       []workload.Dist
	mixes       []workload.Mix
	engines     []string
	rate        float64
	duration    time.Duration
	rounds      int
	short       bool
	quick       bool // the default run, which has two minutes

	texts    []string
	suffixes string
	pairs    bool
	every    int
	kills    int

	dir      string // of the stores
	report   string // directory of the report
	out      io.Writer
	progress *progress
	began    time.Time
}

// count is a flag for numbers: 1000, 10k, 2.5M.
type count struct{ n *int }

func (c count) String() string {
	if c.n == nil {
		return ""
	}
	return strconv.Itoa(*c.n)
}

func (c count) Set(s string) error {
	v, err := parseScaled(s, map[string]float64{"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9})
	*c.n = int(v)
	return err
}

// size is a flag for bytes: 4096, 64MiB, 1.5G (powers of two all the same).
type size struct{ n *int64 }

func (s size) String() string {
	if s.n == nil {
		return ""
	}
	return strconv.FormatInt(*s.n, 10)
}

func (s size) Set(text string) error {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "B"), "i")
	v, err := parseScaled(text, map[string]float64{"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30})
	*s.n = int64(v)
	return err
}

func parseScaled(s string, units map[string]float64) (float64, error) {
	digits := strings.TrimRight(s, "kKMG")
	unit, ok := units[s[len(digits):]]
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || !ok || v < 0 {
		return 0, fmt.Errorf("%q is not a number such as 1000, 10k or 2.5M", s)
	}
	return v * unit, nil
}

// list is a flag that may be given several times.
type list struct{ items *[]string }

func (l list) String() string { return "" }

func (l list) Set(s string) error {
	*l.items = append(*l.items, s)
	return nil
}

// parse reads the command line into an env.
func parse(args []string, out *os.File, errOut *os.File) (*env, error) {
	e := &env{scale: 1, out: out, progress: newProgress(errOut), began: time.Now()}
	fl := flag.NewFlagSet("bench", flag.ContinueOnError)
	fl.SetOutput(errOut)
	fl.Usage = func() {
		fmt.Fprintln(errOut, "usage: go run ./bench [flags]\n\nWithout flags: the main job, a short head-to-head and the report.")
		fl.PrintDefaults()
	}
	var dist, mix, engines string
	var hot workload.Dist
	fl.StringVar(&e.experiments, "experiment", "", "what to run: names with commas between, all, or list (empty: "+defaultExperiments+", the last two at a fifth of their sizes)")
	fl.Func("scale", "multiply the experiments' sizes by this (default 1); "+beyondScale+": -experiment beyond with a hundred million small records", e.setScale)
	fl.Var(count{&e.keys}, "keys", "number of keys, such as 10M (0: the experiment's own)")
	fl.Var(count{&e.ops}, "ops", "operations in a measured round (0: the experiment's own)")
	fl.IntVar(&e.keyBytes, "key", 0, "bytes in a key (0: the experiment's own)")
	fl.IntVar(&e.valueBytes, "value", 0, "bytes in a value (0: the experiment's own)")
	fl.IntVar(&e.goroutines, "g", 2, "goroutines that drive a store")
	fl.Var(size{&e.memory}, "memory", "memory of a store, such as 64MiB (0: the experiment's own)")
	fl.StringVar(&dist, "dist", "", "distributions, of "+strings.Join(workload.Kinds(), ", ")+" (empty: the experiment's own)")
	fl.Float64Var(&hot.Theta, "theta", 0.99, "skew of zipf")
	fl.Float64Var(&hot.Share, "hot-share", 0.2, "part of the keys in the hot set")
	fl.Float64Var(&hot.Hot, "hot-picks", 0.9, "part of the picks that goes to the hot set")
	fl.Var(count{&hot.Rotate}, "hot-rate", "picks after which the hot set moves on (0: 100k)")
	fl.StringVar(&mix, "mix", "", "mixes, of "+strings.Join(workload.MixNames(), ", ")+" (empty: the experiment's own)")
	fl.StringVar(&engines, "engines", "", "engines, of "+strings.Join(engineNames, ", ")+" (empty: all)")
	fl.Float64Var(&e.rate, "rate", 0, "operations per second in open-loop experiments (0: the experiment's own)")
	fl.DurationVar(&e.duration, "duration", 0, "time of a measured round (0: the experiment's own)")
	fl.IntVar(&e.rounds, "rounds", 0, "alternating rounds of each engine (0: the experiment's own)")
	fl.BoolVar(&e.short, "short", false, "a tenth of the sizes: shows that everything runs, measures nothing worth quoting")
	fl.Var(list{&e.texts}, "text", "file or directory to count in the main job instead of the Go source; may be repeated")
	fl.StringVar(&e.suffixes, "suffix", "", "with -text: only files whose names end so, commas between")
	fl.BoolVar(&e.pairs, "pairs", true, "main job: count pairs of neighbouring tokens too")
	fl.Var(count{&e.every}, "every", "main job: updates between two checkpoints")
	fl.IntVar(&e.kills, "kills", 1, "main job: how often the counting process is killed")
	fl.StringVar(&e.dir, "dir", "", "directory for the stores (empty: the system's temporary one)")
	fl.StringVar(&e.report, "report", "bench-report", "directory of the report")
	e.every = 1_000_000
	if err := fl.Parse(args); err != nil {
		return nil, err
	}
	if fl.NArg() > 0 {
		return nil, fmt.Errorf("bench: unexpected argument %q", fl.Arg(0))
	}
	if e.experiments == "" {
		e.experiments, e.quick = defaultExperiments, true
	}
	return e, e.interpret(dist, mix, engines, hot)
}

// interpret checks what the flags say and fills in lists.
func (e *env) interpret(dist, mix, engines string, hot workload.Dist) error {
	for _, d := range split(dist) {
		hot.Kind = d
		if err := hot.Validate(); err != nil {
			return err
		}
		e.dists = append(e.dists, hot)
	}
	for _, m := range split(mix) {
		x, err := workload.MixByName(m)
		if err != nil {
			return err
		}
		e.mixes = append(e.mixes, x)
	}
	for _, name := range split(engines) {
		if !contains(engineNames, name) {
			return fmt.Errorf("bench: engine %q is none of %s", name, strings.Join(engineNames, ", "))
		}
		e.engines = append(e.engines, name)
	}
	switch {
	case e.scale <= 0:
		return fmt.Errorf("bench: -scale %v is not positive", e.scale)
	case e.goroutines < 1:
		return fmt.Errorf("bench: -g %d is not positive", e.goroutines)
	case e.every < 1:
		return fmt.Errorf("bench: -every %d is not positive", e.every)
	case e.kills < 0:
		return fmt.Errorf("bench: -kills %d is negative", e.kills)
	case e.valueBytes < 0 || e.keyBytes < 0 || e.rounds < 0 || e.rate < 0 || e.duration < 0:
		return errors.New("bench: a size, rate, duration or number of rounds is negative")
	case e.dir != "":
		return os.MkdirAll(e.dir, 0o755)
	}
	return nil
}

func split(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// engineNames are the engines of package compare, in the order of reports.
var engineNames = []string{"hybridlog", "lsm", "appendlog", "memonly"}

// pick returns the engines asked for, of those that an experiment is about.
func (e *env) pick(of ...string) []string {
	if len(of) == 0 {
		of = engineNames
	}
	if len(e.engines) == 0 {
		return of
	}
	var out []string
	for _, n := range of {
		if contains(e.engines, n) {
			out = append(out, n)
		}
	}
	return out
}

// defaultExperiments are those of a run without flags.
const defaultExperiments = "mainjob,headtohead,snapshot-static,recovery-keys"

// n scales a size of an experiment: up by -scale, down by -short and in the default run.
func (e *env) n(size int) int {
	f := float64(size) * e.scale
	if e.quick {
		f /= 5
	}
	if e.short {
		f /= 10
	}
	return max(1, int(f))
}

// or returns what the flag says, or else the experiment's own.
func or[T comparable](flag, own T) T {
	var zero T
	if flag != zero {
		return flag
	}
	return own
}

// temp makes a directory for one store.
func (e *env) temp(name string) (string, error) { return os.MkdirTemp(e.dir, "bench-"+name+"-") }

// facts are what a reader needs to know about where the numbers come from.
func (e *env) facts(args []string) [][2]string {
	f := [][2]string{
		{"command", strings.TrimSpace("go run ./bench " + strings.Join(args, " "))},
		{"machine", fmt.Sprintf("%s/%s, %d CPUs%s, %s memory", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel(), memoryText())},
		{"Go", runtime.Version()},
	}
	if c := commit(); c != "" {
		f = append(f, [2]string{"commit", c})
	}
	if load := loadAverage(); load != "" {
		f = append(f, [2]string{"load average at the start", load})
	}
	return f
}

// loadAverage is how many processes have wanted a CPU in the last 1, 5 and 15 minutes; empty where the system does not say.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(b)); err == nil && len(f) >= 3 {
		return strings.Join(f[:3], " ")
	}
	return ""
}

// commit is the revision the program was built from, or the one of the work tree.
func commit() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(out))
	if st, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err == nil && len(st) > 0 {
		text += " with changes"
	}
	return text
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for _, line := range strings.Split(string(b), "\n") {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return " " + strings.TrimSpace(v)
		}
	}
	return ""
}

func memoryText() string {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(statusField(string(b), "MemTotal:"))/(1<<30))
}

// statusField reads a line such as "VmHWM:   123 kB" of the files under /proc, in bytes; 0 when there is none.
func statusField(text, name string) int64 {
	for _, line := range strings.Split(text, "\n") {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		if err == nil {
			return n << 10
		}
	}
	return 0
}
