package cmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// configured is the output of imctl nats config in a directory of the NATS server.
type configured struct {
	dir string
	out string
	url string // nats.url of imctl, with the port 4222
}

func natsConfig(t *testing.T, args ...string) configured {
	t.Helper()
	dir := t.TempDir()
	a := command(t, dir, "", append([]string{"nats", "config"}, args...)...)
	if a.code != exitDone {
		t.Fatalf("nats config: exit code %d: %s", a.code, a.err)
	}
	return configured{dir, a.out, firstGroup(a.err, `url: (\S+)`)}
}

// included returns a line of the output that includes a part.
func (c configured) included(t *testing.T, part string) string {
	t.Helper()
	line := firstGroup(c.out, `(?m)^  (include "imctl-`+part+`.conf")$`)
	if line == "" {
		t.Fatalf("no line for %s in: %s", part, c.out)
	}
	return line
}

// run runs a NATS server with this configuration file, and returns its URL without a user.
func (c configured) run(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(c.dir, "nats-server.conf")
	store := fmt.Sprintf("jetstream { store_dir: %q }\n", filepath.Join(c.dir, "nats"))
	if err := os.WriteFile(file, []byte(store+text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := natsserver.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port = "127.0.0.1", natsserver.RANDOM_PORT
	runNATS(t, o)
	return fmt.Sprintf("nats://127.0.0.1:%d", o.Port)
}

// try attaches a server, and logs in to NATS as a user and as an attachment.
func (c configured) try(t *testing.T, url string) {
	t.Helper()
	s := start(t, func(config *Config) {
		config.NATS.URL = strings.Replace(c.url, "127.0.0.1:4222", strings.TrimPrefix(url, "nats://"), 1)
		config.Dialogues.MaxBytes, config.NATS.Log.MaxBytes = 16*MiB, 16*MiB // NATS reserves them
	})
	w := newWorld(t, s)
	p := w.newMember(t, 0)
	p.login(t)
	client := bridgetest.Connect(t, url, p.account, p.password, subject.Inbox(p.id))
	client.WantAnswer(t, subject.Prefix("im").Call(p.id, "none"), "", replyBody(403))
	_, a, err := s.services().Attachments.Add(t.Context(), "reader", kv.RoleConsumer, "")
	if err != nil {
		t.Fatal(err)
	}
	w.secret(a.Password)
	bridgetest.Connect(t, url, a.User, a.Password, a.InboxPrefix)
	if strings.Contains(s.log.String(), "cannot log in") || strings.Contains(s.log.String(), "no system account") {
		t.Errorf("logged: %s", s.log)
	}
}

// mayLogIn checks that a user can, or cannot, log in to a NATS server.
func mayLogIn(t *testing.T, url, user, password string, want error) {
	t.Helper()
	opts := []nats.Option{nats.NoReconnect(), nats.Timeout(waitTimeout)}
	if user != "" {
		opts = append(opts, nats.UserInfo(user, password))
	}
	nc, err := nats.Connect(url, opts...)
	if err == nil {
		nc.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("log in as %q: got %v, want %v", user, err, want)
	}
}

// TestNATSConfigAnonymous attaches to a server that had no users. Its clients have no credentials.
func TestNATSConfigAnonymous(t *testing.T) {
	t.Parallel()
	for _, anonymous := range []bool{true, false} {
		var args []string
		want := nats.ErrAuthorization
		if anonymous {
			args, want = []string{"--anonymous"}, nil
		}
		c := natsConfig(t, args...)
		if err := os.WriteFile(filepath.Join(c.dir, "imctl.conf"), []byte(c.out), 0o600); err != nil {
			t.Fatal(err)
		}
		url := c.run(t, "include \"imctl.conf\"\n")
		c.try(t, url)
		mayLogIn(t, url, "", "", want)
	}
}

// TestNATSConfigUsers attaches to a server with users in its block authorization.
func TestNATSConfigUsers(t *testing.T) {
	t.Parallel()
	c := natsConfig(t, "--mode", "merge", "--user", "alice", "--user", "bob")
	url := c.run(t, `accounts { `+c.included(t, "accounts")+` }
system_account: SYS
authorization {
  users: [
    {user: alice, password: of-alice}
    {user: bob, password: of-bob, permissions: {publish: ["bob.>"]}}
    {user: carol, password: of-carol}
  ]
  `+c.included(t, "authorization")+`
}
`)
	c.try(t, url)
	mayLogIn(t, url, "alice", "of-alice", nil)
	mayLogIn(t, url, "bob", "of-bob", nil)
	mayLogIn(t, url, "alice", "of-bob", nats.ErrAuthorization)
	mayLogIn(t, url, "carol", "of-carol", nats.ErrAuthorization) // not named with --user
}

// TestNATSConfigAccounts attaches to a server with accounts and a system account.
func TestNATSConfigAccounts(t *testing.T) {
	t.Parallel()
	c := natsConfig(t, "--mode", "merge", "--system")
	user := firstGroup(c.out, `(?m)^#   (\{user: "imctl-sys", .*\})$`)
	url := c.run(t, `accounts {
  OLD { jetstream: enabled, users: [{user: old, password: friend}] }
  ADMIN { users: [{user: root, password: of-root}, `+user+`] }
  `+c.included(t, "accounts")+`
}
system_account: ADMIN
authorization { `+c.included(t, "authorization")+` }
`)
	c.try(t, url)
	mayLogIn(t, url, "old", "friend", nil)
	mayLogIn(t, url, "root", "of-root", nil)
	mayLogIn(t, url, "old", "enemy", nats.ErrAuthorization)
}

// TestNATSConfigMoved moves the users and the streams of a default account to an account with a name, as the help tells,
// since the default account has no JetStream on a server with accounts.
func TestNATSConfigMoved(t *testing.T) {
	t.Parallel()
	c := natsConfig(t, "--mode", "merge")
	file := filepath.Join(c.dir, "before.conf")
	const users = `users: [{user: alice, password: of-alice}]`
	text := fmt.Sprintf("jetstream { store_dir: %q }\nauthorization { %s }\n", filepath.Join(c.dir, "nats"), users)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := natsserver.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.Host, o.Port = "127.0.0.1", natsserver.RANDOM_PORT
	before := runNATS(t, o)
	nc, err := nats.Connect(before.ClientURL(), nats.UserInfo("alice", "of-alice"))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders.>"}})
	}
	if err == nil {
		_, err = js.Publish(t.Context(), "orders.new", []byte("one"))
	}
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	before.Shutdown()
	before.WaitForShutdown()
	data := filepath.Join(c.dir, "nats", "jetstream")
	if err := os.Rename(filepath.Join(data, "$G"), filepath.Join(data, "DEFAULT")); err != nil {
		t.Fatal(err)
	}
	url := c.run(t, `accounts { DEFAULT { jetstream: enabled, `+users+` }, `+c.included(t, "accounts")+` }
system_account: SYS
authorization { `+c.included(t, "authorization")+` }
`)
	c.try(t, url)
	if nc, err = nats.Connect(url, nats.UserInfo("alice", "of-alice")); err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "orders")
	if err != nil || stream.CachedInfo().State.Msgs != 1 {
		t.Errorf("the stream of the former default account: %v", err)
	}
}

