package s3

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/hybridlog/hybridlog/checkpoint"
	"github.com/hybridlog/hybridlog/checkpoint/remotetest"
)

func TestRemote_Conformance(t *testing.T) {
	g := startGateway(t)
	remotetest.Conformance(t, func(t *testing.T) checkpoint.Remote { return g.remote(t) }, nil)
	t.Run("WithoutPrefix", func(t *testing.T) {
		remotetest.Conformance(t, func(t *testing.T) checkpoint.Remote {
			o := g.options()
			o.Prefix = ""
			r, err := New(t.Context(), o)
			must(t, err)
			return r
		}, nil)
	})
}

// double is a server that answers as it is told to.
type double struct {
	calls  atomic.Int64
	answer func(call int64, req *http.Request) (status int, body string)
}

func (d *double) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
	status, body := d.answer(d.calls.Add(1), req)
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/xml"}, "Last-Modified": {"Mon, 02 Jan 2006 15:04:05 GMT"}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req}, nil
}

const emptyListing = `<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>`

func fault(code string) string {
	return `<?xml version="1.0"?><Error><Code>` + code + `</Code><Message>so it is</Message></Error>`
}

func (d *double) options() Options {
	return Options{Bucket: "bucket", Endpoint: "http://127.0.0.1:1", Region: testRegion, Credentials: testCredentials(), Transport: d}
}

// wantConfigError holds err to what N5 says, and to saying no secret.
func wantConfigError(t *testing.T, err error, code string) {
	t.Helper()
	var c *ConfigError
	if !errors.As(err, &c) || c.Code != code || !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v: want a ConfigError with code %q", err, code)
	}
	if err != nil && strings.Contains(err.Error(), testSecret) {
		t.Errorf("an error says the secret: %v", err)
	}
}

// Settings that are wrong are told by New, against the real server.
func TestNew_WrongSettings(t *testing.T) {
	g := startGateway(t)
	for _, c := range []struct {
		name, code string
		change     func(*Options)
	}{
		{"bucket", "NoSuchBucket", func(o *Options) { o.Bucket = "mistyped" }},
		{"access key", "XAdminUserNotFound", func(o *Options) { o.Credentials = credentials.NewStaticV4("nobody", testSecret, "") }},
		{"secret", "SignatureDoesNotMatch", func(o *Options) { o.Credentials = credentials.NewStaticV4(testKey, "other-"+testSecret, "") }},
		{"region", "AuthorizationHeaderMalformed", func(o *Options) { o.Region = "eu-west-9" }},
		{"no credentials", "", func(o *Options) { o.Credentials = nil }},
		{"no bucket", "", func(o *Options) { o.Bucket = "" }},
		{"name of the bucket", "InvalidBucketName", func(o *Options) { o.Bucket = "UPPER_case" }},
		{"prefix", "", func(o *Options) { o.Prefix = "../other" }},
		{"endpoint", "", func(o *Options) { o.Endpoint = "ftp://127.0.0.1" }},
		{"timeout", "", func(o *Options) { o.Timeout = -1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := g.options()
			c.change(&o)
			_, err := New(soon(t), o)
			wantConfigError(t, err, c.code)
			t.Log(err)
			o.ReadOnly = true
			_, err = New(soon(t), o)
			wantConfigError(t, err, c.code)
		})
	}
}

// What a server cannot be made to say here, it says through a double. No request is made twice.
func TestNew_ServersThatAreNotFit(t *testing.T) {
	for _, c := range []struct {
		name, code string
		calls      int64
		answer     func(call int64, req *http.Request) (int, string)
	}{
		{"clock", "RequestTimeTooSkewed", 1, func(int64, *http.Request) (int, string) { return 403, fault("RequestTimeTooSkewed") }},
		{"If-None-Match ignored", "", 3, func(int64, *http.Request) (int, string) { return 200, emptyListing }},
		{"If-None-Match unknown", "NotImplemented", 2, func(call int64, _ *http.Request) (int, string) {
			if call == 1 {
				return 200, emptyListing
			}
			return 501, fault("NotImplemented")
		}},
		{"checksum refused", "BadDigest", 2, func(call int64, _ *http.Request) (int, string) {
			if call == 1 {
				return 200, emptyListing
			}
			return 400, fault("BadDigest")
		}},
		{"may only read", "AccessDenied", 2, func(call int64, _ *http.Request) (int, string) {
			if call == 1 {
				return 200, emptyListing
			}
			return 403, fault("AccessDenied")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &double{answer: c.answer}
			_, err := New(soon(t), d.options())
			wantConfigError(t, err, c.code)
			if n := d.calls.Load(); n != c.calls {
				t.Errorf("%d requests, want %d", n, c.calls)
			}
		})
	}
}

