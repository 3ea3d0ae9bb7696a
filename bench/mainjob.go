package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/bench/internal/workload"
)

// childFlag as first argument makes this program a counting process; the second is its jobSpec.
const childFlag = "-counting-process"

// mainJob is the parent's view of the job.
type mainJob struct {
	env      *env
	spec     jobSpec
	source   *workload.Source
	counted  tally         // the independent count
	counting time.Duration // that it took
	total    int64         // updates it took
	tokens   int64         // of them single tokens

	lives []life
	first time.Time // when the first life began
}

// life is one counting process, from its start until it was killed or ended.
type life struct {
	started     time.Time
	open        event
	progress    []event
	checkpoints []event
	done        event
	killed      bool
	lost        int64 // updates past the last durable version when it was killed
	lasted      time.Duration
}

// runMainJob counts every token of the input in a store with too little memory, with a kill in the middle, and proves
// every count.
func runMainJob(ctx context.Context, e *env) (*report.Section, error) {
	began := time.Now()
	j := &mainJob{env: e}
	if err := j.prepare(); err != nil {
		return nil, err
	}
	defer os.RemoveAll(j.spec.Dir)
	if err := j.work(ctx); err != nil {
		return nil, err
	}
	proof, err := j.prove(ctx)
	if err != nil {
		return nil, err
	}
	s := j.section(proof)
	s.Took = time.Since(began)
	return s, nil
}

// work has the counting processes count, and counts in this one beside them.
func (j *mainJob) work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	counted := make(chan error, 1)
	go func() { counted <- j.countIndependently(ctx) }()
	var err error
	for n, killed := 0, true; killed && err == nil; n++ {
		var l life
		l, err = j.live(ctx, n < j.env.kills)
		j.lives, killed = append(j.lives, l), l.killed
	}
	if err != nil {
		cancel()
	}
	err = errors.Join(err, <-counted)
	cancel()
	if err != nil {
		return err
	}
	j.env.progress.Say("independent count: %s tokens, %s updates, %s distinct keys in %s files (%s)", report.Thousands(j.tokens),
		report.Thousands(j.total), report.Thousands(int64(len(j.counted.counts))), report.Thousands(int64(len(j.source.Files))),
		report.Duration(j.counting))
	if made := j.lives[len(j.lives)-1].done.Updates; made != j.total {
		return fmt.Errorf("wrong: the counting processes made %d updates, the text has %d", made, j.total)
	}
	return nil
}

func (j *mainJob) prepare() error {
	e := j.env
	paths, suffixes, err := e.input()
	if err != nil {
		return err
	}
	if j.source, err = workload.OpenSource(paths, suffixes); err != nil {
		return err
	}
	share := 1.0
	if e.short {
		share = 0.1
	}
	j.source.Limit(share)
	dir, err := os.MkdirTemp(e.dir, "mainjob-")
	if err != nil {
		return err
	}
	memory := e.memory
	if memory == 0 {
		memory = defaultJobMemory
		if !e.pairs {
			memory = 8 << 20
		}
		if e.short {
			memory = 8 << 20
		}
	}
	j.spec = jobSpec{Dir: dir, Paths: paths, Suffixes: suffixes, Share: share, Pairs: e.pairs, Memory: memory,
		Workers: e.goroutines, Every: e.every, Group: 256}
	if e.short {
		j.spec.Every = e.every / 10
	}
	return nil
}

// input is what the flags say is to be read: absolute paths and the suffixes of files, the Go source when they say nothing.
func (e *env) input() (paths []string, suffixes string, err error) {
	if len(e.texts) == 0 {
		src, err := workload.GoSource()
		return []string{src}, ".go", err
	}
	for _, p := range e.texts {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, "", err
		}
		paths = append(paths, abs)
	}
	return paths, e.suffixes, nil
}

// defaultJobMemory is the store's memory in the main job with pairs: well below what two million counters need.
const defaultJobMemory = 48 << 20

