package cmd

import (
	"path/filepath"
	"strings"
	"testing"

	"imctl/bridge/admin"
)

// TestReportCommands lists, shows and removes reports, also those of a restored backup.
func TestReportCommands(t *testing.T) {
	t.Parallel()
	s, dir := startWithNATSListener(t)
	w := newWorld(t, s)
	two := w.newMembers(t, 2)
	alice, bob := two[0], two[1]
	if a := command(t, dir, "", "report", "list").want(t, exitDone, "ID"); strings.Count(a.out, "\n") != 1 {
		t.Errorf("reports at first: %s", a.out)
	}
	report := func(me, user *member, text string) {
		t.Helper()
		w.do(t, 0, "POST", "/im/report", fields("id", me.id, "token", me.token, "user", user.id, "text", text, "dialogue", "buy\n\x1b[31mnow")).want(t, text, replyBody(200))
	}
	report(alice, bob, "first")
	report(bob, alice, "other")
	report(alice, bob, "second")
	var all []admin.Report
	for line := range strings.Lines(command(t, dir, "", "report", "list", "-o", "json").want(t, exitDone).out) {
		all = append(all, fromJSON[admin.Report](t, line))
	}
	if len(all) != 2 || all[0].Text != "other" || all[1].Text != "second" || all[1].By != alice.id || all[1].ByName != alice.account ||
		all[1].User != bob.id || all[1].Account != bob.account || all[1].Dialogue != "buy\n\x1b[31mnow" {
		t.Fatalf("reports: %+v", all)
	}
	if a := command(t, dir, "", "report", "list", "--limit", "1").want(t, exitDone, all[0].ID); strings.Contains(a.out, all[1].ID) {
		t.Errorf("one report: %s", a.out)
	}
	if a := command(t, dir, "", "report", "show", all[1].ID).want(t, exitDone, "second", alice.account, bob.id); strings.Contains(a.out, "\x1b") {
		t.Errorf("the output has a control character: %q", a.out)
	}
	command(t, dir, "", "report", "show", all[1].ID, "-o", "json").want(t, exitDone, `"dialogue":"buy`)
	command(t, dir, "", "check", "--data", "--dry-run").want(t, exitDone, "reports without a user")

	command(t, dir, "", "backup", "all.tar").want(t, exitDone)
	command(t, dir, "", "restore", "all.tar", "--data", "restored").want(t, exitDone)
	command(t, dir, "", "report", "show", all[0].ID, "--data", filepath.Join(dir, "restored")).want(t, exitDone, "other")

	command(t, dir, "", "report", "remove", all[0].ID).want(t, exitDone, "report "+all[0].ID+" removed\n")
	command(t, dir, "", "report", "remove", all[0].ID).want(t, exitNotFound, "does not exist")
	command(t, dir, "", "report", "show", "nothing").want(t, exitNotFound, "does not exist")
	command(t, dir, "", "report", "show").want(t, exitUse, "missing argument REPORT")
	command(t, dir, "", "user", "delete", alice.account, "--yes").want(t, exitDone)
	if a := command(t, dir, "", "report", "list", "-o", "json").want(t, exitDone); a.out != "" {
		t.Errorf("reports of a deleted user: %s", a.out)
	}
}
