// Package inspector is the commands of the program hlog, which looks into the directory of a store, in use or not, or into a
// remote, and moves versions. It changes no byte of what it looks into and takes no lock; only import and copy write, into a
// directory of their own, or a remote that versions are copied to. It is a package so that each program says which kinds of remotes it knows, and what it depends on.
package inspector

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Exit codes.
const (
	exitFine     = 0
	exitFailed   = 1 // the disk, an argument that is no store, a context that ended
	exitUsage    = 2
	exitDamaged  = 3 // something is damaged
	exitNotFound = 4 // there is no such key or version
)

// command is one verb.
type command struct {
	name, args, what string
	min, max         int // arguments
	flags            []string
	run              func(*call) error
}

var commands = []command{
	{"info", "PLACE", "what a store holds", 1, 1, nil, (*call).info},
	{"versions", "PLACE", "the versions, oldest first, with their cookies, and with -remote where each lies", 1, 1, []string{"remote"}, (*call).versions},
	{"verify", "PLACE", "whether versions can be opened, or with -deep every byte of them", 1, 1, []string{"version", "deep"}, (*call).verify},
	{"get", "PLACE KEY", "the value of a key", 2, 2, []string{"version", "hex"}, (*call).get},
	{"scan", "PLACE", "all keys and values, in no particular order", 1, 1, []string{"version", "hex"}, (*call).scan},
	{"diff", "PLACE FROM TO", "what keys version TO has changed against version FROM", 3, 3, []string{"hex"}, (*call).diff},
	{"export", "PLACE [FILE]", "a version as a stream, to standard output without FILE", 1, 2, []string{"version", "since"}, (*call).export},
	{"copy", "PLACE DIR", "a version of it becomes that of a directory, as export and import do it", 2, 2, []string{"version", "since"}, (*call).copy},
	{"copy", "PLACE REMOTE", "all versions, or one, come to a remote: what it lacks of them. It opens where PLACE does then. No store may be writing to it", 2, 2, []string{"version", "over"}, (*call).copy},
	{"import", "DIR [FILE]", "a directory out of a stream, or a later version for one", 1, 2, nil, (*call).import_},
}

// call is one run of a command.
type call struct {
	ctx         context.Context
	fs          fsx.FS
	remotes     Remotes
	closing     []func() // what is closed in the end, last first
	in          io.Reader
	out, errOut io.Writer
	args        []string
	json        bool
	version     uint64
	since       uint64
	beside      string // a remote
	deep, hex   bool
	over        bool
	damaged     bool              // something is, and was named
	before      map[string]string // the manifests, before the directory was opened
}

// errUsage is carried by errors about arguments.
var errUsage = errors.New("see hlog help")

// Run does what the arguments say, and returns the exit code.
func Run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer, remotes Remotes) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		help(out)
		return exitFine
	}
	for _, c := range commands {
		if c.name == args[0] {
			return do(c, &call{ctx: ctx, fs: fsx.OS(), remotes: remotes, in: in, out: out, errOut: errOut}, args[1:])
		}
	}
	fmt.Fprintf(errOut, "hlog: there is no command %q; %v\n", args[0], errUsage)
	return exitUsage
}

func do(c command, x *call, args []string) int {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&x.json, "json", false, "")
	for _, name := range flagsOf(c.name) {
		switch name {
		case "version":
			f.Uint64Var(&x.version, name, 0, "")
		case "since":
			f.Uint64Var(&x.since, name, 0, "")
		case "remote":
			f.StringVar(&x.beside, name, "", "")
		case "deep":
			f.BoolVar(&x.deep, name, false, "")
		case "over":
			f.BoolVar(&x.over, name, false, "")
		case "hex":
			f.BoolVar(&x.hex, name, false, "")
		}
	}
	err := f.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(x.out)
		return exitFine
	}
	x.args = f.Args()
	if err == nil && (len(x.args) < c.min || len(x.args) > c.max) {
		err = fmt.Errorf("%s takes %s", c.name, c.args)
	}
	if err != nil {
		fmt.Fprintf(x.errOut, "hlog %s: %v; %v\n", c.name, err, errUsage)
		return exitUsage
	}
	err = c.run(x)
	x.closeAll()
	if err != nil {
		fmt.Fprintf(x.errOut, "hlog %s: %v\n", c.name, err)
	}
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errReplaced):
		return exitFailed
	case errors.Is(err, hlog.ErrCorrupt), err == nil && x.damaged:
		return exitDamaged
	case errors.Is(err, hlog.ErrNotFound), errors.Is(err, hlog.ErrVersionNotFound):
		return exitNotFound
	case err != nil:
		return exitFailed
	}
	return exitFine
}

// flagsOf returns the flags of a command in all its forms.
func flagsOf(name string) (flags []string) {
	for _, c := range commands {
		if c.name == name {
			flags = append(flags, c.flags...)
		}
	}
	slices.Sort(flags)
	return slices.Compact(flags)
}

func help(out io.Writer) {
	var b strings.Builder
	b.WriteString("hlog looks into a store, in use or not, and changes nothing in it. PLACE is its directory, or a remote.\n\n")
	for _, c := range commands {
		flags := ""
		for _, f := range c.flags {
			flags += map[string]string{"version": "[-version V] ", "since": "[-since V] ", "remote": "[-remote REMOTE] ", "deep": "[-deep] ", "hex": "[-hex] ", "over": "[-over] "}[f]
		}
		fmt.Fprintf(&b, "  hlog %s [-json] %s%s\n        %s\n", c.name, flags, c.args, c.what)
	}
	b.WriteString(`
  dir:PATH     the remote that is this directory; other remotes are URLs, as far as the program knows their kind
  -version V   the version to read; 0, the default, is the one that it opens at
  -since V     write only what a directory at version V lacks
  -remote R    the versions of a directory and those of a remote, and which lies where: here, remote, both
  -deep        read every byte of the versions, the dead ones too, and name what is damaged and what that costs
  -over        the remote moves even from a version that PLACE does not have: purged there after a rollback, or another's
  -hex         keys and values are hexadecimal, those of arguments, too; without it they are quoted like in Go
  -json        one JSON object per line; keys and values in base64

Exit codes: 0 fine; 1 failed; 2 wrong arguments; 3 something is damaged; 4 no such key or version.

Examples:
  hlog info /data/store
  hlog versions /data/store
  hlog versions -remote dir:/backup/store /data/store
  hlog verify -deep /data/store
  hlog export /data/store | ssh elsewhere hlog import /data/copy
  hlog get dir:/backup/store key
  hlog scan -json -version 12 /data/store
  hlog diff /data/store 7 12
  hlog copy -version 12 dir:/backup/store /data/old
  hlog copy /data/store dir:/backup/other
  hlog export -since 7 /data/store delta && hlog import /data/copy delta
`)
	io.WriteString(out, b.String())
}
