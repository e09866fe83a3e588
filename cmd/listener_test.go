package cmd

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/embedded"
)

// TestListener checks that a subscription or a stream that covers the subjects of users is reported by name, that its
// answers count as nobody's, and that a dialogue to a friend who is offline is still answered 508.
func TestListener(t *testing.T) {
	t.Parallel()
	for name, listen := range map[string]func(t *testing.T, nc *nats.Conn) (names string, end func() error){
		"subscription": func(t *testing.T, nc *nats.Conn) (string, func() error) {
			sub, err := nc.SubscribeSync("im.>")
			if err != nil {
				t.Fatal(err)
			}
			return `client of user "admin" at 127.0.0.1:`, sub.Unsubscribe
		},
		"stream": func(t *testing.T, nc *nats.Conn) (string, func() error) {
			js, err := jetstream.New(nc)
			if err == nil {
				_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CATCH", Subjects: []string{"im.user.>"}, Storage: jetstream.MemoryStorage})
			}
			if err != nil {
				t.Fatal(err)
			}
			return "stream CATCH", func() error { return js.DeleteStream(t.Context(), "CATCH") }
		},
	} {
		for kept, keep := range map[string]time.Duration{"kept": 24 * time.Hour, "not kept": 0} {
			t.Run(name+" "+kept, func(t *testing.T) {
				t.Parallel()
				w, s := newNATSWorld(t, func(c *Config) { c.Dialogues.Keep, c.Dialogues.Timeout = keep, 2*time.Second })
				s.mayLog = []string{"a listener covers the subjects of users"}
				alice, bob := w.newFriends(t)
				bob.tunnel.close(t)
				if code := alice.talk(t, bob, "1"); code != 508 {
					t.Errorf("before: got code %d, want 508", code)
				}
				admin, err := embedded.ReadContext(s.app.config.Data)
				if err != nil {
					t.Fatal(err)
				}
				nc, err := nats.Connect(admin.URL, nats.UserInfo(admin.User, admin.Password))
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				names, end := listen(t, nc)
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
				// The first dialogue finds a listener that is not known yet.
				if code := alice.talk(t, bob, "2"); code != 507 {
					t.Errorf("while the listener is unknown: got code %d, want 507", code)
				}
				eventually(t, "the listener is found", func() bool { return s.app.bridge.Degraded() != nil })
				if text := s.app.readyText(); s.app.ready() != nil || !strings.HasPrefix(text, "ok, degraded: presence is broken") || !strings.Contains(text, names) {
					t.Errorf("readyz: %s", text)
				}
				if code := alice.talk(t, bob, "3"); code != 508 {
					t.Errorf("to a friend who is offline: got code %d, want 508", code)
				}
				if a := command(t, "", "", "status", "--data", s.app.config.Data); a.code != exitFailed || !strings.Contains(a.err, names) {
					t.Errorf("status: %+v", a)
				}
				if !strings.Contains(httpBody(t, s.app.opsURL()+"/metrics"), "\nimctl_presence_broken 1\n") {
					t.Error("the metric is not 1")
				}
				bob.login(t)
				if code := alice.talk(t, bob, "4"); code != 200 {
					t.Errorf("to a friend who is online: got code %d, want 200", code)
				}
				bob.tunnel.close(t)
				if err := end(); err != nil {
					t.Fatal(err)
				}
				last := 4
				eventually(t, "the listener is gone", func() bool {
					last++
					if code := alice.talk(t, bob, strconv.Itoa(last)); code != 508 { // which makes the server look again
						t.Errorf("after the listener: got code %d, want 508", code)
					}
					return s.app.bridge.Degraded() == nil
				})
				if n := strings.Count(s.log.String(), "a listener covers the subjects of users"); n != 1 {
					t.Errorf("the listener is logged %d times", n)
				}
			})
		}
	}
}
