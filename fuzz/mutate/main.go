// Mutate breaks the code on purpose, one mistake at a time, in a copy of the module, and runs the test that has to
// notice: a test that passes all the same proves nothing. The mistakes are in list.go; each names the promise that it
// breaks and the test that catches it.
//
//	go run ./fuzz/mutate                  all mistakes, each with its test: an hour or two
//	go run ./fuzz/mutate seal overtaken   these
//	go run ./fuzz/mutate -hunt '-short ./hlog ./fuzz' seal
//	                                      this one, and which tests of the two packages notice
//	go run ./fuzz/mutate -table           prints the table of fuzz/README.md
//
// It fails when a mistake survives, when it does not compile although it should, and when the text to be replaced is not in the source
// exactly once. The last of these is a test of go test ./..., too.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	hunt := flag.String("hunt", "", "run go test with these arguments instead, and list the tests that fail")
	table := flag.Bool("table", false, "print the mistakes as a table in Markdown and do nothing")
	flag.Parse()
	if *table {
		fmt.Print(markdown(mutations))
		return
	}
	if err := run(*hunt, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// run checks the mutations of the given names; all without any.
func run(hunt string, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(mutations, func(m mutation) bool { return m.name == name }) {
			return fmt.Errorf("there is no mutation %q", name)
		}
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if err := copyModule(scratch, root); err != nil {
		return err
	}
	var survived []string
	var bad error
	for _, m := range mutations {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		caught, err := m.check(scratch, hunt)
		if err != nil {
			fmt.Printf("%-26s %v\n", m.name, err)
			bad = errors.Join(bad, fmt.Errorf("%s: %w", m.name, err))
		} else if !caught {
			survived = append(survived, m.name)
		}
	}
	if len(survived) > 0 {
		bad = errors.Join(bad, fmt.Errorf("%d mutations survived: %s", len(survived), strings.Join(survived, ", ")))
	}
	return bad
}

// moduleRoot returns the directory of the module that the working directory is in.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	name := strings.TrimSpace(string(out))
	if err != nil || name == "" || name == os.DevNull {
		return "", fmt.Errorf("not in a module: %w", err)
	}
	return filepath.Dir(name), nil
}

// copyModule copies the source of the module in root, hidden directories left out.
func copyModule(to, root string) error {
	return filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		switch {
		case err != nil:
			return err
		case d.IsDir() && rel != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
}

// apply returns the source with the mistake in it.
func (m mutation) apply(source []byte) ([]byte, error) {
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("%s has the text to be replaced %d times, not once: the list is out of date", m.file, n)
	}
	return bytes.Replace(source, []byte(m.old), []byte(m.new), 1), nil
}

// check makes the mistake in the copy of the module, runs the test, and takes it back.
func (m mutation) check(dir, hunt string) (caught bool, err error) {
	name := filepath.Join(dir, filepath.FromSlash(m.file))
	source, err := os.ReadFile(name)
	if err != nil {
		return false, err
	}
	mutant, err := m.apply(source)
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(name, mutant, 0o644); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.WriteFile(name, source, 0o644)) }()
	args := m.caught
	if hunt != "" {
		args = strings.Fields(hunt)
	}
	began := time.Now()
	failed, err := goTest(dir, args)
	switch {
	case m.refused && errors.Is(err, errDoesNotCompile):
		failed = []string{"the compiler"}
	case err != nil:
		return false, err
	case m.refused:
		failed = nil // a test is not what should have noticed
	}
	verdict := "caught by"
	if len(failed) == 0 {
		verdict = "SURVIVED"
	}
	fmt.Printf("%-26s %s %s (%v in all)\n", m.name, verdict, strings.Join(failed, ", "), time.Since(began).Round(100*time.Millisecond))
	return len(failed) > 0, nil
}

var errDoesNotCompile = errors.New("the mutant does not compile")

// event is a line that go test -json prints.
type event struct {
	Action, Package, Test, Output, FailedBuild string
	Elapsed                                    float64
}

// goTest runs go test in dir and returns what failed. That nothing could be tested is an error.
func goTest(dir string, args []string) (failed []string, err error) {
	c := exec.Command("go", append([]string{"test", "-json", "-count=1", "-timeout", "4m"}, args...)...)
	c.Dir = dir
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	ran := 0
	running := map[string]string{} // by package: the last test that began, to which a panic of the package belongs
	named := map[string]bool{}     // packages of which a test has failed by name
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		pkg := e.Package[strings.LastIndexByte(e.Package, '/')+1:]
		switch {
		case e.Action == "build-fail" || e.FailedBuild != "":
			return nil, errors.Join(errDoesNotCompile, c.Process.Kill(), c.Wait())
		case e.Action == "run":
			ran++
			running[pkg] = e.Test
		case e.Action == "fail" && e.Test == "" && !named[pkg]:
			failed = append(failed, fmt.Sprintf("%s.%s (ended in it, %.1f s)", pkg, running[pkg], e.Elapsed))
		case e.Action == "fail" && e.Test != "" && !strings.Contains(e.Test, "/"):
			named[pkg] = true
			failed = append(failed, fmt.Sprintf("%s.%s %.1f s", pkg, e.Test, e.Elapsed))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	c.Wait() // it fails when a test does
	if ran == 0 {
		return nil, fmt.Errorf("go test %s ran no test", strings.Join(args, " "))
	}
	return failed, nil
}

// by says what has to notice the mistake.
func (m mutation) by() string {
	if m.refused {
		return "go vet " + m.caught[0]
	}
	return strings.Join(m.caught, " ")
}

// markdown returns a table of mutations.
func markdown(ms []mutation) string {
	var b strings.Builder
	b.WriteString("| mutation | rule | the code does not | in | caught by |\n|---|---|---|---|---|\n")
	for _, m := range ms {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | `%s` |\n", m.name, m.rule, m.what, m.file, m.by())
	}
	return b.String()
}
