package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"imctl/kv"
)

// TestBackupsNotPermitted: a reload sets backup.dir for a bridge that may not take snapshots. The status tells what is
// missing.
func TestBackupsNotPermitted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	url := startNATSWith(t, fmt.Sprintf("jetstream {store_dir: %q}\naccounts { A { jetstream: enabled, users: [{user: u, password: pw-of-u, %s}] } }",
		filepath.Join(dir, "nats"), permissionsLine("im", "", false)))
	s := start(t, func(c *Config) { c.NATS.URL = url })
	s.mayLog = []string{"the backup failed", "ermissions"}
	reloadBackups(t, s, BackupConfig{Dir: filepath.Join(dir, "backups"), Every: day, Keep: 7})
	var r kv.BackupRecord
	eventually(t, "a failure", func() bool {
		var err error
		r, err = s.app.backend.store.States.Backups(t.Context())
		return err == nil && r.Failed != nil
	})
	if !strings.Contains(r.Failed.Error, "does not permit its user to publish to $JS.SNAPSHOT.ACK.none") {
		t.Errorf("failed: %s", r.Failed.Error)
	}
	if got := entriesOf(t, filepath.Join(dir, "backups")); len(got) > 0 {
		t.Errorf("the directory has %v", got)
	}
}

// TestRestrictedBackups attaches servers whose user has exactly the permissions that imctl nats config prints, in each of
// its modes, and lets them make a scheduled backup.
func TestRestrictedBackups(t *testing.T) {
	t.Parallel()
	// restrict adds the printed permissions to the printed user of imctl.
	restrict := func(t *testing.T, c configured, accounts string) string {
		line := firstGroup(c.out, `(?m)^#   (permissions: \{.*\})$`)
		user := regexp.MustCompile(`(\{user: "imctl", password: "[^"]+")\}`)
		if line == "" || len(user.FindAllString(accounts, -1)) != 1 {
			t.Fatalf("no permissions, or no user: %s%s", c.out, accounts)
		}
		return user.ReplaceAllStringFunc(accounts, func(s string) string { return strings.TrimSuffix(s, "}") + ", " + line + "}" })
	}
	attached := func(c configured, url string) func(*Config) {
		return func(config *Config) {
			config.NATS.URL = strings.Replace(c.url, "127.0.0.1:4222", strings.TrimPrefix(url, "nats://"), 1)
		}
	}
	for mode, run := range map[string]func(*testing.T) func(*Config){
		modeFile: func(t *testing.T) func(*Config) {
			c := natsConfig(t)
			return attached(c, c.run(t, restrict(t, c, c.out)))
		},
		modeMerge: func(t *testing.T) func(*Config) {
			c := natsConfig(t, "--mode", "merge")
			file := filepath.Join(c.dir, "imctl-accounts.conf")
			accounts, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, []byte(restrict(t, c, string(accounts))), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			return attached(c, c.run(t, "accounts { "+c.included(t, "accounts")+" }\nsystem_account: SYS\nauthorization { "+c.included(t, "authorization")+" }\n"))
		},
		modeOperator: func(t *testing.T) func(*Config) { return startOperatorNATS(t, true).attached },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := start(t, run(t), func(c *Config) {
				c.Dialogues.MaxBytes, c.NATS.Log.MaxBytes = 16*MiB, 16*MiB // NATS reserves them
				c.Backup.Dir = filepath.Join(dir, "backups")
			})
			w := newWorld(t, s)
			alice, bob := w.newFriends(t)
			if code := alice.talk(t, bob, "1"); code != 200 {
				t.Errorf("answered %d", code)
			}
			file := awaitBackup(t, s.app.config.Backup.Dir)
			command(t, dir, "", "restore", "--verify", file).want(t, exitDone, "IM_TALKS")
			if log := s.log.String(); strings.Contains(strings.ToLower(log), "permissions violation") {
				t.Errorf("lacks a permission: %s", log)
			}
		})
	}
}
