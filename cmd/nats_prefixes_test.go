package cmd

import (
	"bytes"
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// installation is one prefix on a NATS server that several share, with a server and an administrator.
type installation struct {
	*server
	w      *world
	prefix subject.Prefix
	dir    string
	url    string // of the NATS server, without a user
	admin  natsauth.Context
}

func startInstallation(t *testing.T, there *externalNATS, prefix string) *installation {
	t.Helper()
	s := start(t, there.attached, func(c *Config) {
		c.NATS.Prefix, c.Dialogues.Keep = prefix, time.Hour
		// A login that succeeds in the other installation must not count as failed.
		c.Limits.LoginFailures = Rate{Count: 8, Per: time.Hour}
		c.Dialogues.MaxBytes, c.NATS.Log.MaxBytes = 16*MiB, 16*MiB // NATS reserves them
	})
	i := &installation{server: s, w: newWorld(t, s), prefix: subject.Prefix(prefix), dir: t.TempDir(), url: withoutUser(there.url)}
	i.admin = i.attach(t, "root", kv.RoleAdmin)
	return i
}

// attach adds an attachment, whose context is written to a file of its name.
func (i *installation) attach(t *testing.T, name string, role kv.Role) natsauth.Context {
	t.Helper()
	_, c, err := i.services().Attachments.Add(t.Context(), name, role, "")
	if err != nil {
		t.Fatal(err)
	}
	i.w.secret(c.Password)
	f, err := createPrivate(filepath.Join(i.dir, name+".json"), true)
	if err == nil {
		err = errors.Join(writeIndented(f, c), f.Commit())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// run runs a command as the administrator.
func (i *installation) run(t *testing.T, args ...string) commandAnswer {
	t.Helper()
	var out, errs bytes.Buffer
	env := &Env{In: strings.NewReader("a password of sixteen\n"), Out: &out, Err: &errs, Dir: i.dir, Environ: []string{"IMCTL_NATS_PREFIX=" + string(i.prefix)}}
	code := Run(t.Context(), env, append(args, "--nats.context", "root.json"))
	return commandAnswer{code, out.String(), errs.String()}
}

// dial connects as a NATS client of the installation, which may only subscribe to inboxes of its own.
func (i *installation) dial(t *testing.T, name, password, inbox string) *bridgetest.Client {
	t.Helper()
	return bridgetest.Connect(t, i.url, name, password, inbox)
}

// denied reports whether NATS denies what do does. The connection must have no other errors.
func denied(t *testing.T, c *bridgetest.Client, do func() error) bool {
	t.Helper()
	if err := do(); err != nil {
		t.Fatal(err)
	}
	const sentinel = "_GR_.end" // denied to all roles
	if err := c.Publish(sentinel, nil); err != nil {
		t.Fatal(err)
	}
	found := false
	for {
		select {
		case err := <-c.Errs:
			if strings.Contains(err.Error(), sentinel) {
				return found
			}
			found = found || errors.Is(err, nats.ErrPermissionViolation)
		case <-time.After(waitTimeout):
			t.Fatal("the sentinel was not denied")
		}
	}
}

// TestTwoPrefixes runs two installations on one NATS, with the same names and different secrets.
func TestTwoPrefixes(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	both := []*installation{startInstallation(t, there, "im"), startInstallation(t, there, "chat")}
	account, passwords := "same name", []string{"the password in im", "the password in chat"}
	ids := make([]string, 2)
	for n, i := range both {
		user, err := i.services().Accounts.Register(t.Context(), kv.User{Account: account, Profile: kv.Profile{Name: account}}, passwords[n])
		if err != nil {
			t.Fatal(err)
		}
		ids[n] = user.ID
		i.w.secret(passwords[n])
	}
	// NATS asks one of the two servers about each login, at random.
	t.Run("logins", func(t *testing.T) {
		for range 12 {
			for n, i := range both {
				c := i.dial(t, account, passwords[n], subject.Inbox(ids[n]))
				if denied(t, c, func() error { return c.Publish(i.prefix.Send(ids[n]), nil) }) {
					t.Errorf("%s: the client is another user", i.prefix)
				}
				c.Close()
				root := i.dial(t, "root", i.admin.Password, i.admin.InboxPrefix)
				if denied(t, root, func() error { return root.Publish(i.prefix.Admin("none", "none"), nil) }) {
					t.Errorf("%s: the administrator is another one", i.prefix)
				}
				root.Close()
			}
		}
		for _, password := range []string{"wrong", both[0].admin.Password, "x"} {
			if _, err := bridgetest.Dial(both[0].url, account, password, ""); !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("a wrong password: got %v, want %v", err, nats.ErrAuthorization)
			}
		}
		if _, err := bridgetest.Dial(both[0].url, "nobody has this name", "x", ""); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("an unknown name: got %v, want %v", err, nats.ErrAuthorization)
		}
	})
	t.Run("another's data", func(t *testing.T) { testOthersData(t, both) })
	t.Run("connections", func(t *testing.T) {
		// The two attachments have the same name, and removing one does not disconnect the other.
		var clients []*bridgetest.Client
		for _, i := range both {
			c := i.attach(t, "reader", kv.RoleReader)
			client := i.dial(t, c.User, c.Password, c.InboxPrefix)
			if answer := client.Ask(t, i.prefix.Read("reader", "log"), "{}"); !strings.Contains(answer, `"code":200`) {
				t.Errorf("a reader of %s asks for the log: %s", i.prefix, answer)
			}
			clients = append(clients, client)
		}
		if err := both[0].services().Attachments.Remove(t.Context(), "reader"); err != nil {
			t.Fatal(err)
		}
		clients[0].WantClosed(t, "its attachment is removed")
		if err := clients[1].FlushTimeout(waitTimeout); err != nil {
			t.Errorf("the attachment of the other installation: %v", err)
		}
	})
	for _, i := range both {
		t.Run("commands of "+string(i.prefix), func(t *testing.T) { testAdminCommands(t, i) })
		t.Run("second server of "+string(i.prefix), func(t *testing.T) { testSecondServer(t, i) })
	}
}

// testOthersData tries what attachments must not do with the data of the other installation.
func testOthersData(t *testing.T, both []*installation) {
	for n, i := range both {
		other := both[1-n].prefix
		for _, role := range []kv.Role{kv.RoleAdmin, kv.RoleBridge, kv.RoleConsumer} {
			c := i.attach(t, "try-"+string(role), role)
			client := i.dial(t, c.User, c.Password, c.InboxPrefix)
			var publish []string
			for _, stream := range other.Streams() {
				for _, s := range subject.StreamPublish("", stream) {
					publish = append(publish, strings.NewReplacer("*", "none", ">", "none").Replace(s))
				}
			}
			for _, bucket := range other.AllBuckets() {
				publish = append(publish, subject.BucketKeys(bucket)+"none")
			}
			publish = append(publish, other.Dialogue("a"), other.Send("a"), other.Node("a"), other.Log("none"), other.Admin("user", "list"),
				"$SRV.INFO."+other.ServiceName(), "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.CONSUMER.CREATE."+other.LogStream()+"."+i.prefix.LogStream())
			for _, s := range publish {
				if !denied(t, client, func() error { return client.Publish(s, nil) }) {
					t.Errorf("%s of %s may publish to %s", role, i.prefix, s)
				}
			}
			subscribe := []string{other.All(), other.Dialogue("a"), subject.Inboxes, "_INBOX.*.>", subject.Inbox(kv.NewID()) + ".>",
				other.AttachmentInbox(c.User) + ".>", "$KV.>", subject.JetStreamAdvisories, ">"}
			for _, stream := range other.Streams() {
				subscribe = append(subscribe, subject.ConsumerAdvisory("CREATED", stream))
			}
			for _, s := range subscribe {
				if !denied(t, client, func() error { _, err := client.SubscribeSync(s); return err }) {
					t.Errorf("%s of %s may subscribe to %s", role, i.prefix, s)
				}
			}
		}
	}
}

// testAdminCommands runs the commands of an administrator.
func testAdminCommands(t *testing.T, i *installation) {
	ok := func(args ...string) string {
		t.Helper()
		a := i.run(t, args...)
		if a.code != exitDone {
			t.Errorf("%s: exit code %d: %s", strings.Join(args, " "), a.code, a.err)
		}
		return a.out
	}
	ok("user", "create", "alice")
	ok("user", "create", "bob")
	ok("friend", "add", "alice", "bob")
	for _, args := range [][]string{{"user", "list"}, {"user", "show", "alice"}, {"user", "export"}, {"user", "disable", "bob"}, {"user", "enable", "bob"},
		{"friend", "list", "alice"}, {"report", "list"}, {"talk", "stats"}, {"talk", "purge", "--user", "alice", "--yes"}, {"session", "list"}, {"token", "list", "alice"},
		{"attach", "add", "more", "--role", "consumer", "--context", "more.json"}, {"attach", "rotate", "more", "--context", "more.json"}, {"attach", "list"}, {"attach", "remove", "more", "--yes"},
		{"invite", "create"}, {"invite", "list"}, {"nats", "info"}, {"status"}, {"audit"}, {"backup", "all.backup"}} {
		ok(args...)
	}
	if out := ok("nats", "info"); strings.Contains(out, "missing") {
		t.Errorf("nats info: %s", out)
	}
	followed := make(chan commandAnswer, 1)
	go func() { followed <- i.run(t, "events", "--limit", "1", "--filter", "user.created.>") }()
	for n := range 100 {
		ok("user", "create", "carol"+strings.Repeat("x", n))
		select {
		case a := <-followed:
			if a.code != exitDone || !strings.Contains(a.out, "carol") {
				t.Errorf("events: exit code %d: %s%s", a.code, a.out, a.err)
			}
		case <-time.After(100 * time.Millisecond): // the command is not following yet
			continue
		}
		break
	}
	ok("restore", "all.backup", "--yes")
	if out := ok("user", "list"); !strings.Contains(out, "alice") || strings.Contains(out, "carol") {
		t.Errorf("after the restore: %s", out)
	}
}

// testSecondServer attaches a second server with an attachment of role bridge.
func testSecondServer(t *testing.T, i *installation) {
	c := i.attach(t, "second", kv.RoleBridge)
	u, err := url.Parse(i.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(c.User, c.Password)
	second := start(t, func(c *Config) {
		c.NATS.URL, c.NATS.Prefix = u.String(), string(i.prefix)
		c.Dialogues.MaxBytes, c.NATS.Log.MaxBytes = 16*MiB, 16*MiB
	})
	w2 := newWorld(t, second)
	w2.secret(c.Password)
	a, b := i.w.newMember(t, 0), w2.newMember(t, 0)
	a.login(t)
	b.login(t)
	a.befriend(t, b)
	a.tunnel.send(t, dialogue(`"1"`, b.id, `"over there"`))
	b.tunnel.want(t, dialogueFrame(`"1"`, a.id, `"over there"`))
	a.tunnel.want(t, replyFrame(`"1"`, 200))
	for _, log := range []string{i.log.String(), second.log.String()} {
		if line := strings.ToLower(log); strings.Contains(line, "permissions violation") {
			t.Errorf("a server lacks a permission: %s", line[strings.Index(line, "permissions violation")-200:])
		}
	}
	// An attachment that is added by this server works, although it does not answer the callout itself.
	if _, _, err := second.services().Attachments.Add(t.Context(), "added", kv.RoleConsumer, ""); err != nil {
		t.Error(err)
	}
}

// TestAttachAddRefused checks that attach add leaves nothing behind if NATS clients cannot log in.
func TestAttachAddRefused(t *testing.T) {
	t.Parallel()
	url := startNATSWith(t, "jetstream {store_dir: \""+filepath.ToSlash(t.TempDir())+"\"}\naccounts { A { jetstream: enabled, users: [{user: u, password: pw-of-u}] } }")
	s := start(t, func(c *Config) { c.NATS.URL = url })
	dir := t.TempDir()
	for _, role := range []string{"consumer", "bridge", "admin"} {
		command(t, dir, "", "attach", "add", "one", "--role", role, "--context", "one.json", "--nats", url).
			want(t, exitFailed, "NATS clients cannot log in: the user u-auth cannot log in", "imctl nats config")
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) > 0 {
		t.Errorf("files: %v, %v", files, err)
	}
	all, err := s.services().Attachments.List(t.Context())
	if err != nil || len(all) > 0 {
		t.Errorf("attachments: %v, %v", all, err)
	}
	if info := command(t, dir, "", "nats", "info", "--nats", url).want(t, exitDone, "IM_LOG"); !slices.Contains(strings.Fields(info.out), "IM_LOG") {
		t.Errorf("nats info: %s", info.out)
	}
}
