package bridge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"imctl/bridge/im"
	"imctl/bridge/natstest"
	"imctl/bridge/wire"
	"imctl/kv"
)

// TestBlockedFriend checks on two nodes that a blocked friend sees the user who blocks it as offline: in its sessions,
// in the answer to a login, and for dialogues.
func TestBlockedFriend(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	nodes := []*node{startNode(t, url), startNode(t, url)}
	for i, n := range nodes {
		users := n.users(t, fmt.Sprint("user ", i, " "), 3)
		ann, bob, cid := users[0], users[1], users[2]
		n.befriend(t, ann, bob)
		n.befriend(t, ann, cid)
		n.befriend(t, bob, cid)
		a, b := nodes[0].login(t, ann), nodes[1].login(t, bob)
		call := func(name string) {
			t.Helper()
			if code := n.call(t, a, "/im/friends/"+name, query("to", bob.ID)); code != wire.Success {
				t.Errorf("%s is answered %d", name, code)
			}
		}
		wantCodes := func(what string, toAnn, toBob wire.Code) {
			t.Helper()
			if got := b.say(t, ann.ID); got != toAnn {
				t.Errorf("%s: a dialogue to the user who blocks is answered %d, want %d", what, got, toAnn)
			}
			if got := a.say(t, bob.ID); got != toBob {
				t.Errorf("%s: a dialogue to the blocked user is answered %d, want %d", what, got, toBob)
			}
		}
		online := func(s *session, friend string) bool {
			for _, f := range s.login.Friends {
				if f.ID == friend {
					return f.Online
				}
			}
			t.Errorf("%s is not in the list of friends", friend)
			return false
		}
		wantCodes("before the block", wire.Success, wire.Success)
		for range 2 { // the second call changes nothing
			call("block")
			wantCodes("while blocked", wire.PeerOffline, wire.NotFriends)
		}
		wait(t, "the user who blocks goes offline", func() bool { return b.shown(ann.ID) == wire.FriendOffline && a.shown(bob.ID) == wire.FriendOffline })
		again, other := nodes[0].login(t, bob), nodes[1].login(t, ann)
		if online(again, ann.ID) || online(other, bob.ID) {
			t.Error("the two see each other online at login")
		}
		if got := again.say(t, ann.ID); got != wire.PeerOffline {
			t.Errorf("a dialogue of a new session to the user who blocks is answered %d", got)
		}
		if got := blockedBy(t, n, a); len(got) != 1 || got[0] != bob.ID {
			t.Errorf("the list of blocked users is %v", got)
		}
		if got := blockedBy(t, n, b); got != nil {
			t.Errorf("the blocked user's list is %v, want null", got)
		}
		// Cid's presence is announced after Ann's, who is a friend of the same two.
		fresh := nodes[1].login(t, cid)
		wait(t, "another friend comes online", func() bool { return b.shown(cid.ID) == wire.FriendOnline })
		if got := b.shown(ann.ID); got != wire.FriendOffline {
			t.Errorf("the blocked user was shown %d of the user who blocks", got)
		}
		if !online(fresh, ann.ID) || !online(fresh, bob.ID) {
			t.Error("a third user does not see the two online")
		}
		call("unblock")
		wantCodes("after the block", wire.Success, wire.Success)
		wait(t, "the two see each other online", func() bool { return b.shown(ann.ID) == wire.FriendOnline && a.shown(bob.ID) == wire.FriendOnline })
		if got := blockedBy(t, n, a); got != nil {
			t.Errorf("the list of blocked users is %v, want null", got)
		}
		a.ws.Close()
		b.ws.Close()
	}
}

func query(key, value string) url.Values { return url.Values{key: {value}} }

