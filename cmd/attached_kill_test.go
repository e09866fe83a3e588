package cmd

import (
	"path/filepath"
	"testing"
	"time"
)

// TestServerKilled kills one of two servers. Its users are offline at once and their friends are notified. A change
// that the killed server stored, but did not announce, is in force on the other server.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	survivor := start(t, there.attached)
	victim := startProcess(t, filepath.Join(t.TempDir(), "data"), new(logBuffer), "IMCTL_NATS_URL="+there.url)
	w := newWorld(t, survivor)
	w.secret(firstGroup(there.url, `:([0-9a-f]{32})@`))
	a, b := w.newFriends(t)
	c := w.newMembers(t, 1)[0]
	a.befriend(t, c)
	push, _ := a.openTunnel(t, "push", "1")

	// b moves to the other server, where a can talk to it.
	b.tunnel.close(t)
	push.want(t, `{"code":300,"message":"Friend Offline","ok":true,"id":"`+b.id+`"}`)
	w.deployment = victim
	b.login(t)
	w.deployment = survivor
	push.want(t, `{"code":302,"message":"Friend Online","ok":true,"id":"`+b.id+`"}`)
	if code := a.talk(t, b, "1"); code != 200 {
		t.Fatalf("dialogue to the other server: got code %d, want 200", code)
	}
	push.next(t) // the echo
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"hello"`))

	// A change in the store without a notification, as if the server was killed between the two.
	if _, err := survivor.app.backend.store.Rosters.Remove(t.Context(), a.id, c.id); err != nil {
		t.Fatal(err)
	}
	if code := a.talk(t, c, "2"); code != 200 {
		t.Errorf("before the kill: got code %d, want 200, since the removal was not announced", code)
	}
	push.next(t)
	victim.kill(t)
	killed := time.Now()
	eventually(t, "508", func() bool { return a.talk(t, b, "3") == 508 })
	t.Logf("users of the killed server went offline after %s", time.Since(killed))
	push.want(t, `{"code":300,"message":"Friend Offline","ok":true,"id":"`+b.id+`"}`)
	eventually(t, "the removal in force", func() bool { return a.talk(t, c, "4") == 512 })
	// Changes and logins do not wait for the killed server.
	start := time.Now()
	a.call(t, "remove", "to", b.id).want(t, "remove", replyBody(200))
	if login := b.login(t); len(login.Friends) != 0 {
		t.Errorf("friends: %v", login.Friends)
	}
	t.Logf("remove and login took %s", time.Since(start))
	if ids, err := survivor.app.backend.store.Nodes.IDs(t.Context()); err != nil || len(ids) != 1 {
		t.Errorf("got nodes %v, %v, want one", ids, err)
	}
}
