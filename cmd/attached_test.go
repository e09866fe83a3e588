package cmd

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"imctl/bridge"
)

// externalNATS is a NATS server for attached servers. Its configuration includes the output of imctl nats config.
type externalNATS struct {
	url  string // the printed nats.url with the actual port
	file string
	port int // 0 before the first start
	ns   *natsserver.Server
}

// startExternalNATS starts a NATS server and stops it at the end of the test. accounts are additional accounts in its
// configuration.
func startExternalNATS(t testing.TB, accounts ...string) *externalNATS {
	t.Helper()
	dir := t.TempDir()
	said := command(t, dir, "", "nats", "config")
	if said.code != exitDone {
		t.Fatalf("nats config: %s", said.err)
	}
	n := &externalNATS{url: firstGroup(said.err, `url: (\S+)`), file: filepath.Join(dir, "nats-server.conf")}
	said.out = strings.Replace(said.out, "accounts {\n", "accounts {\n"+strings.Join(append(accounts, ""), "\n"), 1)
	text := fmt.Sprintf("include \"imctl.conf\"\nhost: 127.0.0.1\njetstream {store_dir: %q}\n", dir)
	for file, content := range map[string]string{"imctl.conf": said.out, "nats-server.conf": text} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.start(t)
	t.Cleanup(func() { n.stop() })
	return n
}

// start starts the server. A restart uses the same data and port.
func (n *externalNATS) start(t testing.TB) {
	t.Helper()
	o, err := natsserver.ProcessConfigFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	o.NoSigs, o.NoLog, o.Port = true, true, n.port
	if n.port == 0 {
		o.Port = natsserver.RANDOM_PORT
	}
	if n.ns, err = natsserver.NewServer(o); err != nil {
		t.Fatal(err)
	}
	n.ns.Start()
	if !n.ns.ReadyForConnections(waitTimeout) {
		t.Fatal("NATS is not ready")
	}
	if n.port == 0 {
		n.port = o.Port
		n.url = strings.Replace(n.url, ":4222", fmt.Sprint(":", n.port), 1)
	}
}

func (n *externalNATS) stop() {
	n.ns.Shutdown()
	n.ns.WaitForShutdown()
}

// attached configures a server to attach to n.
func (n *externalNATS) attached(c *Config) { c.NATS.URL = n.url }

// bridges is a deployment of several servers on one NATS server. The users of a test are spread over them.
type bridges []*server

// startBridges starts n servers on one NATS server.
func startBridges(t testing.TB, n int, change ...func(*Config)) bridges {
	t.Helper()
	there := startExternalNATS(t)
	var all bridges
	for range n {
		all = append(all, start(t, append(change, there.attached)...))
	}
	return all
}

func (b bridges) base(n int) string          { return b[n%len(b)].base(n) }
func (b bridges) trust() *tls.Config         { return nil }
func (b bridges) services() *bridge.Services { return b[0].services() }
func (b bridges) output(t testing.TB) (all string) {
	for _, s := range b {
		all += s.output(t)
	}
	return all
}

// roundRobin is a deployment of several servers on one NATS server. Each connection goes to the next server, so the
// devices and the calls of a user are on different servers.
type roundRobin struct {
	bridges
	turn atomic.Int64
}

func (s *roundRobin) base(int) string { return s.bridges.base(int(s.turn.Add(1))) }

