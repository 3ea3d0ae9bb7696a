package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Remote is a place for objects: a directory, a bucket. It has five verbs, so that any object store fits behind it.
// Package remotetest holds an implementation to what is said here.
//
// An object is written whole and read in ranges. There is no rename and no append, and nothing here relies on a
// listing that shows the latest writes. Names are those that ValidName accepts.
//
// Methods may be called from any goroutine. When ctx ends they return early, with its error. An error that is
// fs.ErrNotExist or fs.ErrPermission is final; any other is taken for a passing one, and the call is repeated. The bytes
// of data belong to the caller again when the method has returned.
type Remote interface {
	// Put makes name hold data, durably, replacing what it held. After an error name holds either, or data in part.
	Put(ctx context.Context, name string, data []byte) error
	// PutIfAbsent is Put where name does not exist; otherwise it changes nothing and created is false. Of several
	// calls at the same time only one creates. After an error, name may hold data, but never a part of it; what two
	// machines may do to one remote rests on that, and on a Get that sees at once what was put.
	PutIfAbsent(ctx context.Context, name string, data []byte) (created bool, err error)
	// Get returns the bytes [off, off+n) of an object, or those of them that exist; n < 0 is all from off on. An
	// object that does not exist is fs.ErrNotExist. The caller closes the reader.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// List returns the objects whose names begin with prefix, in any order. It may be late: miss what was put a while
	// ago, and show what was deleted a while ago.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object. One that does not exist is no error.
	Delete(ctx context.Context, name string) error
}

// Object is one entry of Remote.List.
type Object struct {
	Name string
	Size int64 // bytes
}

var (
	// ErrStoreMismatch: the remote, or the directory that was to be imported into, holds another store. Nothing was touched.
	ErrStoreMismatch = errors.New("checkpoint: it belongs to another store")
	// ErrDiverged: local and remote hold different things under the same version or the same log addresses, or the head of
	// the remote is not where this directory has put it, because two machines went on from one version. Nothing was
	// touched; one of them has to be given up. A Mirror that has found it changes the remote no more.
	ErrDiverged = errors.New("checkpoint: local and remote have diverged")
	// ErrUnfinished: the remote's STORE, which says whose it is, was put in part. The directory of the store that has been
	// writing there puts the rest when it is opened with the remote. Is there none, the remote has to be emptied. Such an error
	// is ErrCorrupt, too.
	ErrUnfinished = errors.New("checkpoint: STORE of the remote was put in part: open the directory of the store that writes there with it, or empty it")
	// ErrFenced: a newer epoch (MirrorOptions.Epoch) has claimed the remote. This Mirror changes it no more.
	ErrFenced = errors.New("checkpoint: a newer epoch has claimed the remote")
)

// ValidName reports whether name can be the name of an object: elements of letters, digits, '-', '_' and '.', none of
// which begins with '.', joined by '/'; at most 512 bytes.
func ValidName(name string) bool {
	if len(name) > 512 {
		return false
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element[0] == '.' || strings.ContainsFunc(element, invalidInName) {
			return false
		}
	}
	return true
}

func invalidInName(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		return false
	}
	return true
}

// getAll returns a whole object, which must not be longer than limit.
func getAll(ctx context.Context, r Remote, name string, limit int64) (data []byte, err error) {
	body, err := r.Get(ctx, name, 0, limit+1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	data, err = io.ReadAll(body)
	if err == nil && int64(len(data)) > limit {
		return nil, corrupt(name, int(limit), "longer than the %d bytes that it should have", limit)
	}
	return data, err
}

// RemoteIdentity returns the identity of the store that a remote holds; fs.ErrNotExist when it holds none. A new local
// directory is made with it (OpenDir) before anything can be fetched. ErrUnfinished when it cannot be told.
func RemoteIdentity(ctx context.Context, r Remote) (Identity, error) {
	id, _, err := remoteIdentity(ctx, r)
	return id, err
}

// remoteIdentity returns the format of STORE as well.
func remoteIdentity(ctx context.Context, r Remote) (Identity, uint32, error) {
	data, err := getAll(ctx, r, storeName, identityBytes+envelopeBytes)
	if err != nil {
		return Identity{}, 0, fmt.Errorf("checkpoint: identity of the remote: %w", err)
	}
	id, format, err := decodeIdentityIn(storeName, sequenceFormat, data)
	if errors.Is(err, ErrCorrupt) {
		err = unfinished(data, err)
	}
	return id, format, err
}

// RemoteHasVersions reports whether a remote has any version of a store.
func RemoteHasVersions(ctx context.Context, r Remote, id Identity) (bool, error) {
	opts, err := MirrorOptions{}.withDefaults()
	if err != nil {
		return false, err
	}
	m := &Mirror{remote: r, opts: opts, names: namesOf(id)}
	if s, err := m.readSequence(ctx); s != nil || err != nil {
		return s != nil && len(s.versions) > 0, err
	}
	objects, err := r.List(ctx, m.names.versions())
	return len(objects) > 0, err
}