// blockedBy returns the ids of the users whom the user of a session blocks.
func blockedBy(t testing.TB, n *node, s *session) (ids []string) {
	t.Helper()
	r, err := http.Get(n.base + "/im/friends/blocked?" + url.Values{"id": {s.id}, "token": {s.login.Token}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var got wire.Blocked
	if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got.Code != wire.Success {
		t.Fatalf("blocked: %+v, %v", got, err)
	}
	for _, p := range got.Blocked {
		ids = append(ids, p.ID)
	}
	return ids
}

// slowSession is a session whose client does not read yet.
func slowSession(t *testing.T, n *node, u kv.User) *websocket.Conn {
	t.Helper()
	ws, frame := n.dial(t, url.Values{"account": {u.Account}, "password": {testPassword}, "push": {"1"}})
	if !strings.HasPrefix(string(frame), `{"code":200`) {
		t.Fatalf("login: %s", frame)
	}
	return ws
}

// flood publishes profiles of a friend, named from 1 to count, and waits until the user's lane has handled them.
func flood(t *testing.T, n *node, to kv.User, friend kv.User, count int) {
	t.Helper()
	p := wire.Profile{ID: friend.ID, ProfileFields: wire.ProfileFields{Picture: strings.Repeat("p", 32<<10)}}
	for i := range count {
		p.Name = fmt.Sprint("name ", i+1)
		if err := n.Bridge.nc.Publish("im.user."+to.ID+".notice", wire.AppendRefresh(nil, p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Bridge.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	// The lane handles this probe after the notices.
	if online, err := n.lanes.Online(t.Context(), to.ID); err != nil || !online[0] {
		t.Fatalf("the slow session has ended: %v, %v", online, err)
	}
}

// profiles reads frames until done, and returns how many profiles there were.
func profiles(t *testing.T, ws *websocket.Conn, done func(wire.Frame) bool) (n int) {
	t.Helper()
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("after %d profiles: %v", n, err)
		}
		var f wire.Frame
		if err := json.Unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		if f.Code == wire.RefreshProfile {
			n++
		}
		if done(f) {
			return n
		}
	}
}

// keepSlow keeps a session that reads nothing for as long as a busy machine needs for the rest of a test.
func keepSlow(o *Options) { o.Sessions.WriteTimeout = 5 * time.Minute }

// TestSlowSessionGetsTheLastProfile: a session that reads nothing survives 1,000 profiles of a friend, of which it is
// shown the last.
func TestSlowSessionGetsTheLastProfile(t *testing.T) {
	t.Parallel()
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), keepSlow)
	users := n.users(t, "u", 2)
	n.befriend(t, users[0], users[1])
	ws := slowSession(t, n, users[0])
	flood(t, n, users[0], users[1], 1000)
	shown := profiles(t, ws, func(f wire.Frame) bool { return f.Name == "name 1000" })
	if shown >= 1000 {
		t.Errorf("the session was shown all %d profiles: they did not wait", shown)
	}
}

// TestSlowSessionIsRefreshed: notices about more friends than a slow session has room for are replaced by the current
// state once it reads.
func TestSlowSessionIsRefreshed(t *testing.T) {
	t.Parallel()
	n := startNode(t, natstest.Start(t, t.TempDir(), -1).ClientURL(), keepSlow)
	users := n.users(t, "u", 40)
	me, friends := users[0], users[2:]
	n.befriend(t, me, users[1])
	for _, f := range friends {
		n.befriend(t, me, f)
	}
	ws := slowSession(t, n, me)
	flood(t, n, me, users[1], 1000)
	missing := make(map[string]string) // name by id
	for i, f := range friends {
		for _, sign := range []string{"first", "last"} {
			update := im.ProfileUpdate{SetProfile: func(p *wire.ProfileFields) {
				p.Name, p.Picture, p.Sign = fmt.Sprint("friend ", i), strings.Repeat("p", 60<<10), sign
			}}
			if err := n.services.Accounts.UpdateProfile(t.Context(), f, update); err != nil {
				t.Fatal(err)
			}
		}
		missing[f.ID] = fmt.Sprint("friend ", i)
	}
	profiles(t, ws, func(f wire.Frame) bool {
		if f.Code == wire.RefreshProfile && f.Sign == "last" && missing[f.ID] == f.Name {
			delete(missing, f.ID)
		}
		return len(missing) == 0
	})
}
