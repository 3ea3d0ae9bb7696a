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

// Remotes says how a remote is opened for reading that is named SCHEME:REST, by scheme. What is opened is given the whole name.
type Remotes map[string]func(ctx context.Context, name string) (checkpoint.Remote, error)

// Dir opens a remote that is a directory, for reading: dir:PATH. fs.ErrNotExist when there is none.
func Dir(_ context.Context, name string) (checkpoint.Remote, error) {
	return checkpoint.NewDirRemoteOn(present{looking{fsx.OS()}}, strings.TrimPrefix(name, "dir:"))
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

// remote returns the remote that name stands for, nil if it stands for a directory.
func (x *call) remote(name string) (checkpoint.Remote, error) {
	scheme, rest, ok := strings.Cut(name, ":")
	open := x.remotes[scheme]
	switch {
	case ok && open != nil:
		return open(x.ctx, name)
	case ok && strings.HasPrefix(rest, "//"):
		return nil, fmt.Errorf("%s: this program knows no remotes of the kind %q; %w", name, scheme, errUsage)
	}
	return nil, nil
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
