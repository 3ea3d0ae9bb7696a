package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Remote is a bucket, or what lies under a prefix in it. Its methods may be called from any goroutine.
type Remote struct {
	core    minio.Core
	opts    Options
	prefix  string // of all keys; empty or with '/' at its end
	timeout time.Duration
}

var _ checkpoint.Remote = (*Remote)(nil)

// probeName is the object of N2. It begins with '.', as no object of a store does, and List does not show it.
const probeName = ".probe"

// Open is New for the bucket that a URL names; see Parse.
func Open(ctx context.Context, text string) (*Remote, error) {
	o, err := Parse(text)
	if err != nil {
		return nil, err
	}
	return New(ctx, o)
}

// OpenToRead is Open for somebody who only reads (Options.ReadOnly).
func OpenToRead(ctx context.Context, text string) (checkpoint.Remote, error) {
	o, err := Parse(text)
	if err != nil {
		return nil, err
	}
	o.ReadOnly = true
	r, err := New(ctx, o)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// OpenToWrite is Open, and returns what OpenToRead does.
func OpenToWrite(ctx context.Context, text string) (checkpoint.Remote, error) {
	r, err := Open(ctx, text)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// New returns a remote after it has found the bucket and, unless it is only to be read, the server fit for it (N1, N2).
// What is wrong with the settings is a *ConfigError. Any other error says that the server cannot be reached now.
func New(ctx context.Context, o Options) (*Remote, error) {
	o, endpoint, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	secure := endpoint.Scheme == "https"
	if o.Transport == nil {
		if o.Transport, err = minio.DefaultTransport(secure); err != nil {
			return nil, fmt.Errorf("s3: %w", err)
		}
	}
	o.Transport = strict{o.Transport}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: o.Credentials, Secure: secure, Transport: o.Transport, Region: o.Region, BucketLookup: lookup(o, endpoint), MaxRetries: 1, // N3
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", &ConfigError{Reason: err.Error()})
	}
	r := &Remote{core: *core, opts: o, timeout: o.Timeout}
	if o.Prefix != "" {
		r.prefix = o.Prefix + "/"
	}
	for try := 1; ; try++ {
		err := r.check(ctx)
		switch {
		case err == nil:
			return r, nil
		case errors.Is(err, fs.ErrPermission), try == attempts, ctx.Err() != nil:
			return nil, fmt.Errorf("s3: bucket %s at %s: %w", o.Bucket, endpoint.Host, err)
		}
		if err := pause(ctx, attemptPause); err != nil {
			return nil, fmt.Errorf("s3: bucket %s at %s: %w", o.Bucket, endpoint.Host, err)
		}
	}
}

// New tries a few times, since a server may close a connection at any moment. Whoever calls verbs does so by itself.
const (
	attempts     = 3
	attemptPause = 50 * time.Millisecond
)

func lookup(o Options, endpoint *url.URL) minio.BucketLookupType {
	host := endpoint.Hostname()
	if o.PathStyle || host == "localhost" || net.ParseIP(host) != nil {
		return minio.BucketLookupPath
	}
	return minio.BucketLookupAuto
}

// check is N1 and N2.
func (r *Remote) check(ctx context.Context) error {
	if v, err := r.opts.Credentials.GetWithContext(r.core.CredContext()); err != nil || v.SignerType.IsAnonymous() || v.AccessKeyID == "" {
		return &ConfigError{Reason: "no credentials are found; they are looked for in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and in ~/.aws/credentials"}
	}
	err := r.request(ctx, func(ctx context.Context) error {
		for o := range r.core.ListObjectsIter(ctx, r.opts.Bucket, minio.ListObjectsOptions{Prefix: r.prefix, MaxKeys: 1}) {
			return o.Err
		}
		return nil
	})
	if err != nil || r.opts.ReadOnly {
		return err
	}
	created, err := r.probe(ctx)
	if err == nil && created {
		created, err = r.probe(ctx) // it is there now
	}
	if err == nil && created {
		err = &ConfigError{Reason: "the server ignores If-None-Match on PUT: two stores could overwrite each other's versions"}
	}
	return err
}

func (r *Remote) probe(ctx context.Context) (created bool, err error) {
	created, err = r.putIfAbsent(ctx, r.prefix+probeName, nil)
	if answer, ok := answerOf(err); ok && damagedOnTheWay[answer.Code] {
		err = &ConfigError{Code: answer.Code, Reason: reasons[answer.Code]} // of no bytes at all
	}
	return created, err
}

// request makes one request, within the timeout, and translates what it comes to.
func (r *Remote) request(ctx context.Context, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	return translate(ctx, f(bounded))
}

// call is request for a verb on an object.
func (r *Remote) call(ctx context.Context, verb, name string, f func(ctx context.Context, key string) error) error {
	err := fs.ErrInvalid
	if checkpoint.ValidName(name) {
		err = r.request(ctx, func(ctx context.Context) error { return f(ctx, r.prefix+name) })
	}
	return r.named(verb, name, err)
}

// named says which verb failed, on what.
func (r *Remote) named(verb, name string, err error) error {
	if err != nil {
		return fmt.Errorf("s3: %s %q in bucket %s: %w", verb, r.prefix+name, r.opts.Bucket, err)
	}
	return nil
}

var errReadOnly = &ConfigError{Reason: "the remote was opened to be read only"}

// Put implements checkpoint.Remote.
func (r *Remote) Put(ctx context.Context, name string, data []byte) error {
	return r.call(ctx, "put", name, func(ctx context.Context, key string) error {
		return r.put(ctx, key, data, minio.PutObjectOptions{})
	})
}

// put sends an object in one piece (N3, N6).
func (r *Remote) put(ctx context.Context, key string, data []byte, o minio.PutObjectOptions) error {
	if r.opts.ReadOnly {
		return errReadOnly
	}
	o.ContentType = "application/octet-stream"
	sum := sha256.Sum256(data)
	_, err := r.core.PutObject(ctx, r.opts.Bucket, key, bytes.NewReader(data), int64(len(data)), "", hex.EncodeToString(sum[:]), o)
	return err
}

// PutIfAbsent implements checkpoint.Remote.
func (r *Remote) PutIfAbsent(ctx context.Context, name string, data []byte) (created bool, err error) {
	if !checkpoint.ValidName(name) {
		return false, r.named("put if absent", name, fs.ErrInvalid)
	}
	created, err = r.putIfAbsent(ctx, r.prefix+name, data)
	return created, r.named("put if absent", name, err)
}

// S3 answers 409 when two conditional puts of one key meet, and asks for another attempt.
const (
	conflicts     = 10
	conflictPause = 20 * time.Millisecond
)

func (r *Remote) putIfAbsent(ctx context.Context, key string, data []byte) (created bool, err error) {
	var o minio.PutObjectOptions
	o.SetMatchETagExcept("*")
	for try := 1; ; try++ {
		err := r.request(ctx, func(ctx context.Context) error { return r.put(ctx, key, data, o) })
		switch status(err) {
		case http.StatusPreconditionFailed:
			return false, nil
		case http.StatusConflict:
			if try < conflicts {
				if err := pause(ctx, time.Duration(try)*conflictPause); err != nil {
					return false, err
				}
				continue
			}
		}
		return err == nil, err
	}
}

// pause waits for d, give or take a half, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d/2 + rand.N(d)):
		return nil
	}
}

