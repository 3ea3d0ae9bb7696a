package s3

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// The server of the tests: versitygw, over a folder. It is built from the module proxy, once for all of them, unless
// VERSITYGW names one that is there.
const versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

const (
	testKey    = "testaccesskey"
	testSecret = "a-secret-that-nobody-may-print"
	testRegion = "us-east-1"
)

func testCredentials() *credentials.Credentials {
	return credentials.NewStaticV4(testKey, testSecret, "")
}

// built is where the server's program is.
var built struct {
	sync.Once
	dir, program string
	err          error
}

func build() (string, error) {
	built.Do(func() {
		if built.program = os.Getenv("VERSITYGW"); built.program != "" {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "versitygw-"); built.err != nil {
			return
		}
		built.program = filepath.Join(built.dir, "versitygw")
		cmd := exec.Command("go", "install", versitygw)
		cmd.Env = append(os.Environ(), "GOBIN="+built.dir)
		if text, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go install %s: %w\n%s", versitygw, err, text)
		}
	})
	return built.program, built.err
}

func TestMain(m *testing.M) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
		"AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "AWS_PROFILE"} {
		os.Unsetenv(name)
	}
	os.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	os.Setenv("AWS_CONFIG_FILE", os.DevNull)
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// gateway is a server that can be killed and started again, over the same folder and at the same address.
type gateway struct {
	t       testing.TB
	folder  string
	address string
	buckets atomic.Int64
	wrap    func(*exec.Cmd) // unless nil, changes how the server is run

	mu  sync.Mutex
	cmd *exec.Cmd // of mu; nil while it is down
}

// freeAddress returns an address on loopback that nobody listens at. Its port is none that the system gives to those who dial,
// so that it is still free when the server is started again.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			must(t, l.Close())
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// startGateway returns a server that is up. It is stopped at the end of the test.
func startGateway(t testing.TB) *gateway {
	t.Helper()
	g := &gateway{t: t, folder: t.TempDir(), address: freeAddress(t)}
	must(t, g.start())
	t.Cleanup(g.kill)
	return g
}

// start starts the server and returns when it answers.
func (g *gateway) start() error {
	program, err := build()
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "--port", g.address, "--access", testKey, "--secret", testSecret, "--region", testRegion, "--quiet", "posix", g.folder)
	cmd.Dir = g.folder
	if g.wrap != nil {
		g.wrap(cmd)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.mu.Lock()
	g.cmd = cmd
	g.mu.Unlock()
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", g.address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return fmt.Errorf("the server does not answer: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends the server by SIGKILL, if it is up.
func (g *gateway) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait() // says that it was killed
		g.cmd = nil
	}
}

// bucket makes a bucket: a folder is one.
func (g *gateway) bucket() string {
	g.t.Helper()
	name := fmt.Sprintf("bucket-%d", g.buckets.Add(1))
	must(g.t, os.Mkdir(filepath.Join(g.folder, name), 0o700))
	return name
}

// options are those of a remote in a new bucket.
func (g *gateway) options() Options {
	return Options{Bucket: g.bucket(), Prefix: "stores/1", Endpoint: "http://" + g.address, Region: testRegion, Credentials: testCredentials()}
}

// remote returns a remote that is empty.
func (g *gateway) remote(t testing.TB) *Remote {
	t.Helper()
	r, err := New(t.Context(), g.options())
	must(t, err)
	return r
}

// soon is a context that ends after far longer than anything here should take.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