// TestNATSConfigMistakes checks the flags.
func TestNATSConfigMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct{ args, says string }{
		{"--mode accounts", "--mode must be file, merge or operator"},
		{"--user alice", "--user requires --mode merge"},
		{"--mode merge --anonymous", "--anonymous requires --mode file"},
		{"--mode merge --user imctl-auth", "is the name of a user of imctl"},
		{"--mode operator --user alice", "do not apply to --mode operator"},
	} {
		command(t, dir, "", append([]string{"nats", "config"}, strings.Fields(c.args)...)...).want(t, exitUse, c.says)
	}
	if a := command(t, dir, "", "nats", "config", "--mode", "merge"); a.code != exitDone {
		t.Errorf("nats config: %s", a.err)
	}
	command(t, dir, "", "nats", "config", "--mode", "merge").want(t, exitExists, "use --force to replace it")
}

// TestNATSConfigReader: a NATS server with the configuration of a version before readers does not pass on their calls.
func TestNATSConfigReader(t *testing.T) {
	t.Parallel()
	c := natsConfig(t)
	for name, text := range map[string]string{"now": c.out, "before": regexp.MustCompile(`(?m)^.*"\*\.read\.\*\.\*".*\n`).ReplaceAllString(c.out, "")} {
		if (name == "now") != (text == c.out) {
			t.Fatalf("the output has no import for readers: %s", c.out)
		}
		own := configured{t.TempDir(), text, c.url}
		url := own.run(t, text)
		s := start(t, func(config *Config) {
			config.NATS.URL = strings.Replace(c.url, "127.0.0.1:4222", strings.TrimPrefix(url, "nats://"), 1)
			config.Dialogues.MaxBytes, config.NATS.Log.MaxBytes = 16*MiB, 16*MiB // NATS reserves them
		})
		dir := writeConfig(t, fmt.Sprintf("nats: {url: %q}\n", s.app.config.NATS.URL))
		add := func(name, role string) (warning string) {
			a := command(t, dir, "", "attach", "add", name, "--role", role)
			if c := fromJSON[natsauth.Context](t, a.out); c.User != name || a.code != exitDone {
				t.Errorf("added: %d, %s", a.code, a.err)
			}
			return a.err
		}
		const warning = "the calls of directory are not answered; replace the output of imctl nats config"
		if warned := strings.Contains(add("directory", "reader"), warning); warned != (name == "before") {
			t.Errorf("%s: warned: %t", name, warned)
		}
		if warning := add("archive", "consumer"); warning != "" {
			t.Errorf("%s: a consumer: %s", name, warning)
		}
	}
}
