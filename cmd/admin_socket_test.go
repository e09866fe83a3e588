package cmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imctl/bridge/natsauth"
)

// TestSocketBesideListener administers servers by the socket: one whose listener for NATS clients requires TLS, and one
// without such a listener. The administrator's connections are no sessions of NATS clients.
func TestSocketBesideListener(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Config)
		url    string // what the URL of a context begins with
		says   string // the line on standard error of attach add
	}{
		"TLS": {onAllAddresses, "tls://127.0.0.1:", ""},
		"no listener": {func(c *Config) { c.NATS.Listen = "" }, "",
			"imctl: the server does not accept NATS clients; set nats.listen, and set url in the context to that address\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := start(t, c.change, func(c *Config) {
				c.Data = filepath.Join(dir, "data")
				c.Registration = "invite"
				c.Ops.Listen = "127.0.0.1:0"
			})
			if err := os.Remove(filepath.Join(dir, "data", "admin.json")); err != nil { // only the socket is left
				t.Fatal(err)
			}
			events := s.follow(t, dir, "--filter", "user.>")
			if body := httpBody(t, s.app.opsURL()+"/metrics"); !strings.Contains(body, `imctl_sessions{kind="nats"} 0`+"\n") {
				t.Error("the command counts as a session of a NATS client")
			}
			command(t, dir, "", "invite", "create", "-o", "json").want(t, exitDone, `"`)
			command(t, dir, "secret of ada", "user", "create", "ada").want(t, exitDone)
			if line := events.line(t); !strings.Contains(line, "user created      ada") {
				t.Errorf("event: %s", line)
			}
			events.interrupt(t)
			a := command(t, dir, "", "attach", "add", "archive", "--role", "consumer", "--context", "archive.json")
			if a.code != exitDone || a.err != c.says {
				t.Errorf("exit code %d: %s", a.code, a.err)
			}
			text, err := os.ReadFile(filepath.Join(dir, "archive.json"))
			if err != nil {
				t.Fatal(err)
			}
			archive := fromJSON[natsauth.Context](t, string(text))
			if c.url == "" && archive.URL != "" || !strings.HasPrefix(archive.URL, c.url) {
				t.Errorf("the context has the URL %q", archive.URL)
			}
			if c.url != "" {
				connectByContext(t, filepath.Join(dir, "archive.json"))
			}
		})
	}
}
