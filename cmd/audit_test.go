package cmd

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/audit"
)

// audited returns the entries that imctl audit lists.
func audited(t *testing.T, dir string, args ...string) (all []audit.Event) {
	t.Helper()
	args = append([]string{"audit", "-o", "json"}, args...)
	for line := range strings.Lines(command(t, dir, "", args...).want(t, exitDone).out) {
		all = append(all, fromJSON[audit.Event](t, line))
	}
	return all
}

// kinds returns the kinds of entries, and how often each occurs.
func kinds(all []audit.Event) map[audit.Kind]int {
	n := make(map[audit.Kind]int)
	for _, e := range all {
		n[e.Event]++
	}
	return n
}

// TestAuditTrail: logins, changes of accounts and actions of administrators are in the trail when they are answered,
// or soon after, without secrets and without what was typed. It outlives the server.
func TestAuditTrail(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	ann := w.newMember(t, 0)
	ann.login(t)
	const typed = "a password, typed as an account"
	w.loginFrom(t, "127.0.0.1", ann.account, "wrong")
	w.loginFrom(t, "127.0.0.1", typed, "wrong")
	w.dial(t, 0, "/im/login?"+query("id", ann.id, "token", strings.Repeat("0", 32))).want(t, replyBody(515))
	w.dial(t, 0, "/im/login?"+query("id", ann.id, "token", ann.token)).next(t)
	ann.update(t, `"mail":"new@example.org"`).want(t, "profile", replyBody(200))
	nc, err := nats.Connect(s.app.backend.server.URL(), nats.UserInfo(ann.id, ann.token))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()

	// An administrator's action is stored when its command ends.
	command(t, dir, "", "session", "close", ann.account).want(t, exitDone)
	last := audited(t, dir, "--event", "admin.session.close", "--user", ann.account)
	if len(last) != 1 || last[0].Subject != (audit.Ref{Kind: audit.User, ID: ann.id}) || !strings.HasPrefix(last[0].Actor.ID, "imctl command line") {
		t.Errorf("the end of the sessions: %+v", last)
	}
	if err := s.app.bridge.Audit().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := audited(t, dir)
	want := map[audit.Kind]int{audit.ServerStarted: 1, audit.UserCreated: 1, audit.LoginDone: 3, audit.LoginFailed: 3, audit.UserMail: 1, "admin.session.close": 1}
	if got := kinds(all); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the trail has %v, want %v", got, want)
	}
	failed := audited(t, dir, "--event", "login.failed")
	if len(failed) != 3 || failed[0].Subject.ID != ann.id || failed[1].Subject != (audit.Ref{}) || failed[2].Subject.ID != ann.id || failed[0].Address != "127.0.0.1" {
		t.Errorf("failed logins: %+v", failed)
	}
	if text := command(t, dir, "", "audit").out; strings.Contains(text, typed) || !strings.Contains(text, "login.failed") || !strings.Contains(text, ann.account) {
		t.Errorf("the list: %s", text)
	}
	if got := kinds(audited(t, dir, "--user", ann.id)); got[audit.LoginFailed] != 2 || got[audit.ServerStarted] != 0 {
		t.Errorf("entries of a user: %v", got)
	}
	if newest := audited(t, dir, "--limit", "1"); len(newest) != 1 || newest[0] != all[len(all)-1] {
		t.Errorf("the newest entry: %+v", newest)
	}
	if old := audited(t, dir, "--since", "1ns"); len(old) != 0 {
		t.Errorf("entries of the last nanosecond: %+v", old)
	}
	command(t, dir, "", "audit", "--limit", "-1").want(t, exitUse, "--limit")
	command(t, dir, "", "audit", "--user", "nobody").want(t, exitNotFound, "nobody")
	command(t, dir, "", "audit", "--follow", "--limit", "2", "--event", "login").want(t, exitDone, "login.done")

	w.close(t)
	s.close(t)
	command(t, dir, "", "user", "disable", ann.account).want(t, exitDone)
	command(t, dir, "", "backup", "all.tar").want(t, exitDone, "IM_AUDIT")
	if got := kinds(audited(t, dir)); got[audit.ServerStopped] != 1 || got["admin.user.disable"] != 1 || got[audit.LoginDone] != 3 {
		t.Errorf("without a server: %v", got)
	}
	command(t, dir, "", "restore", "all.tar", "--data", filepath.Join(dir, "new")).want(t, exitDone)
	if got := kinds(audited(t, dir, "--data", filepath.Join(dir, "new"))); got["admin.user.disable"] != 1 || got[audit.LoginDone] != 3 {
		t.Errorf("after a restore: %v", got)
	}
}
