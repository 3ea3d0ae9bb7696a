package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
)

func main() {
	if asChild() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// asChild does the work of a process that this program started, when this is one, and reports whether it is.
func asChild() bool {
	if len(os.Args) != 3 {
		return false
	}
	work := map[string]func(string, io.Writer) error{childFlag: runChild, memoryFlag: runMeasured}[os.Args[1]]
	if work == nil {
		return false
	}
	if work(os.Args[2], os.Stdout) != nil {
		os.Exit(1) // the parent was told why
	}
	return true
}

// run does what the arguments ask for.
func run(ctx context.Context, args []string) error {
	e, err := parse(args, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	if e.experiments == "list" {
		for _, x := range experiments {
			fmt.Fprintf(e.out, "%-20s %s\n", x.name, x.title)
		}
		return nil
	}
	todo, err := choose(e.experiments)
	if err != nil {
		return err
	}
	return e.runAll(ctx, todo, args)
}

// runAll runs the experiments and writes the report. An experiment that fails does not keep the others from running, nor the
// report from being written; it makes the program fail at its end.
func (e *env) runAll(ctx context.Context, todo []experiment, args []string) error {
	r := &report.Report{Title: "HybridLog, measured", Created: e.began, Facts: e.facts(args)}
	var failed []error
	var spent []string
	for i, x := range todo {
		if len(todo) > 1 {
			e.progress.Say("--- %s (%d of %d): %s", x.name, i+1, len(todo), x.title)
		}
		t, cpu := time.Now(), contest.CPUTime()
		s, err := x.run(ctx, e)
		spent = append(spent, fmt.Sprintf("%s %s (CPU %s)", x.name, report.Duration(time.Since(t)), report.Duration(contest.CPUTime()-cpu)))
		if s != nil {
			if s.Took == 0 {
				s.Took = time.Since(t)
			}
			r.Sections = append(r.Sections, s)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("bench: %s: %w", x.name, err))
			e.progress.Say("%s failed: %v", x.name, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if load := loadAverage(); load != "" {
		r.Facts = append(r.Facts, [2]string{"load average at the end", load})
	}
	if len(r.Sections) > 0 {
		r.Answers = answers(r.Sections)
		if p := properties(r.Sections); p != nil {
			r.Sections = append([]*report.Section{p}, r.Sections...)
		}
		page, err := r.Write(e.report)
		if err != nil {
			failed = append(failed, err)
		} else {
			e.progress.Say("report: %s (%s in all)", page, report.Duration(time.Since(e.began)))
		}
	}
	e.progress.Say("time: %s; load average %s", strings.Join(spent, ", "), or(loadAverage(), "unknown"))
	return errors.Join(failed...)
}

// experiment is something that can be run by name.
type experiment struct {
	name  string
	title string
	run   func(context.Context, *env) (*report.Section, error)
}

// choose turns a list of names into experiments, in the order given; all is every one in the order of the table.
func choose(names string) ([]experiment, error) {
	if names == "all" {
		return experiments, nil
	}
	var out []experiment
	for _, name := range split(names) {
		found := false
		for _, x := range experiments {
			if x.name == name {
				out = append(out, x)
				found = true
			}
		}
		if !found {
			var known []string
			for _, x := range experiments {
				known = append(known, x.name)
			}
			return nil, fmt.Errorf("bench: experiment %q is none of %s", name, strings.Join(known, ", "))
		}
	}
	if len(out) == 0 {
		return nil, errors.New("bench: no experiment named")
	}
	return out, nil
}