// TestAttachRefused checks that serve names the problem of a NATS server and the remedy in one line.
func TestAttachRefused(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	secret := firstGroup(there.url, `:([0-9a-f]{32})@`)
	const users = `accounts { A { %s users: [{user: u, password: pw-of-u %s}] } }`
	store := func(t *testing.T) string { return fmt.Sprintf("jetstream {store_dir: %q}\n", t.TempDir()) }
	for name, row := range map[string]struct {
		url  func(t *testing.T) string
		env  []string
		says []string
	}{
		"nobody there": {url: func(*testing.T) string { return "nats://127.0.0.1:1" },
			says: []string{"nats://127.0.0.1:1: not reachable after 5 attempts", "; start it, or correct nats.url"}},
		"wrong password": {url: func(*testing.T) string { return strings.Replace(there.url, secret, "hunter2", 1) },
			says: []string{"refuses these credentials; set a valid user and password", "imctl nats config"}},
		"too many connections": {url: func(t *testing.T) string { return full(t, "max_connections: 1\n"+fmt.Sprintf(users, "", "")) },
			says: []string{"maximum connections exceeded; raise max_connections of the NATS server, or close others"}},
		"too many connections of the account": {url: func(t *testing.T) string { return full(t, fmt.Sprintf(users, "limits: {max_conn: 1},", "")) },
			says: []string{"account active connections exceeded; raise the limit of connections of the account"}},
		"no TLS": {url: func(t *testing.T) string {
			return strings.Replace(startNATSWith(t, fmt.Sprintf(users, "", "")), "nats://", "tls://", 1)
		}, says: []string{"; the server has no TLS: write nats:// in nats.url"}},
		"no credentials": {url: func(*testing.T) string { return strings.Replace(there.url, "imctl:"+secret+"@", "", 1) },
			says: []string{"refuses these credentials"}},
		"no JetStream": {url: func(t *testing.T) string { return startNATSWith(t, fmt.Sprintf(users, "", "")) },
			says: []string{"JetStream", `; add "jetstream { store_dir: DIRECTORY }"`, "imctl nats config"}},
		"JetStream for others": {url: func(t *testing.T) string { return startNATSWith(t, store(t)+fmt.Sprintf(users, "", "")) },
			says: []string{"JetStream", `"jetstream: enabled" to the account`}},
		"too old": {url: func(t *testing.T) string {
			url := startNATSWith(t, fmt.Sprintf(users, "", ""))
			nc, err := nats.Connect(url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(nc.Close)
			// The answer of a server without atomic batches.
			_, err = nc.Subscribe("$JS.API.INFO", func(m *nats.Msg) {
				_ = m.Respond([]byte(`{"type":"io.nats.jetstream.api.v1.account_info_response","api":{"level":1}}`))
			})
			if err = errors.Join(err, nc.Flush()); err != nil {
				t.Fatal(err)
			}
			return url
		}, says: []string{"atomic batches need 2.12", "; upgrade it to nats-server 2.12 or later"}},
		"replicas": {url: func(*testing.T) string { return there.url }, env: []string{"IMCTL_NATS_REPLICAS=3", "IMCTL_NATS_PREFIX=other"},
			says: []string{"replicas", "; set nats.replicas to 1"}},
		"may not publish": {url: func(t *testing.T) string {
			return startNATSWith(t, store(t)+fmt.Sprintf(users, "jetstream: enabled,", `, permissions: {publish: ["im.>", "_INBOX.>", "$JS.API.>", "$KV.im_users.>", "$KV.im_tokens.>", "$KV.im_users_b.>", "$KV.im_tokens_b.>", "$KV.im_friendships_b.>", "$KV.im_state.>"]}`))
		}, says: []string{`does not permit its user to publish to $KV.im_friendships.none; add to this user in its configuration: permissions: {publish: ["im.>", `, `"$KV.im_friendships.>"`}},
		"may not back up": {url: func(t *testing.T) string {
			return startNATSWith(t, store(t)+fmt.Sprintf(users, "jetstream: enabled,", ", "+permissionsLine("im", "", false)))
		}, env: []string{"IMCTL_BACKUP_DIR=backups"}, says: []string{"does not permit its user to publish to $JS.SNAPSHOT.ACK.none; add to this user", `"$JS.SNAPSHOT.ACK.>"]`}},
		"may not subscribe": {url: func(t *testing.T) string {
			return startNATSWith(t, store(t)+fmt.Sprintf(users, "jetstream: enabled,", `, permissions: {publish: ">", subscribe: ["_INBOX.>", "im.>"]}`))
		}, says: []string{"does not permit its user to subscribe to $JS.EVENT.ADVISORY.CONSUMER.CREATED.IM_LOG.>, $SRV.PING; "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serveAttached(t, row.url(t), row.env...)
			said := a.err[strings.LastIndex(strings.TrimSpace(a.err), "\n")+1:] // the last line, after the log
			if a.code != exitFailed || !strings.HasPrefix(said, "imctl: ") {
				t.Errorf("exit code %d: %s", a.code, a.err)
			}
			for _, words := range row.says {
				if !strings.Contains(said, words) {
					t.Errorf("%q is not in: %s", words, said)
				}
			}
			for _, hidden := range []string{"hunter2", "pw-of-u", secret} {
				if strings.Contains(a.err, hidden) {
					t.Errorf("the password in the output: %s", a.err)
				}
			}
		})
	}
}

// full starts a NATS server that takes one connection, and connects to it. It returns the URL of its user u.
func full(t *testing.T, text string) string {
	t.Helper()
	url := startNATSWith(t, text)
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return url
}

// serveAttached runs imctl serve on a NATS server that it cannot use, and returns the output.
func serveAttached(t *testing.T, url string, env ...string) commandAnswer {
	t.Helper()
	dir := t.TempDir()
	var out, errs strings.Builder
	e := &Env{In: strings.NewReader(""), Out: &out, Err: &errs, Dir: dir,
		Environ: append(env, "IMCTL_NATS_URL="+url, "IMCTL_LISTEN=127.0.0.1:0", "IMCTL_OPS_LISTEN=")}
	code := Run(t.Context(), e, []string{"serve"})
	return commandAnswer{code, out.String(), errs.String()}
}

// startNATSWith starts a NATS server with a configuration and returns the URL of its user u.
func startNATSWith(t testing.TB, text string) string {
	t.Helper()
	o := natsOptions(t, text)
	runNATS(t, o)
	return fmt.Sprintf("nats://u:pw-of-u@127.0.0.1:%d", o.Port)
}

// TestNATSInfo runs imctl nats info on an attached NATS server, by URL and by context, and on the embedded server.
func TestNATSInfo(t *testing.T) {
	t.Parallel()
	there := startExternalNATS(t)
	dir := t.TempDir()
	command(t, dir, "", "nats", "info", "--nats", there.url).want(t, exitDone, "KV_im_users  ", "missing", "im.user.<id>.dialogue")
	s := start(t, there.attached)
	secret := firstGroup(there.url, `:([0-9a-f]{32})@`)
	file := filepath.Join(dir, "there.json")
	context := fmt.Sprintf(`{"url":"nats://127.0.0.1:%d","user":"imctl","password":%q}`, there.port, secret)
	if err := os.WriteFile(file, []byte(context), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, how := range [][]string{{"--nats", there.url}, {"--context", "there.json"}, {"--context", file}} {
		a := command(t, dir, "", append([]string{"nats", "info"}, how...)...).want(t, exitDone, natsserver.VERSION, "IM_LOG", "IM_TALKS")
		if strings.Contains(a.out, "missing") || strings.Contains(a.out, secret) {
			t.Errorf("%s: %s", how, a.out)
		}
	}
	if err := s.app.bridge.Audit().Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	command(t, dir, "", "audit", "--nats", there.url).want(t, exitDone, "server.started")
	a := command(t, dir, "", "nats", "info", "-o", "json", "--nats", there.url).want(t, exitDone)
	var info natsInfo
	if err := json.Unmarshal([]byte(a.out), &info); err != nil || len(info.Streams) != 8 || info.Streams[0].State != "ok" || info.Version != natsserver.VERSION {
		t.Errorf("%s, %v", a.out, err)
	}
	// A server that is attached with a context also has the auth callout.
	byContext := start(t, func(c *Config) { c.NATS.Context = file })
	for _, s := range []*server{s, byContext} {
		if strings.Contains(s.log.String(), "cannot log in") {
			t.Errorf("logged: %s", s.log)
		}
	}
	command(t, dir, "", "nats", "info", "--nats", "nats://127.0.0.1:1").want(t, exitNoServer, "start it, or correct nats.url")
}

// TestNATSConfig checks that a new secret is printed once, and that a configured user is used instead.
func TestNATSConfig(t *testing.T) {
	t.Parallel()
	a, b := command(t, t.TempDir(), "", "nats", "config"), command(t, t.TempDir(), "", "nats", "config")
	secret := firstGroup(a.err, `url: nats://imctl:([0-9a-f]{32})@`)
	if secret == "" || strings.Contains(a.out, secret) || a.err == b.err || a.out == b.out {
		t.Errorf("the secret must be new, and must not be on standard output:\n%s%s", a.out, a.err)
	}
	again := command(t, t.TempDir(), "", "nats", "config", "--nats", "nats://other:"+secret+"@127.0.0.1:4222").want(t, exitDone, `"other-auth"`, `"other-sys"`)
	issuer := `issuer: (\S+)`
	if got, want := firstGroup(again.out, issuer), firstGroup(a.out, issuer); got != want {
		t.Errorf("the issuers for the same secret differ: got %s, want %s", got, want)
	}
	// The existing users of the NATS server can still log in.
	there := startExternalNATS(t, `OLD { users: [{user: old, password: friend}] }`)
	nc, err := nats.Connect(fmt.Sprintf("nats://old:friend@127.0.0.1:%d", there.port))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}
