package inspector

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/hlog"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// attempts is how often a directory is opened: a store that is in use may replace the files of a version meanwhile.
const attempts = 5

// open opens the store for reading, at x.version or the current one.
func (x *call) open() (s *hlog.Store, err error) {
	err = x.retry(func() error {
		s, err = x.openOnce()
		return x.explain(x.version, err)
	})
	return s, err
}

func (x *call) openOnce() (*hlog.Store, error) {
	var files fsx.FS = looking{x.fs}
	d, path, err := x.lies()
	if err != nil {
		return nil, err
	}
	if d != nil {
		files = d
	}
	return hlog.Open(path, &hlog.Options{
		ReadOnly: true, FS: files, MemoryBytes: 64 << 20, Version: checkpoint.Version(x.version),
	})
}

// openView opens the store and the version that is asked for.
func (x *call) openView() (s *hlog.Store, v *hlog.View, err error) {
	err = x.retry(func() error {
		if s, err = x.openOnce(); err != nil {
			return x.explain(x.version, err)
		}
		at := x.version
		if c, ok := s.Current(); ok && at == 0 {
			at = uint64(c.Version)
		}
		if v, err = s.OpenVersion(x.ctx, checkpoint.Version(at)); err != nil {
			err = errors.Join(x.explain(at, err), s.Close())
		}
		return err
	})
	return s, v, err
}

// retry calls try until what it comes upon is something else than files that a store in use has replaced meanwhile.
func (x *call) retry(try func() error) (err error) {
	for range attempts {
		if x.before, err = x.manifests(); err != nil {
			return err
		}
		if err = try(); !errors.Is(err, errReplaced) {
			return err
		}
	}
	return err
}

// view opens the store and the version that is asked for.
func (x *call) view(do func(*hlog.View) error) error {
	if remote, err := x.remote(x.args[0]); err != nil {
		return err
	} else if remote != nil && x.since == 0 {
		v, err := hlog.OpenRemote(x.ctx, remote, checkpoint.Version(x.version), &hlog.Options{MemoryBytes: 64 << 20})
		if err != nil {
			return err
		}
		defer v.Close()
		return do(v)
	}
	s, v, err := x.openView()
	if err != nil {
		return err
	}
	defer s.Close()
	defer v.Close()
	return x.explain(uint64(v.Info().Version), do(v))
}

// explain tells damage from what a store in use has taken away while version v was opened or read: it has purged the version,
// or merged index files and removed the old ones. 0 stands for a version that is not known, because opening has failed. Of a
// remote its reader tells by itself.
func (x *call) explain(v uint64, err error) error {
	if !errors.Is(err, hlog.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, far, _ := x.opener(x.args[0]); far {
		return err
	}
	now, failed := x.manifests()
	if failed != nil {
		return errors.Join(err, failed)
	}
	name := x.manifest(fmt.Sprintf("%016x", v))
	is, there := now[name]
	was, before := x.before[name]
	switch {
	case v == 0 && maps.Equal(now, x.before), v != 0 && there && before && is == was:
		return err
	case v != 0 && !there && v == x.version:
		return fmt.Errorf("%w: %d was purged while it was read", hlog.ErrVersionNotFound, v)
	}
	return fmt.Errorf("%w: %v", errReplaced, err)
}

// errReplaced says that what looked like damage may be none.
var errReplaced = errors.New("the store has replaced files while they were read; try again")

// manifests returns what the manifest files hold, by name.
func (x *call) manifests() (map[string]string, error) {
	files, err := filepath.Glob(x.manifest("*"))
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		all[f] = string(b)
	}
	return all, err
}

// say writes v as JSON, or the line.
func (x *call) say(v any, format string, args ...any) error {
	if x.json {
		return json.NewEncoder(x.out).Encode(v)
	}
	_, err := fmt.Fprintf(x.out, format, args...)
	return err
}

func (x *call) info() error {
	s, err := x.open()
	if err != nil {
		return err
	}
	defer s.Close()
	all, err := s.Versions()
	if err != nil {
		return err
	}
	line := struct {
		Place           string
		Versions        int
		Current         uint64
		LogBytes, Bytes int64 // of the current version; of all files that versions need
	}{Place: x.args[0], Versions: len(all)}
	if c, ok := s.Current(); ok {
		line.Current, line.LogBytes = uint64(c.Version), c.LogBytes
		line.Bytes = c.LogBytes + c.ImageBytes
		for _, i := range all {
			if i.Version != c.Version {
				line.Bytes += i.ExclusiveBytes
			}
		}
	}
	return x.say(line, "place      %s\nversions   %d\ncurrent    %d\nlog        %d bytes\nin all     %d bytes at least\n",
		line.Place, line.Versions, line.Current, line.LogBytes, line.Bytes)
}

