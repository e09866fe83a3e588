package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natsauth"
	"imctl/embedded"
)

// TestDeletedStaysDeleted deletes accounts and an attachment, and kills the server later, so that NATS rebuilds its
// indexes from the files. No deleted record must be back.
func TestDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, log := filepath.Join(dir, "data"), new(logBuffer)
	imctl := func(args ...string) commandAnswer {
		t.Helper()
		return command(t, dir, "", append(args, "--data", data)...).want(t, exitDone)
	}
	p := startProcess(t, data, log)
	w := newWorld(t, p)
	w.secret(killedPassword)
	register := func(account string) {
		t.Helper()
		r, err := w.try(t.Context(), 0, http.MethodPost, "/im/register", registration(account))
		if err != nil || r.body != replyBody(200) {
			t.Fatalf("register %s: %s, %v", account, r.body, err)
		}
	}
	stays := fresh("stays")
	register(stays)
	imctl("attach", "add", "a1", "--role", "admin", "--context", "a1.json")
	imctl("attach", "remove", "a1", "--yes")
	imctl("attach", "add", "c1", "--role", "consumer", "--context", "c1.json")
	for i := range 10 {
		account := fmt.Sprintf("%s-%d", fresh("gone"), i)
		register(account)
		imctl("friend", "add", account, stays)
		imctl("user", "delete", account, "--yes")
	}
	p.stop(t)
	p = startProcess(t, data, log)
	w.deployment = p
	register(fresh("another"))
	p.kill(t)
	p = startProcess(t, data, log)
	w.deployment = p

	if all := imctl("attach", "list").out; strings.Contains(all, "a1") || !strings.Contains(all, "c1") {
		t.Errorf("the attachments are:\n%s", all)
	}
	for file, good := range map[string]bool{"a1.json": false, "c1.json": true} {
		var c natsauth.Context
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.secret(c.Password)
		// The port has changed.
		nc, err := nats.Connect(natsAddress(t, data), nats.UserInfo(c.User, c.Password), nats.NoReconnect())
		if err == nil {
			nc.Close()
		}
		if (err == nil) != good {
			t.Errorf("the secret in %s: got error %v, want valid: %t", file, err, good)
		}
	}
	if all := imctl("user", "list").out; strings.Contains(all, "gone") || strings.Count(all, "\n") != 3 {
		t.Errorf("the accounts are:\n%s", all)
	}
	if all := imctl("friend", "list", stays).out; strings.Count(all, "\n") > 1 {
		t.Errorf("the friends are:\n%s", all)
	}
	var st struct{ Accounts int }
	if err := json.Unmarshal([]byte(imctl("status", "-o", "json").out), &st); err != nil || st.Accounts != 2 {
		t.Errorf("%d accounts, %v", st.Accounts, err)
	}
	register(fresh("new"))
	w.close(t)
	p.stop(t)
	p.sound(t)
}

// natsAddress returns the NATS URL of the server on a data directory.
func natsAddress(t *testing.T, data string) string {
	t.Helper()
	c, err := embedded.ReadContext(data)
	if err != nil {
		t.Fatal(err)
	}
	return c.URL
}
