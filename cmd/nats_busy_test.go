package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/governor"
	"imctl/bridge/subject"
)

// TestNodeClientOnABusyServer checks that the NATS client for Node.js, which gives up after two refusals in a row, comes
// back after a server has held its logins back for a while.
func TestNodeClientOnABusyServer(t *testing.T) {
	t.Parallel()
	dir := npm(t, "../examples/echo-js")
	s := start(t, natsListener, func(c *Config) { c.Limits.LoginFailures = Rate{3, time.Hour} })
	w := newWorld(t, s)
	bot, friend := w.newFriends(t)
	bot.tunnel.close(t)
	run(t, []string{"IM_NATS=" + s.natsURL(), "IM_ID=" + bot.id, "IM_ACCOUNT=" + bot.account, "IM_PASSWORD=" + bot.password, "IM_TIMEOUT=2000"}, "node", filepath.Join(dir, "echo.mjs"))
	var server string
	var cid uint64
	sys, err := s.app.backend.server.System("test")
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	eventually(t, "the bot to connect", func() bool {
		server, cid = connectionOf(t, sys, subject.Prefix("im").UserConn(bot.id))
		return cid != 0
	})
	for n := range 3 {
		if _, err := bridgetest.Dial(s.natsURL(), bot.account, fmt.Sprint("wrong", n), ""); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("a wrong password: %v", err)
		}
	}
	if _, err := sys.Request(subject.ServerKick(server), fmt.Appendf(nil, `{"cid":%d}`, cid), waitTimeout); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two attempts of the bot", func() bool { return strings.Count(s.log.String(), "login to NATS put off") >= 2 })
	s.app.governor.Set(governor.Options{})
	eventually(t, "the bot to be back", func() bool {
		_, cid := connectionOf(t, sys, subject.Prefix("im").UserConn(bot.id))
		return cid != 0
	})
	eventually(t, "the bot to be online", func() bool {
		friend.tunnel.close(t)
		return friend.login(t).Friends[0].Online
	})
	talksBack(t, bot, friend)
}

// connectionOf returns server and id of a connection with that name, 0 for none.
func connectionOf(t *testing.T, sys *nats.Conn, name string) (server string, cid uint64) {
	t.Helper()
	m, err := sys.Request(subject.ServerConnections(sys.ConnectedServerId()), fmt.Appendf(nil, `{"auth":true,"acc":"IM","user":%q}`, name), waitTimeout)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data struct {
			Server      string `json:"server_id"`
			Connections []struct {
				CID uint64 `json:"cid"`
			}
		}
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		t.Fatal(err)
	}
	for _, c := range answer.Data.Connections {
		return answer.Data.Server, c.CID
	}
	return "", 0
}
