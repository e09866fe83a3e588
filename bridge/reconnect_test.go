package bridge

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// patient has dialogues time out long after a test has given up. An answer during an outage does not wait for the timeout.
func patient(o *Options) { o.Dialogues.Timeout = 10 * time.Minute }

// TestOutage stops NATS during dialogues between users on two nodes, and starts it again. Every dialogue answered 200
// arrives once and in order, every dialogue is answered, no session ends, and the nodes recover.
func TestOutage(t *testing.T) {
	t.Parallel()
	s := startOutageServer(t)
	nodes := []*node{startNode(t, s.url, patient), startNode(t, s.url, patient)}
	users := nodes[0].users(t, "u", 8)
	sessions := make([]*session, len(users))
	for i := 0; i < len(users); i += 2 {
		nodes[0].befriend(t, users[i], users[i+1])
	}
	stayer, silent, leaver := users[0], users[1], users[2]
	nodes[0].befriend(t, stayer, leaver)
	for i, u := range users {
		sessions[i] = nodes[i%2].login(t, u)
	}
	watch, away := nodes[0].login(t, stayer), nodes[1].login(t, leaver)
	sessions[2].ws.Close() // the leaver stays on the other node
	var talks []*stream
	for i := 4; i < len(users); i += 2 {
		talks = append(talks, newStream(sessions[i], sessions[i+1]), newStream(sessions[i+1], sessions[i]))
	}
	var sending sync.WaitGroup
	for _, k := range talks {
		sending.Go(func() { k.send(t) })
	}
	more(t, talks, wire.Success)
	for round := range 2 {
		s.stop()
		for _, n := range nodes {
			wait(t, "not ready", func() bool { return n.Ready() != nil })
		}
		more(t, talks, wire.SendFailed)
		if round == 0 {
			away.ws.Close()
		}
		s.restart(t)
		for _, n := range nodes {
			wait(t, "ready", func() bool { return n.Ready() == nil })
		}
		more(t, talks, wire.Success)
	}
	wait(t, "the user who left during the outage is offline", func() bool { return watch.say(t, leaver.ID) == wire.PeerOffline })
	wait(t, "presence is up to date", func() bool {
		return watch.shown(leaver.ID) == wire.FriendOffline && watch.shown(silent.ID) == wire.FriendOnline
	})
	for _, k := range talks {
		close(k.enough)
	}
	sending.Wait()
	for _, k := range talks {
		wait(t, "all dialogues are answered, and those answered 200 have arrived", k.settled)
		k.check(t)
	}
	for i, session := range sessions {
		if i != 2 && !session.alive() {
			t.Errorf("session %d has ended: %v", i, session.err)
		}
	}
	nodes[1].login(t, leaver)
	if code := watch.say(t, leaver.ID); code != wire.Success {
		t.Errorf("dialogue after the second login: got code %d, want 200", code)
	}
}

// stream is a series of dialogues from one session to another.
type stream struct {
	from, to *session
	enough   chan struct{}
}

func newStream(from, to *session) *stream { return &stream{from, to, make(chan struct{})} }

// send sends dialogues until enough is closed.
func (k *stream) send(t *testing.T) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-k.enough:
			return
		case <-pace.C:
		}
		if _, err := k.from.send(k.to.id); err != nil {
			t.Error(err)
			return
		}
	}
}

// more waits until each talk has 50 more answers with the code.
func more(t *testing.T, talks []*stream, code wire.Code) {
	t.Helper()
	for _, k := range talks {
		want := k.from.answered(code) + 50
		wait(t, "answers "+code.Message(), func() bool { return k.from.answered(code) >= want })
	}
}

// settled reports whether all dialogues are answered, and as many as were answered 200 have arrived.
func (k *stream) settled() bool {
	k.from.mu.Lock()
	sent, answered, delivered := k.from.sent, len(k.from.answers), k.from.count[wire.Success]
	k.from.mu.Unlock()
	return answered == sent && len(k.to.from(k.from.id)) >= delivered
}

func (k *stream) check(t *testing.T) {
	t.Helper()
	arrived := k.to.from(k.from.id)
	if !slices.IsSorted(arrived) || len(slices.Compact(slices.Clone(arrived))) != len(arrived) {
		t.Errorf("dialogues arrived twice or out of order: %v", arrived)
	}
	k.from.mu.Lock()
	defer k.from.mu.Unlock()
	for id, code := range k.from.answers {
		_, found := slices.BinarySearch(arrived, id)
		if code != wire.Success && code != wire.SendFailed || code == wire.Success && !found {
			t.Errorf("dialogue %d: got code %d, arrived: %t; want code 200 or 507", id, code, found)
		}
	}
}

