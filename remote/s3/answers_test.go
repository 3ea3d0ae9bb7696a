package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"
)

// altered sends requests that were changed on their way to the real server, which answers what it thinks of them.
type altered struct {
	next   http.RoundTripper
	change func(req *http.Request)
	calls  int
}

func (a *altered) RoundTrip(req *http.Request) (*http.Response, error) {
	a.calls++
	if a.change != nil {
		a.change(req)
	}
	return a.next.RoundTrip(req)
}

// sign signs a request without a body anew, after its headers were changed. The client has signed its body in chunks.
func sign(req *http.Request) {
	for _, name := range []string{"Authorization", "Content-Encoding", "X-Amz-Decoded-Content-Length"} {
		req.Header.Del(name)
	}
	req.Body, req.ContentLength = http.NoBody, 0
	sum := sha256.Sum256(nil)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	signer.SignV4(*req, testKey, testSecret, "", testRegion)
}

// What the real server says of requests that are wrong for good is told at once, by the first of them.
func TestNew_AnswersOfTheServer(t *testing.T) {
	g := startGateway(t)
	puts := func(change func(*http.Request)) func(*http.Request) {
		return func(req *http.Request) {
			if req.Method == http.MethodPut {
				change(req)
			}
		}
	}
	for _, c := range []struct {
		name, code string
		calls      int
		change     func(req *http.Request)
	}{
		{"clock behind", "RequestTimeTooSkewed", 1, func(req *http.Request) {
			req.Header.Set("X-Amz-Date", time.Now().UTC().Add(-2*time.Hour).Format("20060102T150405Z"))
		}},
		{"clock ahead", "RequestTimeTooSkewed", 1, func(req *http.Request) {
			req.Header.Set("X-Amz-Date", time.Now().UTC().Add(2*time.Hour).Format("20060102T150405Z"))
		}},
		{"If-None-Match ignored", "", 3, puts(func(req *http.Request) {
			req.Header.Del("If-None-Match")
			sign(req)
		})},
		{"checksum refused", "BadDigest", 2, puts(func(req *http.Request) {
			req.Header.Set("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")
			sign(req)
		})},
		{"an argument refused", "InvalidArgument", 2, puts(func(req *http.Request) {
			req.Header.Set("X-Amz-Object-Lock-Mode", "SOMETIMES")
			req.Header.Set("X-Amz-Object-Lock-Retain-Until-Date", "2099-01-01T00:00:00Z")
			sign(req)
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &altered{next: http.DefaultTransport, change: c.change}
			o := g.options()
			o.Transport = a
			_, err := New(soon(t), o)
			wantConfigError(t, err, c.code)
			t.Log(err)
			if a.calls != c.calls {
				t.Errorf("%d requests, want %d", a.calls, c.calls)
			}
		})
	}
}

// Where a server keeps objects as files, nothing can lie below a key that is there, nor be where something lies below: that
// is no passing error, and what is there stays.
func TestPut_BelowAnotherKey(t *testing.T) {
	g := startGateway(t)
	r := g.remote(t)
	must(t, r.Put(soon(t), "p", []byte("alpha")))
	must(t, r.Put(soon(t), "x/y", []byte("beta")))
	for _, name := range []string{"p/q", "x"} {
		put := answered(func() error { return r.Put(soon(t), name, []byte("gamma")) })
		absent := answered(func() error { _, err := r.PutIfAbsent(soon(t), name, []byte("gamma")); return err })
		for _, err := range []error{put, absent} {
			var c *ConfigError
			if !errors.As(err, &c) || c.Code == "" || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v, want a ConfigError", name, err)
			}
		}
	}
	for _, name := range []string{"p/q", "x"} { // neither is an object
		if _, err := r.Get(soon(t), name, 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("get %s: %v, want fs.ErrNotExist", name, err)
		}
		_ = r.Delete(soon(t), name) // which may be an error, and removes nothing
	}
	for name, want := range map[string]string{"p": "alpha", "x/y": "beta"} {
		body, err := r.Get(soon(t), name, 0, -1)
		must(t, err)
		if got, err := io.ReadAll(body); string(got) != want || err != nil {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
		must(t, body.Close())
	}
	before := g.options()
	before.Bucket, before.Prefix = r.opts.Bucket, "stores/1/p" // a key is there
	_, err := New(soon(t), before)
	var c *ConfigError
	if !errors.As(err, &c) || c.Code == "" {
		t.Errorf("a prefix that is a key: %v, want a ConfigError", err)
	}
}
