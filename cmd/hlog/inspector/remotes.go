package inspector

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Remotes says how a remote is opened that is named SCHEME:REST, by scheme.
type Remotes map[string]Opener

// Opener opens the remotes of a scheme, which it is given the whole names of. Read opens one that is there, and Write one that
// versions are copied to, which may be empty.
type Opener struct {
	Read, Write func(ctx context.Context, name string) (checkpoint.Remote, error)
}

// Dir opens remotes that are directories: dir:PATH. Reading one that is not there is fs.ErrNotExist, for writing it is made.
func Dir() Opener {
	return Opener{
		Read: func(_ context.Context, name string) (checkpoint.Remote, error) {
			return checkpoint.NewDirRemoteOn(present{looking{fsx.OS()}}, strings.TrimPrefix(name, "dir:"))
		},
		Write: func(_ context.Context, name string) (checkpoint.Remote, error) {
			return checkpoint.NewDirRemote(strings.TrimPrefix(name, "dir:"))
		},
	}
}

// present is looking for a remote, which finds its directory there and may not lock it.
type present struct{ looking }

func (p present) MkdirAll(dir string) error {
	_, err := p.List(dir)
	return err
}

func (p present) SyncDir(string) error { return nil }

func (p present) Lock(dir string, _ bool) (release func() error, _ error) {
	return nil, refused("lock", dir)
}

// opener returns what opens the remote that name stands for; ok is false if it stands for a directory.
func (x *call) opener(name string) (o Opener, ok bool, err error) {
	scheme, rest, ok := strings.Cut(name, ":")
	o, known := x.remotes[scheme]
	if ok && !known && strings.HasPrefix(rest, "//") {
		err = fmt.Errorf("%s: this program knows no remotes of the kind %q; %w", name, scheme, errUsage)
	}
	return o, ok && known, err
}

// remote returns the remote that name stands for, to be read; nil if it stands for a directory.
func (x *call) remote(name string) (checkpoint.Remote, error) {
	o, ok, err := x.opener(name)
	if !ok || err != nil {
		return nil, err
	}
	return o.Read(x.ctx, name)
}

// lies returns a remote as a directory with all its versions, by whose path it is opened; nil if the argument is a directory.
func (x *call) lies() (d *checkpoint.RemoteDirectory, path string, err error) {
	remote, err := x.remote(x.args[0])
	if remote == nil || err != nil {
		return nil, x.args[0], err
	}
	if path, err = filepath.Abs(x.args[0]); err != nil {
		return nil, "", err
	}
	r, err := checkpoint.NewRemoteReader(x.ctx, remote, checkpoint.RemoteReaderOptions{})
	if err != nil {
		return nil, "", err
	}
	x.closeLater(r.Close)
	versions := r.Versions()
	if i := slices.Index(versions, r.Head()); i >= 0 { // the last one is current
		versions = append(slices.Delete(versions, i, i+1), r.Head())
	}
	d, err = r.Directory(x.ctx, path, versions...)
	return d, path, err
}

// closeLater has something closed when the command has ended.
func (x *call) closeLater(f func()) { x.closing = append(x.closing, f) }

func (x *call) closeAll() {
	for _, f := range slices.Backward(x.closing) {
		f()
	}
}
