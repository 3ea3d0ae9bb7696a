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
	"strconv"
	"strings"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/compare/internal/base"
	"github.com/hybridlog/hybridlog/internal/fsx"
	"github.com/zeebo/xxh3"
)

// pieceBytes is the most that an object holds: a file is as many of them as it takes.
const pieceBytes = 8 << 20

// pieces returns the names of the objects that a file consists of.
func (r Ref) pieces() []string {
	var names []string
	for off := int64(0); off < r.Length; off += pieceBytes {
		names = append(names, fmt.Sprintf("%s.%04d", r.Name(), len(names)))
	}
	return names
}

// parsePiece returns the file that an object is a piece of.
func parsePiece(name string) (Ref, bool) {
	file, _ := cutLast(name, ".")
	ref, ok := parseRef(file)
	return ref, ok
}

func cutLast(s, sep string) (before, after string) {
	i := max(strings.LastIndex(s, sep), 0)
	return s[:i], s[i:]
}

// remoteName returns the name of a manifest's object. That of a HEAD has its sequence, so that no object ever changes.
func (m Manifest) remoteName() string {
	if m.Version == 0 {
		return fmt.Sprintf("HEAD-%020d%s", m.Sequence, manifestSuffix)
	}
	return m.name()
}

// remoteManifest returns the name here of a manifest's object.
func remoteManifest(name string) (local string, ok bool) {
	number, isHead := strings.CutPrefix(strings.TrimSuffix(name, manifestSuffix), "HEAD-")
	if !isHead {
		return name, name != headName && isManifest(name)
	}
	sequence, err := strconv.ParseUint(number, 10, 64)
	return headName, err == nil && name == Manifest{Sequence: sequence}.remoteName()
}

// adopt brings the set to the newest version of the remote, if it has any.
func (s *Set) adopt() error {
	ctx := context.Background()
	objects, err := s.opts.Remote.List(ctx, "")
	if err != nil {
		return err
	}
	var newest Manifest
	for _, o := range objects {
		if ref, ok := parsePiece(o.Name); ok {
			s.remoteHas[o.Name] = true
			s.nextNumber = max(s.nextNumber, ref.Number+1)
		}
		local, ok := remoteManifest(o.Name)
		if !ok {
			continue
		}
		data, err := s.get(ctx, o.Name, maxManifest)
		if err != nil {
			return err
		}
		m, err := decode(s.kind, local, data)
		if err != nil {
			return fmt.Errorf("remote: %w", err)
		}
		s.remote[o.Name] = m
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
		if have, ok := s.remote[m.remoteName()]; !ok || !have.equal(m) {
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
	s.chooseNewest()
	return nil
}

// get returns an object of at most limit bytes.
func (s *Set) get(ctx context.Context, name string, limit int64) (data []byte, err error) {
	body, err := s.opts.Remote.Get(ctx, name, 0, limit+1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	data, err = io.ReadAll(body)
	if err == nil && int64(len(data)) > limit {
		err = &base.CorruptionError{File: name, Offset: limit, Reason: "remote object is too long"}
	}
	return data, err
}

// hasPieces reports whether the whole of a file is on the remote.
func (s *Set) hasPieces(ref Ref) bool {
	for _, name := range ref.pieces() {
		if !s.remoteHas[name] {
			return false
		}
	}
	return true
}

// pieceReader reads the pieces of a file as one.
type pieceReader struct {
	s     *Set
	names []string
	data  []byte
}

func (p *pieceReader) Read(b []byte) (n int, err error) {
	if len(p.data) == 0 {
		if len(p.names) == 0 {
			return 0, io.EOF
		}
		if p.data, err = p.s.get(context.Background(), p.names[0], pieceBytes); err != nil {
			return 0, err
		}
		p.names = p.names[1:]
	}
	n = copy(b, p.data)
	p.data = p.data[n:]
	return n, nil
}

// fetch brings a file from the remote and verifies it before it gets its name.
func (s *Set) fetch(ref Ref) error {
	hash := xxh3.New()
	path := filepath.Join(s.dir, ref.Name())
	body := io.TeeReader(&pieceReader{s: s, names: ref.pieces()}, hash)
	err := writeFile(s.fs, path+fsx.TempSuffix, body, ref.Length)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && hash.Sum64() != ref.Sum {
		err = &base.CorruptionError{File: ref.Name(), Reason: "remote object is not what its name says"}
	}
	if err != nil {
		s.fs.Remove(path + fsx.TempSuffix) // If it stays, the next Open removes it.
		return err
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
		if have, ok := s.remote[m.remoteName()]; ok && have.equal(m) {
			continue
		}
		for _, f := range m.Files {
			if err := s.put(ctx, f); err != nil {
				return err
			}
		}
		if err := s.putManifest(ctx, m); err != nil {
			return err
		}
	}
	return s.collectRemote(ctx)
}

func (s *Set) putManifest(ctx context.Context, m Manifest) error {
	data := m.encode()
	created, err := s.opts.Remote.PutIfAbsent(ctx, m.remoteName(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	if !created { // by an attempt that was told to have failed, or by somebody else
		there, err := s.get(ctx, m.remoteName(), maxManifest)
		if err != nil {
			return err
		}
		if !bytes.Equal(there, data) {
			return fmt.Errorf("%s on the remote is of another store", m.remoteName())
		}
	}
	s.remote[m.remoteName()] = m
	return nil
}

// put uploads the pieces of a file that the remote lacks.
func (s *Set) put(ctx context.Context, ref Ref) error {
	if s.hasPieces(ref) {
		return nil
	}
	f, err := s.OpenFile(ref)
	if err != nil {
		return err
	}
	defer f.Drop()
	hash := xxh3.New()
	names := ref.pieces()
	for i, name := range names {
		off := int64(i) * pieceBytes
		data, err := f.Read(off, min(pieceBytes, ref.Length-off))
		if err != nil {
			return err
		}
		hash.Write(data) // never fails
		if i == len(names)-1 && hash.Sum64() != ref.Sum {
			return f.Damaged(0, "file is not what its name says")
		}
		if s.remoteHas[name] {
			continue
		}
		if _, err := s.opts.Remote.PutIfAbsent(ctx, name, bytes.NewReader(data), int64(len(data))); err != nil {
			return err
		}
		s.remoteHas[name] = true
	}
	return nil
}

// collectRemote removes from the remote the manifests that are no longer kept, then the files that none lists.
func (s *Set) collectRemote(ctx context.Context) error {
	need := map[string]bool{}
	for name, m := range s.remote {
		here, ok := s.local[m.name()]
		_, kept := s.versions[m.Version]
		if kept || ok && here.equal(m) {
			for _, f := range m.Files {
				for _, piece := range f.pieces() {
					need[piece] = true
				}
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
	objects, err := remote.List(ctx, "")
	if err != nil {
		return err
	}
	manifest := func(o checkpoint.Object) bool { _, ok := remoteManifest(o.Name); return ok }
	piece := func(o checkpoint.Object) bool { _, ok := parsePiece(o.Name); return ok }
	for _, ours := range []func(checkpoint.Object) bool{manifest, piece} { // S6
		for _, o := range objects {
			if ours(o) {
				if err := remote.Delete(ctx, o.Name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
