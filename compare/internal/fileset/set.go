package fileset

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/internal/fsx"
)

// Set is the versions of one directory. Its methods are called by one goroutine at a time.
type Set struct {
	kind   string
	dir    string
	opts   base.Options
	fs     fsx.FS
	unlock func() error

	versions map[uint64]Manifest // kept versions, here or on the remote
	local    map[string]Manifest // manifests in the directory, by name
	doubtful []Manifest          // commits that failed: they may or may not be on disk (S2)
	refs     map[string]int      // by file name: manifests in local and doubtful that list it, plus open handles

	newest     Manifest // what the last commit wrote, or Open found
	sequence   uint64
	highest    uint64 // no version up to it may be used again
	parent     uint64
	nextNumber uint64

	lookups atomic.Uint64 // reads of finished files for Gets

	remoteHas map[string]bool     // pieces on the remote
	remote    map[string]Manifest // manifests on the remote, by object
}

// Open takes the directory, which it creates, for the engine of this kind. The set is at Newest.
func Open(kind, dir string, opts base.Options) (*Set, error) {
	s := &Set{
		kind: kind, dir: dir, opts: opts, fs: opts.FS,
		versions: map[uint64]Manifest{}, local: map[string]Manifest{}, refs: map[string]int{}, nextNumber: 1,
		remoteHas: map[string]bool{}, remote: map[string]Manifest{},
	}
	if opts.NoSync {
		s.fs = base.NoSync(opts.FS)
	}
	if err := mkdirs(s.fs, filepath.Clean(dir)); err != nil {
		return nil, err
	}
	var err error
	if s.unlock, err = s.fs.Lock(dir, false); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.unlock())
	}
	return s, nil
}

// mkdirs makes a directory and its missing parents, durably.
func mkdirs(fsys fsx.FS, dir string) error {
	if _, err := fsys.List(dir); !isNotExist(err) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := mkdirs(fsys, parent); err != nil {
		return err
	}
	err := fsys.MkdirAll(dir)
	if err == nil {
		if err = fsys.SyncDir(parent); err != nil {
			fsys.Remove(dir) // So that the next attempt syncs it.
		}
	}
	return err
}

// start finds out what the locked directory and the remote hold.
func (s *Set) start() error {
	if err := s.fs.SyncDir(filepath.Dir(filepath.Clean(s.dir))); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return err
	}
	if s.opts.Remote != nil {
		if err := s.adopt(); err != nil {
			return err
		}
	}
	if len(s.local) == 0 {
		return s.commit(Manifest{}, nil) // S4
	}
	return nil
}

// load reads the manifests of the directory and writes nothing.
func (s *Set) load() error {
	entries, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	orphan := ""
	for _, e := range entries {
		if ref, ok := parseRef(e.Name); ok {
			orphan = e.Name
			s.nextNumber = max(s.nextNumber, ref.Number+1)
		}
		if !isManifest(e.Name) {
			continue
		}
		data, err := fsx.ReadFile(s.fs, filepath.Join(s.dir, e.Name), maxManifest)
		if err != nil {
			return err
		}
		m, err := decode(s.kind, e.Name, data)
		if err != nil {
			return err
		}
		s.addLocal(m)
		if m.Version != 0 {
			s.versions[m.Version] = m
		}
	}
	if orphan != "" && len(s.local) == 0 {
		return &base.CorruptionError{File: orphan, Reason: "data without any manifest"}
	}
	s.chooseNewest()
	return nil
}

// addLocal notes that m is in the directory.
func (s *Set) addLocal(m Manifest) {
	if old, ok := s.local[m.name()]; ok {
		defer s.unrefAll(old)
	}
	s.local[m.name()] = m
	s.note(m)
	for _, f := range m.Files {
		s.refs[f.Name()]++
	}
}

// note takes the counters past m.
func (s *Set) note(m Manifest) {
	s.sequence = max(s.sequence, m.Sequence)
	s.highest = max(s.highest, m.Highest)
	for _, f := range m.Files {
		s.nextNumber = max(s.nextNumber, f.Number+1)
	}
}

// chooseNewest makes the local manifest with the highest sequence the newest.
func (s *Set) chooseNewest() {
	s.newest = Manifest{}
	for _, m := range s.local {
		if m.Sequence >= s.newest.Sequence {
			s.newest = m
		}
	}
	s.parent = s.newest.Version
	if s.parent == 0 {
		s.parent = s.newest.Parent
	}
}

// Newest returns the state that the engine is to open at.
func (s *Set) Newest() Manifest { return s.newest }

// FS returns the file system and the directory, for files that are the engine's own.
func (s *Set) FS() (fsys fsx.FS, dir string) { return s.fs, s.dir }

// Versions returns the kept versions, oldest first.
func (s *Set) Versions() []uint64 { return slices.Sorted(maps.Keys(s.versions)) }

// Version returns a kept version; 0 is the newest of them.
func (s *Set) Version(v uint64) (Manifest, error) {
	if v == 0 {
		for kept := range s.versions {
			v = max(v, kept)
		}
	}
	m, ok := s.versions[v]
	if !ok {
		return Manifest{}, fmt.Errorf("%w: %d", base.ErrVersionNotFound, v)
	}
	return m, nil
}