// countIndependently makes the count that the store's is held against, with nothing but a Go map.
func (j *mainJob) countIndependently(ctx context.Context) error {
	began := time.Now()
	j.counted = tally{number: map[string]uint32{}}
	var text []byte
	for _, f := range j.source.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if text, err = readFile(text, f.Path); err != nil {
			return err
		}
		workload.Counts(text, j.spec.Pairs, func(key []byte) {
			j.total++
			if !workload.IsPair(key) {
				j.tokens++
			}
			j.counted.add(key)
		})
	}
	j.counting = time.Since(began)
	return nil
}

// stateBytes is what the counters take in the log, each once: header, key and value, aligned.
func (j *mainJob) stateBytes() int64 {
	var n int64
	for k := range j.counted.number {
		n += int64(16+len(k)+8+7) &^ 7
	}
	return n
}

// live runs one counting process. With kill it is killed without warning once it is past the middle of what was left
// to do when it began and has made two versions durable.
func (j *mainJob) live(ctx context.Context, kill bool) (life, error) {
	spec, err := json.Marshal(j.spec)
	if err != nil {
		return life{}, err
	}
	exe, err := os.Executable()
	if err != nil {
		return life{}, err
	}
	cmd := exec.CommandContext(ctx, exe, childFlag, string(spec))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return life{}, err
	}
	l := life{started: time.Now()}
	if j.first.IsZero() {
		j.first = l.started
	}
	j.env.progress.Step("counting process %d, %s of text", len(j.lives)+1, report.Bytes(j.source.Bytes))
	if err := cmd.Start(); err != nil {
		return l, err
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var failure string
	for lines.Scan() {
		var ev event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			continue // the line that the kill cut short
		}
		if ev.Kind == "error" {
			failure = ev.Text
		}
		j.saw(&l, ev)
		half := (l.open.Bytes + j.source.Bytes) / 2
		if kill && ev.Kind == "progress" && ev.Bytes >= half && len(l.checkpoints) >= 2 {
			if err := cmd.Process.Kill(); err != nil {
				return l, fmt.Errorf("killing the counting process: %w", err)
			}
			l.killed = true
			break
		}
	}
	err = cmd.Wait()
	l.lasted = time.Since(l.started)
	return l, j.ended(&l, err, failure)
}

// saw takes in one event.
func (j *mainJob) saw(l *life, ev event) {
	p := j.env.progress
	switch ev.Kind {
	case "open":
		l.open = ev
		if ev.Version > 0 {
			p.Say("recovered version %d: open %s, first read after %s; going on at update %s", ev.Version,
				report.Duration(time.Duration(ev.Open)), report.Duration(time.Duration(ev.FirstRead)), report.Thousands(ev.Updates))
		}
	case "progress":
		l.progress = append(l.progress, ev)
		rate := float64(ev.Updates-l.open.Updates) / (float64(ev.Nanos) / 1e9)
		p.At(float64(ev.Bytes), float64(j.source.Bytes), fmt.Sprintf("%s updates, %s, %d versions",
			report.Thousands(ev.Updates), report.Rate(rate), len(l.checkpoints)))
	case "checkpoint":
		l.checkpoints = append(l.checkpoints, ev)
	case "done":
		l.done = ev
	}
}

// ended judges how the process came to its end.
func (j *mainJob) ended(l *life, err error, failure string) error {
	p := j.env.progress
	if l.killed {
		last := l.checkpoints[len(l.checkpoints)-1]
		l.lost = l.progress[len(l.progress)-1].Updates - last.Cut
		p.Done("killed with SIGKILL after %s updates, version %d durable", report.Thousands(l.progress[len(l.progress)-1].Updates), last.Version)
		return nil
	}
	switch {
	case failure != "":
		return fmt.Errorf("counting process: %s", failure)
	case err != nil:
		return fmt.Errorf("counting process: %w", err)
	case l.done.Kind == "":
		return errors.New("counting process ended without a word")
	}
	p.Done("counted: %s updates, %d versions in this process", report.Thousands(l.done.Updates), len(l.checkpoints))
	return nil
}
