package cmd

import (
	"path/filepath"
	"testing"
	"time"
)

// TestServerKilled kills one of two servers without a word. Its people are offline at once, their friends are told, and
// what it may have written and told nobody of is in force on the other one.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	stays := start(t, there.attached)
	dies := startProcess(t, filepath.Join(t.TempDir(), "data"), new(logBuffer), "IMCTL_NATS_URL="+there.url)
	w := newWorld(t, stays)
	w.secret(firstGroup(there.url, `:([0-9a-f]{32})@`))
	a, b := w.newFriends(t)
	c := w.newMembers(t, 1)[0]
	a.befriend(t, c)
	push, _ := a.openTunnel(t, "push", "1")

	// b moves to the other server, where a can talk to it.
	b.tunnel.close(t)
	push.want(t, `{"code":300,"message":"Friend Offline","ok":true,"id":"`+b.id+`"}`)
	w.deployment = dies
	b.login(t)
	w.deployment = stays
	push.want(t, `{"code":302,"message":"Friend Online","ok":true,"id":"`+b.id+`"}`)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Fatalf("a dialogue to the other server: %d", code)
	}
	push.next(t) // what one device sends the others show
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))

	// As if it had been killed between the change and telling the others.
	if _, err := stays.app.backend.store.Rosters.Remove(t.Context(), a.id, c.id); err != nil {
		t.Fatal(err)
	}
	if code := a.talk(t, c, "2"); code != 200 {
		t.Errorf("nobody was told of the removal: %d", code)
	}
	push.next(t)
	dies.kill(t)
	killed := time.Now()
	eventually(t, "508", func() bool { return a.talk(t, b, "3") == 508 })
	if took := time.Since(killed); took > time.Second {
		t.Errorf("its people were ghosts for %s", took)
	}
	push.want(t, `{"code":300,"message":"Friend Offline","ok":true,"id":"`+b.id+`"}`)
	eventually(t, "the removal in force", func() bool { return a.talk(t, c, "4") == 512 })
	// Nobody waits for the dead: changes, and logins of the same person, work at once.
	began := time.Now()
	a.call(t, "remove", "to", b.id).want(t, "remove", replyBody(200))
	if login := b.login(t); len(login.Friends) != 0 {
		t.Errorf("friends: %v", login.Friends)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	if ids, err := stays.app.backend.store.Nodes.IDs(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("listed are %v, %v", ids, err)
	}
}

// TestRevokedDuringOutage: a session whose token is revoked while its server is away from NATS ends when that is back; the
// others go on.
func TestRevokedDuringOutage(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	s := start(t, there.attached)
	s.mayLog = []string{"NATS", "the event log is not written"}
	w := newWorld(t, s)
	a, b := w.newFriends(t)
	_, second := b.openTunnel(t)
	// As another server does it that this one does not hear.
	if err := s.app.backend.store.Tokens.RevokeOthers(t.Context(), b.id, second.Token); err != nil {
		t.Fatal(err)
	}
	if code := a.talk(t, b, "1"); code != 200 {
		t.Fatalf("before: %d", code)
	}
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))
	there.stop()
	there.start(t)
	b.tunnel.wantClose(t, 1008)
	eventually(t, "200", func() bool { return a.talk(t, b, "2") == 200 })
}