// verify opens every version, and reads all of it with -deep. A store in use may purge a version meanwhile: that is told, and is
// a failure only if that version was asked for.
func (x *call) verify() error {
	var c *hlog.CorruptionError
	if s, err := x.open(); err == nil {
		s.Close()
	} else if !errors.As(err, &c) {
		return err
	} else if name := filepath.Base(c.File); name == "STORE" || name == "HEAD" { // else the version has it
		if err := x.name(0, c, "the directory does not open without Options.Version"); err != nil {
			return err
		}
	}
	ids, err := x.ids()
	asked := checkpoint.Version(x.version)
	if err == nil && asked != 0 && !slices.Contains(ids, asked) {
		err = fmt.Errorf("%w: %d", hlog.ErrVersionNotFound, asked)
	}
	for _, v := range ids {
		if err == nil && (asked == 0 || v == asked) {
			err = x.verifyVersion(v)
		}
		if asked == 0 && errors.Is(err, hlog.ErrVersionNotFound) {
			err = x.purged(v)
		}
	}
	return err
}

// purged says that a version went while it was about to be read.
func (x *call) purged(v checkpoint.Version) error {
	line := struct {
		Version uint64
		Purged  bool
	}{uint64(v), true}
	return x.say(line, "version %d: was purged meanwhile\n", v)
}

// ids returns the versions that the directory has manifests of, damaged ones included.
func (x *call) ids() (ids []checkpoint.Version, err error) {
	d, _, err := x.lies()
	if err != nil {
		return nil, err
	}
	if d != nil {
		return d.Versions(), nil
	}
	files, err := filepath.Glob(x.manifest("*"))
	for _, f := range files {
		name := filepath.Base(f)
		if n, err := strconv.ParseUint(name[:len(name)-len(".manifest")], 16, 64); err == nil {
			ids = append(ids, checkpoint.Version(n))
		}
	}
	return ids, err
}

func (x *call) manifest(id string) string {
	return filepath.Join(x.args[0], "versions", id+".manifest")
}

// damageLine is how a damage is shown.
type damageLine struct {
	Version uint64
	File    string
	Offset  int64
	Reason  string
	Costs   string
}

func (x *call) name(v checkpoint.Version, c *hlog.CorruptionError, costs string) error {
	x.damaged = true
	d := damageLine{uint64(v), c.File, c.Offset, c.Reason, costs}
	return x.say(d, "version %d: damaged: %s at %d: %s; %s\n", v, d.File, d.Offset, d.Reason, d.Costs)
}

func (x *call) verifyVersion(v checkpoint.Version) error {
	at := *x
	at.version = uint64(v)
	s, w, err := at.openView()
	var c *hlog.CorruptionError
	switch {
	case errors.As(err, &c):
		return x.name(v, c, "the version cannot be opened")
	case err != nil:
		return err
	}
	defer s.Close()
	defer w.Close()
	done := struct {
		Version  uint64
		Whole    bool
		LogBytes int64 // that were read and found whole
	}{Version: uint64(v), Whole: true}
	if x.deep {
		var failed error
		fmt.Fprintf(x.errOut, "version %d: reading %d bytes …\n", v, w.Size())
		stop := x.follow(progressEvery, "verified", w.Info().LogBytes, w.Verified)
		done.LogBytes, err = w.Verify(x.ctx, func(d hlog.Damage) {
			costs := "keys of that part of the index cannot be read"
			if d.LogBytes > 0 {
				costs = fmt.Sprintf("records in up to %d bytes of log cannot be read, nor what chains lead to through them", d.LogBytes)
			}
			if err := at.explain(at.version, d.CorruptionError); !errors.Is(err, hlog.ErrCorrupt) {
				failed = err
				return
			}
			done.Whole = false
			failed = errors.Join(failed, x.name(v, d.CorruptionError, costs))
		})
		stop()
		if err = errors.Join(err, failed); err != nil {
			return err
		}
	}
	if !done.Whole {
		return nil
	}
	if x.deep {
		return x.say(done, "version %d: whole, %d bytes of log\n", v, done.LogBytes)
	}
	return x.say(done, "version %d: opens\n", v)
}

// text shows a key or a value.
func (x *call) text(b []byte) string {
	if x.hex {
		return hex.EncodeToString(b)
	}
	return strconv.Quote(string(b))
}

func (x *call) get() error {
	key := []byte(x.args[1])
	if x.hex {
		var err error
		if key, err = hex.DecodeString(x.args[1]); err != nil {
			return fmt.Errorf("key %q: %w; %w", x.args[1], err, errUsage)
		}
	}
	return x.view(func(v *hlog.View) error {
		value, err := v.Get(nil, key)
		if err != nil {
			return err
		}
		return x.say(pair{key, value}, "%s\n", x.text(value))
	})
}

type pair struct{ Key, Value []byte }

func (x *call) scan() error {
	return x.view(func(v *hlog.View) error {
		var failed error
		err := v.Scan(x.ctx, func(key, value []byte) bool {
			failed = x.say(pair{key, value}, "%s %s\n", x.text(key), x.text(value))
			return failed == nil
		})
		return errors.Join(err, failed)
	})
}

