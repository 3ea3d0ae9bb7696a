package fsx

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Staged is a file that is on its way to its name: what [WriteFileAtomic] does, in steps, so that its bytes can become
// durable beside other things. Exactly one call of Publish or Drop ends it. Not safe for concurrent use.
type Staged struct {
	fs    FS
	name  string
	file  File
	sync  Request
	queue *Queue // that does sync; nil: it has not begun
}

// Stage writes data to the temporary file of name. Nothing of it need be durable, and name holds what it held. After an
// error there is nothing to end.
func Stage(fsys FS, name string, data []byte) (*Staged, error) {
	f, err := fsys.Open(name+TempSuffix, Write|Create)
	if err != nil {
		return nil, join(err, removeIfThere(fsys, name+TempSuffix))
	}
	s := &Staged{fs: fsys, name: name, file: f}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt(data, 0)
	}
	if err != nil {
		return nil, join(err, s.Drop())
	}
	return s, nil
}

// BeginSync begins to make the bytes durable, and returns without waiting for that where the system can do it.
func (s *Staged) BeginSync() {
	s.queue = Queues{AIO: AIOOf(s.fs)}.New(1)
	s.sync = Request{File: s.file, Sync: true}
	s.queue.Submit([]*Request{&s.sync})
}

// Publish makes the bytes durable, gives the file its name, and makes that durable. What holds after an error is what
// [WriteFileAtomic] says.
func (s *Staged) Publish() error {
	if err := join(s.endSync(), s.file.Close()); err != nil {
		return join(err, removeIfThere(s.fs, s.name+TempSuffix))
	}
	if err := s.fs.Rename(s.name+TempSuffix, s.name); err != nil {
		return join(err, removeIfThere(s.fs, s.name+TempSuffix))
	}
	return s.fs.SyncDir(filepath.Dir(s.name))
}

// endSync returns when the bytes are durable, or why they are not.
func (s *Staged) endSync() error {
	if s.queue == nil {
		return s.file.Sync()
	}
	s.queue.Close()
	return s.sync.Err
}

// Drop removes the temporary file. name holds what it held.
func (s *Staged) Drop() error {
	if s.queue != nil {
		s.queue.Close() // what the sync has found does not matter any more
	}
	return join(s.file.Close(), removeIfThere(s.fs, s.name+TempSuffix))
}

func removeIfThere(fsys FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
