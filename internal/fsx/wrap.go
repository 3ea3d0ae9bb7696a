package fsx

// OpenRootBy is OpenRoot for a file system that wraps another one, fsys, and does something of its own about Open: the
// files of the Root are opened by open, which is given the file system to open them on. A type that embeds an FS and has
// an Open of its own needs an OpenRoot that says so; the one of the embedded FS would leave it out.
func OpenRootBy(fsys FS, dir string, open func(in FS, name string, f Flag) (File, error)) (Root, error) {
	root, err := fsys.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return rootBy{root, open}, nil
}

type rootBy struct {
	Root
	open func(in FS, name string, f Flag) (File, error)
}

func (r rootBy) Open(name string, f Flag) (File, error) { return r.open(r.Root, name, f) }

func (r rootBy) OpenRoot(dir string) (Root, error) { return OpenRootBy(r.Root, dir, r.open) }