// TestChangesDuringOutage changes records while a node has no connection to NATS. When it has one again, it ends the
// sessions of revoked tokens, and of disabled and deleted accounts, and its rosters are current. Other sessions stay.
func TestChangesDuringOutage(t *testing.T) {
	t.Parallel()
	s := startOutageServer(t)
	n := startNode(t, s.url, patient)
	users := n.users(t, "u", 6)
	me, revoked, disabled, deleted, removed, friend := users[0], users[1], users[2], users[3], users[4], users[5]
	silent := n.users(t, "silent", 1)[0]
	received := neverReplies(t, s.url, silent)
	n.befriend(t, me, silent)
	for _, u := range []kv.User{revoked, disabled, deleted, removed} {
		n.befriend(t, me, u)
	}
	sessions := make(map[string]*session)
	for _, u := range users {
		sessions[u.ID] = n.login(t, u)
	}
	kept := n.login(t, revoked) // another session of the same user, whose token stays
	say := func(when string, code wire.Code, to ...kv.User) {
		t.Helper()
		for _, u := range to {
			if got := sessions[me.ID].say(t, u.ID); got != code {
				t.Errorf("dialogue to %s %s: got code %d, want %d", u.Account, when, got, code)
			}
		}
	}
	say("before the outage", wire.Success, revoked, disabled, deleted, removed)
	say("before the outage", wire.NotFriends, friend)

	if _, err := sessions[me.ID].send(silent.ID); err != nil {
		t.Fatal(err)
	}
	<-received
	s.stop()
	wait(t, "not ready", func() bool { return n.Ready() != nil })
	wait(t, "an answer to the dialogue that waited for a reply", func() bool { return sessions[me.ID].answered(wire.SendFailed) == 1 })
	say("during the outage", wire.SendFailed, revoked, disabled, deleted, removed)
	if code := n.call(t, sessions[me.ID], "/im/friends/found", url.Values{"name": {"x"}}); code != wire.InternalError {
		t.Errorf("call during the outage: got code %d, want %d", code, wire.InternalError)
	}
	n.wantRefused(t, me, wire.InternalError, websocket.CloseTryAgainLater)
	elsewhere(t, s.dir, func(ctx context.Context, store *kv.Store) error {
		if err := store.Tokens.RevokeAllBut(ctx, revoked.ID, kv.TokenHash(kept.login.Token)); err != nil {
			return err
		}
		if _, err := store.Users.Update(ctx, disabled.ID, func(u *kv.User) error { u.Disabled = true; return nil }); err != nil {
			return err
		}
		if err := store.Users.Delete(ctx, deleted.ID); err != nil {
			return err
		}
		if _, err := store.Rosters.Remove(ctx, me.ID, removed.ID); err != nil {
			return err
		}
		_, err := store.Rosters.Befriend(ctx, me.ID, friend.ID)
		return err
	})
	for id, session := range sessions {
		if !session.alive() {
			t.Errorf("the session of %s ended during the outage: %v", id, session.err)
		}
	}
	s.restart(t)
	wait(t, "ready", func() bool { return n.Ready() == nil })
	sessions[revoked.ID].wantClose(t, websocket.ClosePolicyViolation, "token revoked")
	sessions[disabled.ID].wantClose(t, websocket.ClosePolicyViolation, "account disabled")
	sessions[deleted.ID].wantClose(t, websocket.ClosePolicyViolation, "account disabled")
	say("after the outage", wire.Success, friend, revoked)
	say("after the outage", wire.NotFriends, removed)
	wait(t, "the dialogue", func() bool { return len(kept.from(me.ID)) == 2 }) // that before the outage, and this one
	for _, s := range []*session{kept, sessions[me.ID], sessions[removed.ID], sessions[friend.ID]} {
		if !s.alive() {
			t.Errorf("the session of %s has ended: %v", s.id, s.err)
		}
	}
	n.wantRefused(t, disabled, wire.WrongCredentials, websocket.ClosePolicyViolation)
}

// neverReplies puts a user online as a NATS client that acknowledges no dialogue. The channel receives each dialogue.
func neverReplies(t *testing.T, url string, u kv.User) <-chan *nats.Msg {
	t.Helper()
	received := make(chan *nats.Msg, 1)
	nc := natstest.Connect(t, url)
	if _, err := nc.ChanSubscribe(subject.Prefix("im").Dialogue(u.ID), received); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return received
}

// elsewhere changes the buckets in dir, on a NATS server of its own that runs only meanwhile.
func elsewhere(t *testing.T, dir string, change func(context.Context, *kv.Store) error) {
	t.Helper()
	s := natstest.Run(t, dir, -1)
	defer natstest.Stop(s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nc := natstest.Connect(t, s.ClientURL())
	defer nc.Close()
	store, err := kv.Open(ctx, nc, kv.Options{})
	if err == nil {
		err = change(ctx, store)
	}
	if err != nil {
		t.Error(err)
	}
}

// wantRefused checks the answer and the close code of a refused login.
func (n *node) wantRefused(t *testing.T, u kv.User, code wire.Code, closed int) {
	t.Helper()
	ws, frame := n.dial(t, url.Values{"account": {u.Account}, "password": {testPassword}})
	var got struct{ Code wire.Code }
	if err := json.Unmarshal(frame, &got); err != nil || got.Code != code {
		t.Errorf("login: got code %d, %v, want %d", got.Code, err, code)
	}
	if _, _, err := ws.ReadMessage(); !websocket.IsCloseError(err, closed) {
		t.Errorf("login: got %v, want close code %d", err, closed)
	}
}

// TestReadyTellsWhy checks the reasons that a node gives while it is not ready.
func TestReadyTellsWhy(t *testing.T) {
	t.Parallel()
	s := startOutageServer(t)
	n := startNode(t, s.url)
	if err := n.Ready(); err != nil {
		t.Errorf("after the start: %v", err)
	}
	s.stop()
	wait(t, "NATS is unreachable", func() bool {
		err := n.Ready()
		return err != nil && strings.Contains(err.Error(), "NATS is unreachable")
	})
	s.restart(t)
	wait(t, "ready", func() bool { return n.Ready() == nil })
	if err := n.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil || err.Error() != "server is going down" {
		t.Errorf("after Drain: %v", err)
	}
}
