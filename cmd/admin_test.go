package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"imctl/bridge/natsauth"
	"imctl/kv"
)

func fromJSON[T any](t testing.TB, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// TestFriendCommands makes and ends friendships of users online.
func TestFriendCommands(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	two := w.newMembers(t, 2)
	alice, bob := two[0], two[1]
	command(t, dir, "", "friend", "list", alice.account).want(t, exitDone, "ACCOUNT")
	command(t, dir, "", "friend", "add", alice.account, "id:"+bob.id).want(t, exitDone, alice.account+" and "+bob.account+" are friends\n")
	command(t, dir, "", "friend", "add", bob.account, alice.account).want(t, exitExists, "already friends")
	if code := alice.talk(t, bob, "1"); code != 200 {
		t.Errorf("dialogue between friends: got code %d, want 200", code)
	}
	command(t, dir, "", "friend", "list", alice.account).want(t, exitDone, bob.account, bob.id)
	command(t, dir, "", "friend", "list", alice.account, "-o", "json").want(t, exitDone, `"kind":"friend"`, `"account":"`+bob.account+`"`)
	command(t, dir, "", "friend", "remove", bob.account, alice.account, "-o", "json").want(t, exitDone, `{"user":{"id":"`+bob.id)
	if code := alice.talk(t, bob, "2"); code != 512 {
		t.Errorf("dialogue after the end of the friendship: got code %d, want 512", code)
	}
	command(t, dir, "", "friend", "remove", bob.account, alice.account).want(t, exitNotFound, "not friends")
	command(t, dir, "", "friend", "add", bob.account, bob.account).want(t, exitUse, "its own friend")
	command(t, dir, "", "friend", "add", bob.account, "nobody").want(t, exitNotFound, `"nobody"`)
	alice.call(t, "request", "to", bob.id, "note", "please\u202e").want(t, "request", replyBody(200))
	command(t, dir, "", "friend", "list", bob.account, "--requests").want(t, exitDone, alice.account, "request", "please\uFFFD")
	command(t, dir, "", "friend", "list", alice.account, "--requests", "--limit", "1").want(t, exitDone, bob.account, "asked")
}

// TestSessionAndTokenCommands closes sessions and revokes tokens.
func TestSessionAndTokenCommands(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	two := w.newMembers(t, 2)
	alice, bob := two[0], two[1]
	second, _ := alice.openTunnel(t)
	type session struct {
		ID, User, Account, Node, Address string
		Push                             bool
		Since                            string
	}
	var all []session
	for line := range strings.Lines(command(t, dir, "", "session", "list", "-o", "json").want(t, exitDone).out) {
		all = append(all, fromJSON[session](t, line))
	}
	if len(all) != 3 || all[0].Account != alice.account || all[1].User != bob.id || all[2].Account != alice.account {
		t.Fatalf("sessions: %+v", all)
	}
	command(t, dir, "", "session", "list", "--user", bob.account).want(t, exitDone, all[1].ID)
	node := all[0].Node
	command(t, dir, "", "session", "list", "--node", node).want(t, exitDone, all[1].ID)
	command(t, dir, "", "session", "list", "--node", "nope").want(t, exitNotFound, `there is no node "nope"; the nodes are `+node)
	if a := command(t, dir, "", "session", "list", "--node", node, "--user", w.newMember(t, 0).account).want(t, exitDone); strings.Count(a.out, "\n") != 1 {
		t.Errorf("sessions of a user without one: got %s", a.out)
	}
	command(t, dir, "", "session", "list", "--user", "nobody").want(t, exitNotFound)
	command(t, dir, "", "session", "close", alice.account, all[1].ID).want(t, exitNotFound, all[1].ID)
	command(t, dir, "", "session", "close", alice.account, all[2].ID).want(t, exitDone, "1 session closed\n")
	if frame, err := second.tryNext(); err == nil {
		t.Errorf("a closed session received %s", frame)
	}
	command(t, dir, "", "session", "close", bob.account, "-o", "json").want(t, exitDone, `"account":"`+bob.account+`"`)
	if frame, err := bob.tunnel.tryNext(); err == nil {
		t.Errorf("a closed session received %s", frame)
	}

	listed := command(t, dir, "", "token", "list", alice.account).want(t, exitDone, kv.TokenHash(alice.token), "ADDRESS", "127.0.0.1", "Go-http-client")
	if n := strings.Count(listed.out, "\n"); n != 3 {
		t.Errorf("%d lines: %s", n, listed.out)
	}
	command(t, dir, "", "token", "revoke", alice.account, kv.TokenHash(alice.token)[:12]).want(t, exitDone, "1 token revoked\n")
	alice.call(t, "found", "name", "x").want(t, "a token that was revoked", replyBody(515))
	if frame, err := alice.tunnel.tryNext(); err == nil {
		t.Errorf("the session of a revoked token received %s", frame)
	}
	command(t, dir, "", "token", "revoke", alice.account, "ffffffffffffffffffff").want(t, exitNotFound)
	command(t, dir, "", "token", "revoke", alice.account, "-o", "json").want(t, exitDone, `[{"hash":`)
	command(t, dir, "", "token", "revoke", alice.account).want(t, exitDone, "0 tokens revoked\n")
}

// TestAttachCommands adds, rotates and removes an attachment, and connects with its context file.
func TestAttachCommands(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	file := filepath.Join(dir, "archive.json")
	add := []string{"attach", "add", "archive", "--role", "consumer", "--filter", "dialogue.>"}
	command(t, dir, "", append(add, "--context", "archive.json")...).want(t, exitDone, "archive (consumer) added: archive.json\n")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("context file: got %v, %v", info, err)
	}
	first := connectByContext(t, file)
	command(t, dir, "", append(add, "--context", "archive.json")...).want(t, exitExists, "archive.json already exists; use --force to replace it")
	command(t, dir, "", append(add, "--context", "archive.json", "--force")...).want(t, exitExists, "attachment")
	if contextUser(file) != "archive" {
		t.Error("a failed command replaced the file")
	}
	command(t, dir, "", "attach", "rotate", "archive", "--context", "archive.json").want(t, exitDone, "has a new secret")
	eventually(t, "the old connection is closed", first.IsClosed)
	connectByContext(t, file)
	command(t, dir, "", "attach", "add", "second", "--role", "bridge", "--context", "second.json", "-o", "json").want(t, exitDone, `{"name":"second","role":"bridge","created"`)
	command(t, dir, "", "attach", "rotate", "second", "--context", "archive.json").want(t, exitExists)
	command(t, dir, "", "attach", "add", "lost", "--role", "admin", "--context", filepath.Join("nowhere", "x.json")).want(t, exitFailed, "no such file")

	shown := fromJSON[natsauth.Context](t, command(t, dir, "", "attach", "add", "tool", "--role", "admin").want(t, exitDone).out)
	if shown.URL != s.natsURL() || shown.User != "tool" || len(shown.Password) != 64 {
		t.Errorf("shown: %s %s, and a password of %d", shown.URL, shown.User, len(shown.Password))
	}
	if again := fromJSON[natsauth.Context](t, command(t, dir, "", "attach", "rotate", "tool", "-o", "json").want(t, exitDone).out); again.Password == shown.Password {
		t.Error("the secret has not changed")
	}
	listed := command(t, dir, "", "attach", "list").want(t, exitDone, "archive  consumer  dialogue.>", "second   bridge    -", "tool     admin")
	if strings.Contains(listed.out, "lost") {
		t.Error("an attachment was added although its file cannot be written")
	}
	command(t, dir, "", "attach", "remove", "archive").want(t, exitUse, "--yes")
	command(t, dir, "", "attach", "remove", "archive", "--yes").want(t, exitDone, "archive (consumer) removed\n")
	command(t, dir, "", "attach", "remove", "archive", "--yes").want(t, exitNotFound)
	command(t, dir, "", "attach", "rotate", "archive").want(t, exitNotFound)
	command(t, dir, "", "attach", "add", "x", "--role", "root").want(t, exitUse, "role")
	command(t, dir, "", "attach", "add", "x").want(t, exitUse, "missing --role")
	command(t, dir, "", "attach", "add", "x", "--role", "consumer", "--filter", "a..b").want(t, exitUse, "filter")
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files remain: %v, %v", left, err)
	}
}

