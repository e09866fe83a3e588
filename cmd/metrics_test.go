package cmd

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"imctl/embedded"
)

// metricsServer is a server with every part that has metrics.
func metricsServer(t *testing.T) *server {
	t.Helper()
	s := start(t, overTLS, func(c *Config) {
		c.NATS.Listen, c.NATS.Monitor, c.Push.Subject = "127.0.0.1:0", "127.0.0.1:0", "mailto:admin@example.org"
		c.Backup.Dir = t.TempDir()
	})
	eventually(t, "the metrics of the streams", func() bool { return strings.Contains(s.metrics(t), "imctl_stream_bytes{") })
	return s
}

func (s *server) metrics(t testing.TB) string {
	t.Helper()
	body, err := tryBody(s.app.opsURL()+"/metrics", s.tls)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestMetrics reads the metrics of a server as Prometheus does.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := metricsServer(t)
	w := newWorld(t, s)
	a, b := w.newFriends(t)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Fatalf("dialogue: %d", code)
	}
	credentials, err := embedded.ReadContext(s.app.config.Data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(credentials.URL, nats.UserInfo(credentials.User, credentials.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	got := s.metrics(t)
	t.Run("values", func(t *testing.T) {
		build := readBuildInfo()
		for _, want := range []string{
			fmt.Sprintf(`imctl_build_info{goversion=%q,revision=%q,version=%q} 1`, build.Go, build.Revision, build.Version),
			`imctl_ready 1`, `imctl_nats_connected 1`, `imctl_disk_read_only 0`,
			`imctl_sessions{kind="contract"} 2`, `imctl_sessions{kind="keep"} 0`, `imctl_sessions{kind="nats"} 1`,
			`imctl_dialogues_total{code="200",outcome="delivered"} 1`, `imctl_logins_total{code="200",outcome="admitted"} 2`,
			`imctl_stream_available{stream="KV_im_users"} 1`, `imctl_stream_healthy{stream="IM_TALKS"} 1`,
		} {
			if !strings.Contains(got, want+"\n") {
				t.Errorf("no %s", want)
			}
		}
		for _, pattern := range []string{`imctl_certificate_expiry_timestamp_seconds\{listener="listen"\} (\S+)`, `imctl_disk_free_bytes (\S+)`,
			`imctl_disk_size_bytes (\S+)`, `imctl_disk_inodes (\S+)`, `imctl_stream_max_bytes\{stream="IM_LOG"\} (\S+)`,
			`imctl_calls_total\{call="register",code="200",outcome="succeeded"\} (\S+)`, `imctl_call_seconds_count\{call="register"\} (\S+)`} {
			if m := regexp.MustCompile(`(?m)^` + pattern + `$`).FindStringSubmatch(got); m == nil || m[1] == "0" {
				t.Errorf("no %s: %v", pattern, m)
			}
		}
	})
	t.Run("labels", func(t *testing.T) {
		if n := strings.Count(got, "\nimctl_dialogues_total{"); n > 8 {
			t.Errorf("imctl_dialogues_total has %d series on a new server", n)
		}
	})
	t.Run("conventions", func(t *testing.T) {
		problems, err := promlint.New(strings.NewReader(got)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "imctl_") {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		}
	})
}

// TestNotReadyMetric: a server that shuts down is not ready.
func TestNotReadyMetric(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.app.draining.Store(true)
	if body, status, err := fetch(s.app.opsURL() + "/readyz"); err != nil || status != http.StatusServiceUnavailable {
		t.Fatalf("%d %s %v", status, body, err)
	}
	if !strings.Contains(s.metrics(t), "imctl_ready 0\n") {
		t.Error("imctl_ready is not 0")
	}
}

// promtool returns what runs promtool, which Debian has in the package prometheus.
func promtool(t *testing.T) func(stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no promtool: apt-get install prometheus")
	}
	return func(stdin string, args ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), path, args...)
		c.Stdin, c.WaitDelay = strings.NewReader(stdin), time.Second
		var out bytes.Buffer
		c.Stdout, c.Stderr = &out, &out
		if err := c.Run(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, &out)
		}
	}
}