// A server that is down is a passing error, and New does not wait for it.
func TestNew_ServerIsDown(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	g.kill()
	if _, err := New(soon(t), o); err == nil || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want a passing error", err)
	}
	must(t, g.start())
	_, err := New(soon(t), o)
	must(t, err)
}

// N3: a conflict is tried again, within reason; nothing else is.
func TestPutIfAbsent_Conflict(t *testing.T) {
	conflictsLeft := int64(3)
	d := &double{answer: func(call int64, req *http.Request) (int, string) {
		switch {
		case req.Method == http.MethodGet:
			return 200, emptyListing
		case strings.HasSuffix(req.URL.Path, probeName):
			return 412, fault("PreconditionFailed")
		}
		if conflictsLeft--; conflictsLeft >= 0 {
			return 409, fault("ConditionalRequestConflict")
		}
		return 200, ""
	}}
	r, err := New(soon(t), d.options())
	must(t, err)
	if created, err := r.PutIfAbsent(soon(t), "a", nil); !created || err != nil {
		t.Errorf("created %v, %v", created, err)
	}
	conflictsLeft = 1 << 30
	if created, err := r.PutIfAbsent(soon(t), "a", nil); created || err == nil || errors.Is(err, fs.ErrPermission) {
		t.Errorf("created %v, %v, want a passing error", created, err)
	}
	before := d.calls.Load()
	d.answer = func(int64, *http.Request) (int, string) { return 503, fault("SlowDown") }
	if err := r.Put(soon(t), "a", nil); err == nil || errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v, want a passing error", err)
	}
	if n := d.calls.Load() - before; n != 1 {
		t.Errorf("%d requests for one call", n)
	}
}

// answered repeats a put, as a store does, while its error is the connection's. A server that refuses a put before it has
// read the body answers and closes, and whoever is still sending then may find the connection broken instead of the answer.
func answered(put func() error) error {
	err := put()
	for range 20 {
		if broken := (*url.Error)(nil); !errors.As(err, &broken) {
			break
		}
		err = put()
	}
	return err
}

// N4: only NoSuchKey says that an object does not exist.
func TestGet_BucketThatWentAway(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	r, err := New(t.Context(), o)
	must(t, err)
	must(t, r.Put(t.Context(), "a", []byte("alpha")))
	must(t, os.Rename(filepath.Join(g.folder, o.Bucket), filepath.Join(g.folder, "elsewhere")))
	_, err = r.Get(soon(t), "a", 0, -1)
	wantConfigError(t, err, "NoSuchBucket")
	_, err = r.List(soon(t), "")
	wantConfigError(t, err, "NoSuchBucket")
	wantConfigError(t, answered(func() error { return r.Put(soon(t), "b", nil) }), "NoSuchBucket")
	wantConfigError(t, answered(func() error { _, err := r.PutIfAbsent(soon(t), "b", nil); return err }), "NoSuchBucket")

	d := &double{answer: func(int64, *http.Request) (int, string) { return 200, emptyListing }}
	o = d.options()
	o.ReadOnly = true
	r, err = New(soon(t), o)
	must(t, err)
	for _, page := range []string{"", "<html>no such page</html>", "<html><p><Code>NoSuchKey</Code></html>", "<Error></Error>"} {
		d.answer = func(int64, *http.Request) (int, string) { return 404, page }
		if _, err := r.Get(soon(t), "a", 0, -1); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a 404 of somebody else, %q: %v", page, err)
		}
	}
	d.answer = func(int64, *http.Request) (int, string) { return 404, fault("NoSuchKey") }
	if _, err := r.Get(soon(t), "a", 0, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that is not there: %v", err)
	}
}

// A server that sends whole objects instead of ranges is found out, where it can be.
func TestGet_RangesIgnored(t *testing.T) {
	d := &double{answer: func(_ int64, req *http.Request) (int, string) {
		if strings.HasSuffix(req.URL.Path, "/a") {
			return 200, "0123456789"
		}
		return 200, emptyListing
	}}
	o := d.options()
	o.ReadOnly = true
	r, err := New(soon(t), o)
	must(t, err)
	_, err = r.Get(soon(t), "a", 3, 4)
	wantConfigError(t, err, "")
	body, err := r.Get(soon(t), "a", 0, 4)
	must(t, err)
	if got, err := io.ReadAll(body); string(got) != "0123" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	must(t, body.Close())
}