// connectByContext connects with only the settings of a context file.
func connectByContext(t *testing.T, file string) *nats.Conn {
	t.Helper()
	nc, _, err := natscontext.Connect(file, nats.NoReconnect(), nats.Timeout(waitTimeout))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// TestStatusCommand runs imctl status with and without a running server.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	alice := w.newMember(t, 0)
	alice.login(t)
	alice.openTunnel(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "status").want(t, exitDone, "health    ok\n", "accounts  1\n", "online    1\n", "sessions  2\n", host, readBuildInfo().Version, "KV_im_users", "IM_LOG", "IM_TALKS")
	st := fromJSON[status](t, command(t, dir, "", "status", "-o", "json").want(t, exitDone).out)
	if st.Health != "ok" || len(st.Nodes) != 1 || st.Nodes[0].Sessions != 2 || st.Nodes[0].Users != 1 || len(st.Streams) != 8 || st.Streams[0].Messages == 0 {
		t.Errorf("%+v", st)
	}
	w.close(t)
	s.close(t)
	a := command(t, dir, "", "status")
	if a.code != exitNoServer || !strings.Contains(a.out, "health    no server is running\n") || !strings.Contains(a.out, "accounts  1\n") || a.err != "imctl: no server is running\n" {
		t.Errorf("without a server: %+v", a)
	}
	command(t, dir, "", "session", "list").want(t, exitNoServer, "no server is running")
	command(t, dir, "", "events").want(t, exitNoServer, "no server is running")
	command(t, dir, "", "friend", "list", alice.account).want(t, exitDone)
}
