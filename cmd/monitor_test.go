package cmd

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/embedded"
)

// TestMonitor checks the operator's door to the embedded NATS server: its monitoring, and a user of its system account.
func TestMonitor(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.NATS.Monitor, c.NATS.Listen = "127.0.0.1:0", "127.0.0.1:0" })
	for path, want := range map[string]string{"/varz": `"server_name"`, "/jsz?streams=1": `"KV_im_users"`, "/healthz": `"status":"ok"`, "/connz": `"connections"`} {
		if body := httpBody(t, s.app.monitorURL()+path); !strings.Contains(strings.ReplaceAll(body, " ", ""), want) {
			t.Errorf("%s: no %s in %s", path, want, body)
		}
	}
	system, err := embedded.ReadSystemContext(s.app.config.Data)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(system.URL, nats.UserInfo(system.User, system.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request("$SYS.REQ.SERVER.PING.JSZ", nil, waitTimeout)
	if err != nil || !strings.Contains(string(m.Data), `"store_dir"`) {
		t.Errorf("JSZ: %v", err)
	}
}
