package fileset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/zeebo/xxh3"
)

// adopt brings the set to the newest version of the remote, if it has any.
func (s *Set) adopt() error {
	ctx := context.Background()
	names, err := s.opts.Remote.List(ctx, "")
	if err != nil {
		return err
	}
	var newest Manifest
	for _, name := range names {
		if ref, ok := parseRef(name); ok {
			s.remoteHas[name] = true
			s.nextNumber = max(s.nextNumber, ref.Number+1)
		}
		if !isManifest(name) {
			continue
		}
		data, err := s.get(ctx, name, maxManifest)
		if err != nil {
			return err
		}
		m, err := decode(s.kind, name, data)
		if err != nil {
			return fmt.Errorf("remote: %w", err)
		}
		s.remote[name] = m
		s.note(m)
		if m.Sequence >= newest.Sequence {
			newest = m
		}
	}
	if len(s.remote) == 0 {
		return nil
	}
	return s.follow(newest)
}

// follow makes the remote's newest manifest the newest here, then drops what the remote does not have.
func (s *Set) follow(newest Manifest) error {
	if have, ok := s.local[newest.name()]; !ok || !have.equal(newest) {
		files, err := s.OpenAll(newest.Files)
		if err != nil {
			return err
		}
		err = s.syncNames(files)
		if err == nil {
			err = fsx.WriteFileAtomic(s.fs, filepath.Join(s.dir, newest.name()), newest.encode())
		}
		if err != nil {
			return err // The fetched files stay: the next Open goes on from there.
		}
		s.addLocal(newest)
		DropAll(files)
	}
	var gone []Manifest
	for name, m := range s.local {
		if have, ok := s.remote[name]; !ok || !have.equal(m) {
			if err := s.fs.Remove(filepath.Join(s.dir, name)); err != nil {
				return err
			}
			gone = append(gone, m)
			delete(s.local, name)
		}
	}
	if len(gone) > 0 {
		if err := s.fs.SyncDir(s.dir); err != nil { // S3
			return err
		}
	}
	for _, m := range gone {
		s.unrefAll(m)
	}
	clear(s.versions)
	for _, m := range s.remote {
		if m.Version != 0 {
			s.versions[m.Version] = m
		}
	}
	s.settle()
	return nil
}

// get returns an object of at most limit bytes.
func (s *Set) get(ctx context.Context, name string, limit int64) (data []byte, err error) {
	body, err := s.opts.Remote.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	data, err = io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("compare: remote object %s is longer than %d bytes", name, limit)
	}
	return data, err
}

// fetch brings a file from the remote and verifies it before it gets its name.
func (s *Set) fetch(ref Ref) (err error) {
	body, err := s.opts.Remote.Get(context.Background(), ref.Name(), 0, -1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	hash := xxh3.New()
	path := filepath.Join(s.dir, ref.Name())
	err = base.WriteFile(s.fs, path+fsx.TempSuffix, io.TeeReader(body, hash), ref.Length)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && hash.Sum64() != ref.Sum {
		err = &base.CorruptionError{File: ref.Name(), Reason: "remote object is not what its name says"}
	}
	if err != nil {
		return errors.Join(err, s.fs.Remove(path+fsx.TempSuffix))
	}
	return s.fs.Rename(path+fsx.TempSuffix, path)
}

// upload brings the remote to what is kept here: new files, new manifests oldest first, then the removals (S6).
func (s *Set) upload() error {
	if s.opts.Remote == nil {
		return nil
	}
	ctx := context.Background()
	bySequence := func(a, b Manifest) int { return int(int64(a.Sequence - b.Sequence)) }
	for _, m := range slices.SortedFunc(maps.Values(s.local), bySequence) {
		if have, ok := s.remote[m.name()]; ok && have.equal(m) {
			continue
		}
		for _, f := range m.Files {
			if err := s.put(ctx, f); err != nil {
				return err
			}
		}
		data := m.encode()
		if err := s.opts.Remote.Put(ctx, m.name(), bytes.NewReader(data), int64(len(data))); err != nil {
			return err
		}
		s.remote[m.name()] = m
	}
	return s.collectRemote(ctx)
}

// put uploads a file that the remote lacks.
func (s *Set) put(ctx context.Context, ref Ref) error {
	if s.remoteHas[ref.Name()] {
		return nil
	}
	f, err := s.OpenFile(ref)
	if err != nil {
		return err
	}
	defer f.Drop()
	hash := xxh3.New()
	body := io.TeeReader(io.NewSectionReader(f, 0, ref.Length), hash)
	fresh, err := s.opts.Remote.PutIfAbsent(ctx, ref.Name(), body, ref.Length)
	if err != nil {
		return err
	}
	if fresh && hash.Sum64() != ref.Sum {
		err := f.Damaged(0, "file is not what its name says")
		return errors.Join(err, s.opts.Remote.Delete(ctx, ref.Name()))
	}
	s.remoteHas[ref.Name()] = true
	return nil
}

// collectRemote removes from the remote the manifests that are no longer kept, then the files that none lists.
func (s *Set) collectRemote(ctx context.Context) error {
	need := map[string]bool{}
	for name, m := range s.remote {
		_, here := s.local[name]
		_, kept := s.versions[m.Version]
		if here || kept {
			for _, f := range m.Files {
				need[f.Name()] = true
			}
			continue
		}
		if err := s.opts.Remote.Delete(ctx, name); err != nil {
			return err
		}
		delete(s.remote, name)
	}
	for name := range s.remoteHas {
		if !need[name] {
			if err := s.opts.Remote.Delete(ctx, name); err != nil {
				return err
			}
			delete(s.remoteHas, name)
		}
	}
	return nil
}

// Destroy removes the versions and files that sets of any kind keep on the remote, and nothing else.
func Destroy(ctx context.Context, remote base.Remote) error {
	names, err := remote.List(ctx, "")
	if err != nil {
		return err
	}
	for _, manifests := range []bool{true, false} { // S6
		for _, name := range names {
			_, isRef := parseRef(name)
			if manifests && isManifest(name) || !manifests && isRef {
				if err := remote.Delete(ctx, name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
