package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hybridlog/hybridlog/bench/internal/report"
)

// progress shows how far a long step is: one line that is rewritten on a terminal, a line every few seconds elsewhere.
// It is safe for concurrent use.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	width    int // of the line that is on the terminal now
	last     time.Time
	begin    time.Time
	step     string
}

func newProgress(out *os.File) *progress {
	st, err := out.Stat()
	return &progress{out: out, terminal: err == nil && st.Mode()&os.ModeCharDevice != 0, begin: time.Now()}
}

// Step begins a step; its time and what is left of it are counted from here.
func (p *progress) Step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step, p.begin, p.last = fmt.Sprintf(format, args...), time.Now(), time.Time{}
	if !p.terminal {
		fmt.Fprintf(p.out, "%s …\n", p.step)
		p.last = time.Now()
	} else {
		p.show(p.step + " …")
	}
}

// At says that done of total units of the step are over; note is shown behind it.
func (p *progress) At(done, total float64, note string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := 5 * time.Second
	if p.terminal {
		pause = 100 * time.Millisecond
	}
	if time.Since(p.last) < pause || total <= 0 {
		return
	}
	p.last = time.Now()
	share := min(1, done/total)
	eta := ""
	if el := time.Since(p.begin); share > 0.02 && el > time.Second {
		eta = fmt.Sprintf(", about %v left", time.Duration(float64(el)*(1-share)/share).Round(time.Second))
	}
	const cells = 24
	full := int(share * cells)
	line := fmt.Sprintf("%s [%s%s] %3.0f %%%s  %s", p.step, strings.Repeat("#", full), strings.Repeat(".", cells-full),
		share*100, eta, note)
	if p.terminal {
		p.show(line)
	} else {
		fmt.Fprintln(p.out, line)
	}
}

// show replaces the line on the terminal.
func (p *progress) show(line string) {
	n := len([]rune(line))
	fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-n)))
	p.width = n
}

// Done ends the step and leaves one line of what came out of it.
func (p *progress) Done(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf(format, args...) + fmt.Sprintf(" (%s)", report.Duration(time.Since(p.begin)))
	if p.terminal {
		p.show(line)
		p.width = 0
	} else {
		fmt.Fprint(p.out, line)
	}
	fmt.Fprintln(p.out)
}

// Say prints a line that stays.
func (p *progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if p.terminal && p.width > 0 {
		p.show(line)
		p.width = 0
		fmt.Fprintln(p.out)
		return
	}
	fmt.Fprintln(p.out, line)
}