// A reader writes nothing, and needs no right to.
func TestReadOnly_WritesNothing(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	o.ReadOnly = true
	r, err := New(t.Context(), o)
	must(t, err)
	wantConfigError(t, r.Put(t.Context(), "a", nil), "")
	_, err = r.PutIfAbsent(t.Context(), "a", nil)
	wantConfigError(t, err, "")
	wantConfigError(t, r.Delete(t.Context(), "a"), "")
	entries, err := os.ReadDir(filepath.Join(g.folder, o.Bucket))
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("the bucket holds %v", entries)
	}
	o.ReadOnly = false
	w, err := New(t.Context(), o)
	must(t, err)
	must(t, w.Put(t.Context(), "a", []byte("alpha")))
	body, err := r.Get(t.Context(), "a", 0, -1)
	must(t, err)
	defer body.Close()
	if got, err := io.ReadAll(body); string(got) != "alpha" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// verbs calls each of the five.
func verbs(ctx context.Context, r *Remote) map[string]error {
	_, absent := r.PutIfAbsent(ctx, "absent", []byte("x"))
	body, get := r.Get(ctx, "a", 0, -1)
	if get == nil {
		_, get = io.ReadAll(body)
		get = errors.Join(get, body.Close())
	}
	_, list := r.List(ctx, "")
	return map[string]error{"put": r.Put(ctx, "put", []byte("x")), "put if absent": absent, "get": get, "list": list, "delete": r.Delete(ctx, "put")}
}

// A server that dies in any verb is a passing error, and the verb works when it is back.
func TestVerbs_ServerDies(t *testing.T) {
	g := startGateway(t)
	r := g.remote(t)
	must(t, r.Put(t.Context(), "a", []byte("alpha")))
	g.kill()
	for verb, err := range verbs(soon(t), r) {
		if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want a passing error", verb, err)
		}
	}
	must(t, g.start())
	for verb, err := range verbs(soon(t), r) {
		if err != nil {
			t.Errorf("%s, after the server was started again: %v", verb, err)
		}
	}
}

// A server that never answers holds up no verb beyond its context, nor beyond the timeout.
func TestVerbs_ServerDoesNotAnswer(t *testing.T) {
	g := startGateway(t)
	o := g.options()
	stuck := &stuck{next: http.DefaultTransport}
	o.Transport = stuck
	r, err := New(t.Context(), o)
	must(t, err)
	bounded, err := New(t.Context(), o)
	must(t, err)
	bounded.timeout = 100 * time.Millisecond // not yet while it looks at the bucket
	stuck.on.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for verb, err := range verbs(ctx, r) {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want context.DeadlineExceeded", verb, err)
		}
	}
	for verb, err := range verbs(t.Context(), bounded) {
		if err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want a passing error", verb, err)
		}
	}
}

// stuck holds requests until their context ends, while it is on.
type stuck struct {
	next http.RoundTripper
	on   atomic.Bool
}

func (s *stuck) RoundTrip(req *http.Request) (*http.Response, error) {
	if s.on.Load() {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return s.next.RoundTrip(req)
}

// A body that stops coming ends with the context, too.
func TestGet_BodyStopsComing(t *testing.T) {
	d := &double{answer: func(int64, *http.Request) (int, string) { return 200, emptyListing }}
	o := d.options()
	o.ReadOnly = true
	ctx, cancel := context.WithCancel(t.Context())
	o.Transport = endless{d, ctx}
	r, err := New(t.Context(), o)
	must(t, err)
	body, err := r.Get(ctx, "a", 0, -1)
	must(t, err)
	defer body.Close()
	cancel()
	if _, err := io.ReadAll(body); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// endless sends the first byte of a body, and no more until its context ends.
type endless struct {
	*double
	ctx context.Context
}

func (e endless) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := e.double.RoundTrip(req)
	if err == nil && strings.HasSuffix(req.URL.Path, "/a") {
		in, out := io.Pipe()
		context.AfterFunc(req.Context(), func() { out.CloseWithError(req.Context().Err()) })
		go out.Write([]byte{1})
		res.Body, res.ContentLength = in, 100
	}
	return res, err
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Options{
		"s3://bucket":                {Bucket: "bucket"},
		"s3://bucket/":               {Bucket: "bucket"},
		"s3://bucket/stores/17":      {Bucket: "bucket", Prefix: "stores/17"},
		"s3://b/p/?region=eu-west-1": {Bucket: "b", Prefix: "p", Region: "eu-west-1"},
		"s3://b/p?endpoint=http://127.0.0.1:7070&path-style=true": {Bucket: "b", Prefix: "p", Endpoint: "http://127.0.0.1:7070", PathStyle: true},
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "bucket", "http://bucket", "s3://key:" + testSecret + "@bucket/p", "s3://b?secret=" + testSecret, "s3://b?path-style=" + testSecret,
		"s3://b/%zz" + testSecret} {
		_, err := Parse(text)
		wantConfigError(t, err, "")
	}
}