func (x *call) diff() error {
	var ids [2]checkpoint.Version
	for i := range ids {
		n, err := strconv.ParseUint(x.args[1+i], 10, 64)
		if err != nil {
			return fmt.Errorf("version %q: %w; %w", x.args[1+i], err, errUsage)
		}
		ids[i] = checkpoint.Version(n)
	}
	s, err := x.open()
	if err != nil {
		return err
	}
	defer s.Close()
	var failed error
	err = s.Changes(x.ctx, ids[0], ids[1], func(c hlog.Change) bool {
		if c.Deleted {
			failed = x.say(c, "- %s\n", x.text(c.Key))
		} else {
			failed = x.say(c, "+ %s %s\n", x.text(c.Key), x.text(c.Value))
		}
		return failed == nil
	})
	err = errors.Join(err, failed)
	for _, v := range ids {
		if v != 0 {
			err = x.explain(uint64(v), err)
		}
	}
	return err
}

// progress is a writer that keeps nothing, and tells every few seconds how much has passed.
type progress struct {
	x    *call
	what string
	all  int64 // 0: not known
	done int64
	told time.Time
}

func (p *progress) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}

func (p *progress) add(n int64) {
	if p.done += n; time.Since(p.told) < progressEvery {
		return
	}
	p.told = time.Now()
	p.tell()
}

func (p *progress) tell() {
	if p.all > 0 {
		fmt.Fprintf(p.x.errOut, "%s: %d of %d MiB\n", p.what, p.done>>20, p.all>>20)
	} else {
		fmt.Fprintf(p.x.errOut, "%s: %d MiB\n", p.what, p.done>>20)
	}
}

// progressEvery is how often progress is told.
const progressEvery = 2 * time.Second

// follow tells how much done says of all has passed, until it is stopped. Nothing else is written to errOut meanwhile.
func (x *call) follow(every time.Duration, what string, all int64, done func() int64) (stop func()) {
	ended, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				(&progress{x: x, what: what, all: all, done: done()}).tell()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		close(ended)
		<-over
	}
}

// moved is how an export or import is shown.
type moved struct {
	Version, Since uint64
	Bytes          int64
}

func (x *call) export() error {
	return x.view(func(v *hlog.View) (err error) {
		to, report := x.out, x.errOut
		if len(x.args) > 1 {
			f, openErr := os.OpenFile(x.args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if openErr != nil {
				return openErr
			}
			defer func() {
				if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
					err = errors.Join(err, os.Remove(x.args[1])) // the next try finds nothing in its way
				}
			}()
			to, report = f, x.out
		}
		passed := &progress{x: x, what: "written", told: time.Now()}
		if x.since == 0 {
			passed.all = v.Size()
		}
		n, err := v.WriteDelta(io.MultiWriter(to, passed), checkpoint.Version(x.since))
		if err != nil {
			return err
		}
		m := moved{uint64(v.Info().Version), x.since, n}
		if x.json {
			return json.NewEncoder(report).Encode(m)
		}
		_, err = fmt.Fprintf(report, "version %d: %d bytes\n", m.Version, m.Bytes)
		return err
	})
}

func (x *call) import_() error {
	if _, ok, err := x.opener(x.args[0]); ok || err != nil {
		return errors.Join(err, fmt.Errorf("import into %s: a stream becomes a directory, whose versions hlog copy takes to a remote; %w", x.args[0], errUsage))
	}
	from := x.in
	if len(x.args) > 1 {
		f, err := os.Open(x.args[1])
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	passed := &progress{x: x, what: "read", told: time.Now()}
	info, err := hlog.Import(x.ctx, x.args[0], io.TeeReader(from, passed))
	if err != nil {
		return err
	}
	return x.say(moved{uint64(info.Version), 0, passed.done}, "version %d: %d bytes\n", info.Version, passed.done)
}

// copy is export and import in one, or the copying of versions to a remote.
func (x *call) copy() error {
	if to, ok, err := x.opener(x.args[1]); ok || err != nil {
		return errors.Join(err, x.copyToRemote(to))
	}
	if x.over {
		return fmt.Errorf("copy to %s: -over is for remotes; %w", x.args[1], errUsage)
	}
	return x.view(func(v *hlog.View) error {
		from, to := io.Pipe()
		passed := &progress{x: x, what: "copied", told: time.Now()}
		go func() {
			_, err := v.WriteDelta(to, checkpoint.Version(x.since))
			to.CloseWithError(err)
		}()
		info, err := hlog.Import(x.ctx, x.args[1], io.TeeReader(from, passed))
		from.CloseWithError(err) // whoever writes ends, and the view waits for that
		if err != nil {
			return err
		}
		return x.say(moved{uint64(info.Version), x.since, passed.done}, "version %d: %d bytes\n", info.Version, passed.done)
	})
}
