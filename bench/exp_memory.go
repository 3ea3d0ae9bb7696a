package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/contest"
	"github.com/hybridlog/hybridlog/bench/internal/report"
	"github.com/hybridlog/hybridlog/compare"
)

// memoryFlag as first argument makes this program hold one engine and say how much memory that takes.
const memoryFlag = "-measured-process"

// memorySpec is what the process is told.
type memorySpec struct {
	Kind, Dir string
	Memory    int64
	Shape     contest.Shape
	Steps     []int // numbers of keys, ascending
}

// memoryLine is what it answers at each step.
type memoryLine struct {
	Keys     int
	Resident int64 // of the whole process
	Size     int64 // what the engine says
	Error    string
}

// runMemory measures resident memory, each engine alone in a process.
func runMemory(ctx context.Context, e *env) (*report.Section, error) {
	shape := e.shape(100_000, 8, 100)
	var steps []int
	for i := 1; i <= 9; i += 2 {
		steps = append(steps, i*e.n(100_000))
	}
	memory := e.engineMemory(64 << 20)
	s := &report.Section{Name: "memory", Title: "Memory and number of keys", Settings: fmt.Sprintf(
		"Keys and values of %d + %d bytes, %s given to each engine, one process each; resident set after returning what the Go heap does not need.",
		shape.KeyBytes, shape.ValueBytes, report.Bytes(memory))}
	fig := &report.Figure{Name: "memory", Title: "Resident memory", XLabel: "keys", YLabel: "MiB"}
	tab := &report.Table{Name: "memory", Title: s.Title, Header: []string{"keys", "engine", "resident", "of it above an empty process", "engine says", "data"}}
	engines := e.pick()
	e.progress.Step("memory")
	for i, kind := range engines {
		dir, err := e.temp("memory")
		if err != nil {
			return nil, err
		}
		lines, err := measureMemory(ctx, memorySpec{kind, dir, memory, shape, append([]int{0}, steps...)}, func(done int) {
			e.progress.At(float64(i)+float64(done)/float64(len(steps)+1), float64(len(engines)), kind)
		})
		if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
			return nil, failed(kind, err)
		}
		for _, l := range lines[1:] {
			fig.Line(kind).Point(float64(l.Keys), float64(l.Resident)/(1<<20))
			tab.Add(l.Keys, kind, report.Bytes(l.Resident), report.Bytes(l.Resident-lines[0].Resident), report.Bytes(l.Size),
				report.Bytes(int64(l.Keys)*int64(shape.KeyBytes+shape.ValueBytes)))
		}
	}
	data := fig.Line("keys and values")
	for _, n := range steps {
		data.Point(float64(n), float64(n)*float64(shape.KeyBytes+shape.ValueBytes)/(1<<20))
	}
	s.Tables, s.Figures = []*report.Table{tab}, []*report.Figure{fig}
	_ = tab.Markdown(e.out)
	return s, nil
}

// measureMemory runs one measured process to its end.
func measureMemory(ctx context.Context, spec memorySpec, after func(done int)) ([]memoryLine, error) {
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, memoryFlag, string(b))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var lines []memoryLine
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		var l memoryLine
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			continue
		}
		if l.Error != "" {
			return nil, errors.Join(errors.New(l.Error), cmd.Wait())
		}
		lines = append(lines, l)
		after(len(lines))
	}
	if err := cmd.Wait(); err != nil {
		return nil, err
	}
	if len(lines) != len(spec.Steps) {
		return nil, fmt.Errorf("%d of %d measurements came back", len(lines), len(spec.Steps))
	}
	return lines, nil
}

// runMeasured is the life of a measured process.
func runMeasured(spec string, out io.Writer) error {
	enc := json.NewEncoder(out)
	err := func() error {
		var m memorySpec
		if err := json.Unmarshal([]byte(spec), &m); err != nil {
			return err
		}
		engine, err := compare.Open(m.Kind, m.Dir, compare.Options{MemoryBytes: m.Memory})
		if err != nil {
			return err
		}
		d := contest.NewDriver(engine, m.Shape, 1)
		at := 0
		for _, n := range m.Steps {
			if err := d.Load(context.Background(), at, n-at, nil); err != nil {
				return errors.Join(err, engine.Close())
			}
			at = n
			line := memoryLine{Keys: n, Resident: leastResident(), Size: engine.Size()}
			if err := enc.Encode(line); err != nil {
				return errors.Join(err, engine.Close())
			}
		}
		return engine.Close()
	}()
	if err != nil {
		_ = enc.Encode(memoryLine{Error: err.Error()})
	}
	return err
}

// leastResident is the resident set after what can be given back was; 0 where the system does not say.
func leastResident() int64 {
	debug.FreeOSMemory()
	time.Sleep(20 * time.Millisecond)
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	return statusField(string(b), "VmRSS:")
}
