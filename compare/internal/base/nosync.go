package base

import "github.com/hybridlog/hybridlog/internal/fsx"

// NoSync returns fsys without its syncs: nothing is made durable.
func NoSync(fsys fsx.FS) fsx.FS { return noSync{fsys} }

type noSync struct{ fsx.FS }

type noSyncFile struct{ fsx.File }

func (n noSync) Open(name string, f fsx.Flag) (fsx.File, error) {
	file, err := n.FS.Open(name, f)
	if err != nil {
		return nil, err
	}
	return noSyncFile{file}, nil
}

func (noSync) SyncDir(string) error { return nil }

func (n noSync) OpenRoot(dir string) (fsx.Root, error) {
	root, err := n.FS.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return noSyncRoot{noSync{root}, root}, nil
}

type noSyncRoot struct {
	noSync
	root fsx.Root
}

func (n noSyncRoot) Close() error { return n.root.Close() }

func (noSyncFile) Sync() error { return nil }