// Get implements checkpoint.Remote.
func (r *Remote) Get(ctx context.Context, name string, off, n int64) (body io.ReadCloser, err error) {
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case off < 0 || !checkpoint.ValidName(name):
		err = fs.ErrInvalid
	default:
		body, err = r.get(ctx, r.prefix+name, off, n)
	}
	return body, r.named("get", name, err)
}

// get reads a range. Its request ends with the body: what bounds it is given up by Close.
func (r *Remote) get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	var o minio.GetObjectOptions
	ranged := off > 0 || n >= 0
	switch {
	case n == 0: // asks whether the object is there
		o.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off))
	case n > 0 && off <= math.MaxInt64-n:
		o.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	case ranged:
		o.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	object, _, header, err := r.core.GetObject(bounded, r.opts.Bucket, key, o)
	if err != nil {
		cancel()
		if status(err) == http.StatusRequestedRangeNotSatisfiable {
			return io.NopCloser(bytes.NewReader(nil)), nil // off is at or past the end
		}
		return nil, translate(ctx, err)
	}
	b := &body{ctx: ctx, cancel: cancel, object: object, left: n}
	if n < 0 {
		b.left = math.MaxInt64
	}
	if off > 0 && header.Get("Content-Range") == "" {
		return nil, errors.Join(&ConfigError{Reason: "the server ignores Range on GET, and sends whole objects"}, b.Close())
	}
	return b, nil
}

// body is what Get returns: at most left bytes of an answer.
type body struct {
	ctx    context.Context // of the caller
	cancel context.CancelFunc
	object io.ReadCloser
	left   int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	n, err := b.object.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		err = translate(b.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.cancel()
	_ = b.object.Close() // what was cancelled says so
	return nil
}

// List implements checkpoint.Remote.
func (r *Remote) List(ctx context.Context, prefix string) (objects []checkpoint.Object, err error) {
	err = r.request(ctx, func(ctx context.Context) error {
		objects = nil
		for o := range r.core.ListObjectsIter(ctx, r.opts.Bucket, minio.ListObjectsOptions{Prefix: r.prefix + prefix, Recursive: true}) {
			if o.Err != nil {
				return o.Err
			}
			if name, ok := strings.CutPrefix(o.Key, r.prefix); ok && checkpoint.ValidName(name) {
				objects = append(objects, checkpoint.Object{Name: name, Size: o.Size})
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, r.named("list", prefix, err)
	}
	return objects, nil
}

// Delete implements checkpoint.Remote.
func (r *Remote) Delete(ctx context.Context, name string) error {
	err := r.call(ctx, "delete", name, func(ctx context.Context, key string) error {
		if r.opts.ReadOnly {
			return errReadOnly
		}
		return r.core.RemoveObject(ctx, r.opts.Bucket, key, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
