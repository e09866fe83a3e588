package cmd

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"imctl/bridge/bridgetest"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

// operatorNATS is a NATS server in operator mode, with what the output of imctl nats config --mode operator creates.
type operatorNATS struct {
	dir, url, logAccount string
	operator             nkeys.KeyPair
}

// signer is an account with its key.
type signer struct {
	key    nkeys.KeyPair
	claims *jwt.AccountClaims
}

func newSigner(t *testing.T, name, signingKey string) signer {
	t.Helper()
	key, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewAccountClaims(publicKey(t, key))
	claims.Name = name
	if signingKey != "" {
		claims.SigningKeys.Add(signingKey)
	}
	return signer{key, claims}
}

func publicKey(t *testing.T, key nkeys.KeyPair) string {
	t.Helper()
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// user returns the token of a user, and its credentials file.
func (a signer) user(t *testing.T, change func(*jwt.UserClaims)) (id, token string, creds []byte) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.NewUserClaims(publicKey(t, key))
	if change != nil {
		change(claims)
	}
	token, err = claims.Encode(a.key)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err == nil {
		creds, err = jwt.FormatUserConfig(token, seed)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims.Subject, token, creds
}

// startOperatorNATS builds what the printed commands create, and runs the server. restricted includes the line that
// restricts the user of imctl.
func startOperatorNATS(t *testing.T, restricted bool) operatorNATS {
	t.Helper()
	n := operatorNATS{dir: t.TempDir()}
	script := command(t, n.dir, "", "nats", "config", "--mode", "operator").want(t, exitDone, "nsc add account --name IM", "nsc push").out
	issuer, xkey := firstGroup(script, `--name IM --sk (A\w+)`), firstGroup(script, `--curve (X\w+)`)
	if again := command(t, n.dir, "", "nats", "config", "--mode", "operator").want(t, exitDone).out; again != script {
		t.Error("another run prints another key")
	}
	var err error
	if n.operator, err = nkeys.CreateOperator(); err != nil {
		t.Fatal(err)
	}
	im, log, auth, sys := newSigner(t, "IM", issuer), newSigner(t, "LOG", issuer), newSigner(t, "AUTH", issuer), newSigner(t, "SYS", "")
	im.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	for _, e := range regexp.MustCompile(`nsc add export .* --private --subject '([^']+)' --response-type (\w+)`).FindAllStringSubmatch(script, -1) {
		im.claims.Exports.Add(&jwt.Export{Subject: jwt.Subject(e[1]), Type: jwt.Service, TokenReq: true, ResponseType: jwt.ResponseType(e[2])})
		activation := jwt.NewActivationClaims(log.claims.Subject)
		activation.ImportSubject, activation.ImportType = jwt.Subject(e[1]), jwt.Service
		token, err := activation.Encode(im.key)
		if err != nil {
			t.Fatal(err)
		}
		log.claims.Imports.Add(&jwt.Import{Name: e[1], Subject: jwt.Subject(e[1]), Account: im.claims.Subject, Token: token, Type: jwt.Service})
	}
	if len(log.claims.Imports) != 5 {
		t.Fatalf("%d exports in: %s", len(log.claims.Imports), script)
	}
	n.logAccount = log.claims.Subject
	answers, _, calloutCreds := auth.user(t, nil)
	auth.claims.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{answers}, AllowedAccounts: jwt.StringList{im.claims.Subject, log.claims.Subject}, XKey: xkey}
	_, _, bridgeCreds := im.user(t, func(u *jwt.UserClaims) {
		if restricted {
			u.Pub.Allow.Add(strings.Split(firstGroup(script, `(?m)^# nsc edit user .* --allow-pub '(\S+)'`), ",")...)
			u.Sub.Allow.Add(strings.Split(firstGroup(script, `(?m)^# nsc edit user .* --allow-sub '(\S+)'`), ",")...)
		}
	})
	_, _, systemCreds := sys.user(t, nil)
	_, sentinel, _ := auth.user(t, func(u *jwt.UserClaims) {
		u.BearerToken = true
		u.Pub.Deny.Add(">")
		u.Sub.Deny.Add(">")
	})
	for file, content := range map[string][]byte{"imctl.creds": bridgeCreds, "imctl-auth.creds": calloutCreds, "imctl-sys.creds": systemCreds} {
		if err := os.WriteFile(filepath.Join(n.dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	operator := jwt.NewOperatorClaims(publicKey(t, n.operator))
	operator.Name, operator.SystemAccount = "local", sys.claims.Subject
	operatorToken, err := operator.Encode(n.operator)
	if err != nil {
		t.Fatal(err)
	}
	var preload strings.Builder
	for _, a := range []signer{im, log, auth, sys} {
		token, err := a.claims.Encode(n.operator)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&preload, "  %s: %s\n", a.claims.Subject, token)
	}
	o := natsOptions(t, fmt.Sprintf("jetstream {store_dir: %q}\noperator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {\n%s}\ndefault_sentinel: %q\nauthorization { timeout: 10 }\n",
		filepath.Join(n.dir, "nats"), operatorToken, sys.claims.Subject, preload.String(), sentinel))
	runNATS(t, o)
	n.url = fmt.Sprintf("nats://127.0.0.1:%d", o.Port)
	return n
}

// attached configures a server as the output tells.
func (n operatorNATS) attached(c *Config) {
	c.NATS.URL, c.NATS.Creds = n.url, filepath.Join(n.dir, "imctl.creds")
	c.Dialogues.MaxBytes, c.NATS.Log.MaxBytes = 16*MiB, 16*MiB // NATS reserves them
	c.NATS.Callout = CalloutConfig{Creds: filepath.Join(n.dir, "imctl-auth.creds"), System: filepath.Join(n.dir, "imctl-sys.creds"),
		Key: filepath.Join(n.dir, calloutKeyFile), LogAccount: n.logAccount}
}

// TestOperatorMode serves people, bots and attachments on a NATS server in operator mode.
func TestOperatorMode(t *testing.T) {
	t.Parallel()
	n := startOperatorNATS(t, false)
	s := start(t, n.attached)
	w := newWorld(t, s)
	if strings.Contains(s.log.String(), "cannot log in") {
		t.Fatalf("logged: %s", s.log)
	}
	seed, err := os.ReadFile(filepath.Join(n.dir, calloutKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	w.secret(strings.TrimSpace(string(seed)))
	attach := func(name string, role kv.Role) natsauth.Context {
		t.Helper()
		_, c, err := s.services().Attachments.Add(t.Context(), name, role, "")
		if err != nil {
			t.Fatal(err)
		}
		w.secret(c.Password)
		return c
	}
	reader := attach("reader", kv.RoleReader)
	two := w.newMembers(t, 2)
	person, owner := two[0], two[1]
	person.befriend(t, owner)
	owner.tunnel.close(t)
	// A bot is a user by NATS.
	bot := bridgetest.Connect(t, n.url, owner.account, owner.password, subject.Inbox(owner.id))
	if _, err := bot.Subscribe(subject.Prefix("im").Dialogue(owner.id), func(m *nats.Msg) { _ = m.Respond(nil) }); err != nil {
		t.Fatal(err)
	}
	if err := bot.FlushTimeout(waitTimeout); err != nil {
		t.Fatal(err)
	}
	person.tunnel.send(t, dialogue(`"1"`, owner.id, `"to a bot"`))
	eventually(t, "the dialogue is answered", func() bool { return strings.Contains(person.tunnel.next(t), replyFrame(`"1"`, 200)) })
	if !denied(t, bot, func() error { return bot.Publish(subject.Prefix("im").Send(person.id), nil) }) {
		t.Error("the bot may send as another user")
	}
	// A reader reads the log, and users.
	nc := bridgetest.Connect(t, n.url, reader.User, reader.Password, reader.InboxPrefix)
	js, err := jetstream.New(nc.Conn)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "IM_LOG", "reader")
	if err != nil {
		t.Fatal(err)
	}
	m, err := consumer.Next(jetstream.FetchMaxWait(waitTimeout))
	if err == nil {
		err = m.DoubleAck(t.Context())
	}
	if err != nil {
		t.Errorf("read the log: %v", err)
	}
	if answer := nc.Ask(t, subject.Prefix("im").Read("reader", "user"), `{"account":"`+person.account+`"}`); !strings.Contains(answer, person.id) {
		t.Errorf("a reader asks for a user: %s", answer)
	}
	// An administrator's context works for commands.
	root := attach("root", kv.RoleAdmin)
	dir := t.TempDir()
	f, err := createPrivate(filepath.Join(dir, "root.json"), true)
	if err == nil {
		err = writeIndented(f, root)
	}
	if err == nil {
		err = f.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "user", "list", "--nats.context", "root.json").want(t, exitDone, owner.account)
	mayLogIn(t, n.url, owner.account, "wrong", nats.ErrAuthorization)
	mayLogIn(t, n.url, "", "", nats.ErrAuthorization)
	if err := s.services().Accounts.SetDisabled(t.Context(), owner.id, true); err != nil {
		t.Fatal(err)
	}
	bot.WantClosed(t, "its account is disabled")
}

// TestOperatorModeRefused checks what attach add refuses without a part of the settings.
func TestOperatorModeRefused(t *testing.T) {
	t.Parallel()
	n := startOperatorNATS(t, false)
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
		role   kv.Role
	}{
		"no callout":     {func(c *Config) { c.NATS.Callout = CalloutConfig{} }, "set nats.callout", kv.RoleAdmin},
		"no log account": {func(c *Config) { c.NATS.Callout.LogAccount = "" }, "nats.callout.log_account is not set", kv.RoleConsumer},
		"another key":    {func(c *Config) { c.NATS.Callout.Key = newKeyFile(t) }, "refuses the credentials", kv.RoleAdmin},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, n.attached, c.change, func(c *Config) { c.NATS.Prefix = strings.ReplaceAll(name, " ", "-") })
			s.mayLog = []string{"decrypt the request"}
			defer s.close(t) // another installation with another key would be asked, too
			_, _, err := s.services().Attachments.Add(t.Context(), "one", c.role, "")
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
			all, err := s.services().Attachments.List(t.Context())
			if err != nil || len(all) > 0 {
				t.Errorf("attachments: %v, %v", all, err)
			}
		})
	}
}

// newKeyFile returns a file with a signing key that no account knows.
func newKeyFile(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	command(t, dir, "", "nats", "config", "--mode", "operator").want(t, exitDone)
	return filepath.Join(dir, calloutKeyFile)
}
