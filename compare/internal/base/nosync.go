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

func (noSyncFile) Sync() error { return nil }
