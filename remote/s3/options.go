package s3

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/hybridlog/hybridlog/checkpoint"
)

// Options say where the bucket is and how to get there. Bucket is required; the zero value of everything else is usable.
type Options struct {
	// Bucket must exist.
	Bucket string
	// Prefix is put in front of the names of all objects, with a '/' in between: elements of letters, digits, '-', '_' and
	// '.', as checkpoint.ValidName has them. A bucket can hold many stores, each under a prefix of its own, none of which lies below
	// another. Empty: none.
	Prefix string
	// Endpoint is the URL of the server, such as https://s3.example.com:9000; without a scheme https. Empty: the one in
	// AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and else that of AWS.
	Endpoint string
	// Region is the one that the bucket is in. Empty: the one in AWS_REGION or AWS_DEFAULT_REGION, and else the server is
	// asked.
	Region string
	// PathStyle addresses the bucket as a part of the path. It is what most servers but AWS want, and is on by itself where
	// the host of Endpoint is a number or localhost.
	PathStyle bool
	// ReadOnly writes nothing, not even the probe (N2), and has the verbs that would write fail.
	ReadOnly bool
	// Timeout bounds each request, its body included; the context may end it earlier. A request that exceeds it is a
	// passing error. 0 = 2 minutes.
	Timeout time.Duration
	// Credentials, unless nil, are used instead of those that the package comment says.
	Credentials *credentials.Credentials
	// Transport, unless nil, makes the requests.
	Transport http.RoundTripper
}

const (
	defaultEndpoint = "https://s3.amazonaws.com"
	defaultTimeout  = 2 * time.Minute
)

// Parse reads a URL of the form
//
//	s3://BUCKET/PREFIX?endpoint=URL&region=NAME&path-style=true
//
// in which everything but BUCKET may be missing. A URL that holds credentials is refused.
func Parse(text string) (Options, error) {
	o, err := parse(text)
	if err != nil {
		return Options{}, fmt.Errorf("s3: %w", err)
	}
	return o, nil
}

func parse(text string) (Options, error) {
	u, err := url.Parse(text)
	if err != nil { // it quotes the text
		return Options{}, &ConfigError{Reason: "the URL of the remote cannot be parsed; it should look like s3://bucket/prefix?endpoint=https://host"}
	}
	if u.User != nil {
		return Options{}, &ConfigError{Reason: "the URL of the remote holds credentials, which belong into the environment or a file"}
	}
	if u.Scheme != "s3" {
		return Options{}, &ConfigError{Reason: fmt.Sprintf("the URL of the remote begins with %q, not with s3://", u.Scheme)}
	}
	o := Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	for name, values := range u.Query() {
		value := values[len(values)-1]
		switch name {
		case "endpoint":
			o.Endpoint = value
		case "region":
			o.Region = value
		case "path-style":
			if o.PathStyle, err = strconv.ParseBool(value); err != nil {
				return Options{}, &ConfigError{Reason: "path-style in the URL of the remote is neither true nor false"}
			}
		default:
			return Options{}, &ConfigError{Reason: fmt.Sprintf("the URL of the remote has a parameter %q; known are endpoint, region and path-style", name)}
		}
	}
	return o, nil
}

// complete fills in what the environment says, and checks the rest.
func (o Options) complete() (Options, *url.URL, error) {
	o.Endpoint = first(o.Endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), defaultEndpoint)
	o.Region = first(o.Region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if !strings.Contains(o.Endpoint, "://") {
		o.Endpoint = "https://" + o.Endpoint
	}
	u, err := url.Parse(o.Endpoint)
	switch {
	case o.Bucket == "":
		return o, nil, &ConfigError{Reason: "no bucket is given"}
	case o.Prefix != "" && !checkpoint.ValidName(o.Prefix):
		return o, nil, &ConfigError{Reason: fmt.Sprintf("prefix %q has other characters than letters, digits, '-', '_', '.' and single '/'", o.Prefix)}
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.User != nil:
		return o, nil, &ConfigError{Reason: "the endpoint is not a URL of the form https://host:port"}
	case o.Timeout < 0:
		return o, nil, &ConfigError{Reason: fmt.Sprintf("timeout of %v", o.Timeout)}
	}
	if o.Credentials == nil {
		o.Credentials = fromEnvironment()
	}
	return o, u, nil
}

// fromEnvironment returns the credentials that the package comment says.
func fromEnvironment() *credentials.Credentials {
	providers := []credentials.Provider{&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}}
	for _, name := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		if os.Getenv(name) != "" {
			return credentials.NewChainCredentials(append(providers, &credentials.IAM{}))
		}
	}
	return credentials.NewChainCredentials(providers)
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