// CheckOrder returns ErrVersionOrder if v cannot be the next version.
func (s *Set) CheckOrder(v uint64) error {
	if v <= s.highest {
		return fmt.Errorf("%w: %d, must be above %d", base.ErrVersionOrder, v, s.highest)
	}
	return nil
}

// Snapshot commits files as version v. When it fails before the version is durable here, the version does not exist and
// its number stays unused. ErrRemote means that only the copy on the remote is missing.
func (s *Set) Snapshot(v uint64, files []*File) error {
	if err := s.CheckOrder(v); err != nil {
		return err
	}
	s.highest = v // S7
	return s.commit(Manifest{Version: v}, files)
}

// Restored commits files as the state that version v was restored to.
func (s *Set) Restored(v uint64, files []*File) error {
	before := s.parent
	s.parent = v
	err := s.commit(Manifest{}, files)
	if err != nil && !errors.Is(err, base.ErrRemote) {
		s.parent = before
	}
	return err
}

// SaveHead commits files as the state that the next Open finds, without a version number.
func (s *Set) SaveHead(files []*File) error { return s.commit(Manifest{}, files) }

func (s *Set) commit(m Manifest, files []*File) error {
	s.sequence++
	m.Kind, m.Sequence, m.Parent, m.Highest = s.kind, s.sequence, s.parent, s.highest
	for _, f := range files {
		if err := f.sync(); err != nil {
			return err
		}
		m.Files = append(m.Files, f.Ref)
	}
	if err := s.syncNames(files); err != nil { // S1
		return err
	}
	path := filepath.Join(s.dir, m.name())
	if err := fsx.WriteFileAtomic(s.fs, path, m.encode()); err != nil {
		s.doubt(m)
		return err
	}
	s.addLocal(m)
	s.newest = m
	if m.Version != 0 {
		s.versions[m.Version] = m
		s.parent = m.Version
	}
	s.retain()
	if err := s.upload(); err != nil {
		return fmt.Errorf("%w: %w", base.ErrRemote, err)
	}
	return nil
}

// doubt keeps the files of a manifest whose write failed (S2), and takes a version back if its name appeared. A HEAD is
// left: the next commit has a higher sequence.
func (s *Set) doubt(m Manifest) {
	s.doubtful = append(s.doubtful, m)
	for _, f := range m.Files {
		s.refs[f.Name()]++
	}
	if m.Version != 0 {
		s.fs.Remove(filepath.Join(s.dir, m.name())) // Tried again by retain.
	}
}

// retain removes manifests that are no longer to be kept, then the files that only they listed. It runs after a commit,
// which a failure here does not undo: what could not be removed is tried again after the next commit.
func (s *Set) retain() {
	var gone []Manifest
	remove := func(m Manifest) bool {
		err := s.fs.Remove(filepath.Join(s.dir, m.name()))
		return err == nil || isNotExist(err)
	}
	if head, ok := s.local[headName]; ok && head.Sequence != s.newest.Sequence && remove(head) {
		gone = append(gone, head)
		delete(s.local, headName)
	}
	s.doubtful = slices.DeleteFunc(s.doubtful, func(m Manifest) bool {
		if m.Version != 0 && !remove(m) {
			return false
		}
		gone = append(gone, m)
		return true
	})
	for _, v := range s.Versions() {
		if s.opts.KeepVersions < 0 || len(s.versions) <= s.opts.KeepVersions {
			break
		}
		if m, ok := s.local[versionName(v)]; ok {
			if !remove(m) {
				break
			}
			gone = append(gone, m)
			delete(s.local, m.name())
		}
		delete(s.versions, v)
	}
	if len(gone) == 0 || s.fs.SyncDir(s.dir) != nil { // S3
		return
	}
	for _, m := range gone {
		s.unrefAll(m)
	}
}

func (s *Set) unrefAll(m Manifest) {
	for _, f := range m.Files {
		s.unref(f.Name())
	}
}

// unref removes the file when nothing needs it any more. One that cannot be removed is left for the next Open.
func (s *Set) unref(name string) {
	if s.refs[name]--; s.refs[name] <= 0 {
		delete(s.refs, name)
		s.fs.Remove(filepath.Join(s.dir, name))
	}
}

// Collect removes the files that earlier processes left behind. The engine calls it when it has opened its state.
func (s *Set) Collect() error {
	entries, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, isRef := parseRef(e.Name)
		left := isRef && s.refs[e.Name] == 0 || strings.HasSuffix(e.Name, openSuffix) || strings.HasSuffix(e.Name, fsx.TempSuffix)
		if left && !e.Dir {
			if err := s.fs.Remove(filepath.Join(s.dir, e.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close sends what the remote still lacks and gives the directory back.
func (s *Set) Close() error { return errors.Join(s.upload(), s.unlock()) }

// Abandon gives the directory back after a failed Open of the engine.
func (s *Set) Abandon() error { return s.unlock() }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
