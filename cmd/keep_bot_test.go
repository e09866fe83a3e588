package cmd

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestBotBesideSession: a user's NATS client has each kept dialogue, and the user's own, although the user also has a
// session, which has a subscription of its own. NATS does not count all subscriptions that overlap.
func TestBotBesideSession(t *testing.T) {
	t.Parallel()
	for name, botFirst := range map[string]bool{"bot first": true, "session first": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, s := newNATSWorld(t)
			ann, bob := w.newFriends(t)
			ann.tunnel.close(t)
			bob.tunnel.close(t)
			heard := make(chan *nats.Msg, 64)
			listen := func() {
				nc := s.asUser(t, bob)
				for _, subject := range []string{"im.user." + bob.id + ".dialogue", "im.user." + bob.id + ".notice"} {
					if _, err := nc.ChanSubscribe(subject, heard); err != nil {
						t.Fatal(err)
					}
				}
				if err := nc.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			var bobs *tunnel
			if botFirst {
				listen()
				bobs, _ = bob.keeps(t)
			} else {
				bobs, _ = bob.keeps(t)
				listen()
			}
			anns, _ := ann.keeps(t)
			wantHeard := func(want string) {
				t.Helper()
				for {
					select {
					case m := <-heard:
						var got struct{ ID string }
						if err := json.Unmarshal(m.Data, &got); err != nil {
							t.Fatalf("%s: %v", m.Data, err)
						}
						if got.ID == want {
							return
						}
					case <-time.After(waitTimeout):
						t.Fatalf("the NATS client does not hear %s", want)
					}
				}
			}
			for n := range 4 {
				s.forgetMatches(t)
				id := fmt.Sprint("d", n)
				anns.send(t, dialogue(`"`+id+`"`, bob.id, `"p"`))
				wantHeard(id)
				bobs.send(t, dialogue(`"own`+id+`"`, ann.id, `"p"`))
				wantHeard("own" + id)
			}
		})
	}
}

// forgetMatches makes the NATS server forget which subscriptions match the subjects of users: it remembers those of 1,024
// subjects, and counts the subscriptions of other subjects differently.
func (s *server) forgetMatches(t testing.TB) {
	t.Helper()
	for n := range 4096 {
		if err := s.app.backend.nc.Publish(fmt.Sprintf("im.nowhere.%d", n), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.app.backend.nc.Flush(); err != nil {
		t.Fatal(err)
	}
}
