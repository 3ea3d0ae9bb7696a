package s3

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// ConfigError is what does not get better by trying again: a bucket that is not there, credentials, region or clock that
// the server refuses, a server that lacks what a remote needs. It is fs.ErrPermission, which checkpoint takes for final.
type ConfigError struct {
	Code   string // as the server has it, such as NoSuchBucket; empty when it was found out here
	Reason string // what is wrong, and what to do
}

func (e *ConfigError) Error() string {
	if e.Code == "" {
		return e.Reason
	}
	return fmt.Sprintf("%s (%s)", e.Reason, e.Code)
}

// Is reports whether target is fs.ErrPermission.
func (e *ConfigError) Is(target error) bool { return target == fs.ErrPermission }

// reasons explain codes that do not get better by themselves.
var reasons = map[string]string{
	"NoSuchBucket":                 "the bucket does not exist; make it, or correct its name",
	"InvalidBucketName":            "the bucket cannot have this name",
	"AccessDenied":                 "these credentials have no right to do this; a remote needs to get, put, delete and list",
	"InvalidAccessKeyId":           "the server does not know the access key",
	"XAdminUserNotFound":           "the server does not know the access key", // versitygw
	"SignatureDoesNotMatch":        "the secret key does not belong to the access key",
	"ExpiredToken":                 "the session token has expired",
	"RequestTimeTooSkewed":         "the clocks of this machine and of the server differ too much",
	"AuthorizationHeaderMalformed": "the server does not accept the region",
	"InvalidRegion":                "the server does not accept the region",
	"PermanentRedirect":            "the bucket is in another region",
	"NotImplemented":               "the server lacks something that a remote needs",
	"XAmzContentSHA256Mismatch":    "the server finds another checksum than was sent",
	"BadDigest":                    "the server finds another checksum than was sent",
	"ObjectParentIsFile":           "the server keeps objects as files, and a part of this name is an object already; take another prefix",  // versitygw
	"ExistingObjectIsDirectory":    "the server keeps objects as files, and other objects lie below this name already; take another prefix", // versitygw
}

// damagedOnTheWay are codes that New takes for what they say, and that may be passing for a body.
var damagedOnTheWay = map[string]bool{"XAmzContentSHA256Mismatch": true, "BadDigest": true}

// final reports whether an answer is the same whenever it is asked for: the request is at fault, and neither the moment nor
// the line.
func final(answer minio.ErrorResponse) bool {
	switch answer.Code {
	case "RequestTimeout", "IncompleteBody":
		return false
	}
	switch answer.StatusCode {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return !damagedOnTheWay[answer.Code]
	case http.StatusConflict: // of two requests, mostly, and then of a moment
		return reasons[answer.Code] != ""
	}
	return false
}

// translate makes what a request came to the error that Remote asks for (N4, N5).
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	answer, ok := answerOf(err)
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case ok && answer.Code == "NoSuchKey":
		return fs.ErrNotExist
	case ok && final(answer):
		return &ConfigError{Code: answer.Code, Reason: first(reasons[answer.Code], answer.Message)}
	case errors.Is(err, context.DeadlineExceeded): // the timeout's, not the caller's
		return fmt.Errorf("no answer within the timeout: %v", err)
	case errors.As(err, &authority), errors.As(err, &host):
		return &ConfigError{Reason: "the certificate of the server is not trusted: " + err.Error()}
	}
	return err
}

// answerOf returns what the server answered; ok is false when it gave no answer.
func answerOf(err error) (answer minio.ErrorResponse, ok bool) {
	ok = errors.As(err, &answer) && answer.StatusCode != 0
	return answer, ok
}

// status returns the status that the server answered with, 0 for none.
func status(err error) int {
	answer, _ := answerOf(err)
	return answer.StatusCode
}

// strict is a transport that takes a 404 without an error of S3 in it for what it is: the answer of something else, such as
// a proxy. minio-go makes NoSuchKey of it, which would read as an object that is not there (N4).
type strict struct{ next http.RoundTripper }

var errForeign = errors.New("404, but not from an S3 server: something in between has answered, or the endpoint is another one")

// maxError is the most of a body that is looked at for an error of S3, in bytes.
const maxError = 64 << 10

// RoundTrip implements http.RoundTripper.
func (s strict) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := s.next.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusNotFound {
		return res, err
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxError))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	var fault struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
	}
	if xml.Unmarshal(text, &fault) != nil || fault.Code == "" {
		return nil, errForeign
	}
	res.Body = io.NopCloser(bytes.NewReader(text))
	return res, nil
}
