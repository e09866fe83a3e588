package cmd

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"imctl/bridge/hook"
	"imctl/bridge/origin"
)

// setting is one key of the configuration: its value, its help and its rules.
type setting struct {
	key  string
	help string
	// value points to a field of the Config: a *string, *Secret, *int, *bool, *[]string, *Size, *Rate, *Sync or
	// *time.Duration.
	value any
	// check returns what is wrong with the current value.
	check func() error
	// path marks file names. They are relative to the file or working directory that they come from.
	path bool
	// live marks settings that a reload puts into effect.
	live bool
}

// bind returns the setting of a field. The checks run in order, and the first one that fails is reported.
func bind[T any](key string, field *T, help string, checks ...func(T) error) setting {
	return setting{key: key, value: field, help: help, check: func() error {
		for _, check := range checks {
			if err := check(*field); err != nil {
				return err
			}
		}
		return nil
	}}
}

// obsolete are keys of earlier versions that have no effect. A file may still have them.
var obsolete = []string{"dialogues.offline"}

func (s setting) asPath() setting { s.path = true; return s }

func (s setting) asLive() setting { s.live = true; return s }

// settings returns all settings, bound to the fields of c, in the order of config.yaml.
func (c *Config) settings() []setting {
	return slices.Concat(c.serverSettings(), c.authSettings(), c.oidcSettings(), c.natsSettings(), c.backupSettings())
}

func (c *Config) serverSettings() []setting {
	return []setting{
		bind("listen", &c.Listen, "address of the page, the HTTP calls and the tunnel", notEmpty, listenAddress),
		bind("data", &c.Data, "data directory", notEmpty).asPath(),
		bind("data_reserve", &c.DataReserve, "disk space that the embedded server holds in reserve, 0 for none", between(0, TiB)),
		bind("data_check", &c.DataCheck, "check the embedded server's files for damage before it starts"),

		bind("log.level", &c.Log.Level, "debug, info, warn or error", oneOf("debug", "info", "warn", "error")).asLive(),
		bind("log.format", &c.Log.Format, "text or json", oneOf("text", "json")),

		bind("tls.mode", &c.TLS.Mode, "auto, off, files, acme or self-signed",
			oneOf("auto", "off", "files", "acme", "self-signed")),
		bind("tls.cert", &c.TLS.Cert, "certificate chain, a PEM file").asPath(),
		bind("tls.key", &c.TLS.Key, "private key of the certificate, a PEM file").asPath(),
		bind("tls.domains", &c.TLS.Domains, "domains to request an ACME certificate for", each(domain)),
		bind("tls.email", &c.TLS.Email, "contact address for the ACME authority", orEmpty(email)),
		bind("tls.directory", &c.TLS.Directory, "URL of the ACME directory, empty for Let's Encrypt", orEmpty(httpURL)),

		bind("http.url", &c.HTTP.URL, "URL of the server as clients reach it, empty to derive it from listen and tls.domains", orEmpty(baseURL)),
		bind("http.origins", &c.HTTP.Origins, "origins of web pages and apps that may call and connect, besides the server's own", each(origin.Check)).asLive(),
		bind("http.hosts", &c.HTTP.Hosts, "host names that clients use, besides the loopback names, of a server on a loopback address", each(hostName)).asLive(),
		bind("http.trusted_proxies", &c.HTTP.TrustedProxies, "proxies whose X-Forwarded-For or Forwarded is trusted", each(prefix)),
		bind("http.version", &c.HTTP.Version, "tell clients the version of imctl"),

		bind("ops.listen", &c.Ops.Listen, "address of health, readiness and metrics, empty for none", orEmpty(listenAddress)),
		bind("ops.pprof", &c.Ops.Pprof, "serve profiles at ops.listen"),

		bind("sessions.per_user", &c.Sessions.PerUser, "concurrent sessions of one user; a further login ends the oldest", between(1, 1000)),
		bind("sessions.buffer", &c.Sessions.Buffer, "frames that may be queued for one socket", between(1, 65536)),
		bind("sessions.in_flight", &c.Sessions.InFlight, "unanswered dialogues of one session", between(1, 65536)),
		bind("sessions.max_frame", &c.Sessions.MaxFrame, "largest frame accepted from a client", between(KiB, 512*KiB)),
		bind("sessions.ping", &c.Sessions.Ping, "interval of pings to a silent client", between(time.Second, time.Hour)),
		bind("sessions.write_timeout", &c.Sessions.WriteTimeout, "timeout of a write to a socket", between(100*time.Millisecond, 5*time.Minute)),

		bind("dialogues.timeout", &c.Dialogues.Timeout, "timeout of a dialogue", between(100*time.Millisecond, 5*time.Minute)),
		bind("dialogues.keep", &c.Dialogues.Keep, "how long conversations are kept, 0 to keep none", orZero(between(time.Minute, 100*365*24*time.Hour))),
		bind("dialogues.max_bytes", &c.Dialogues.MaxBytes, "size limit of all conversations; the oldest dialogues beyond it are dropped", between(MiB, 1024*TiB)),
		bind("dialogues.receipts", &c.Dialogues.Receipts, "tell a sender that its friend has read a dialogue or is typing"),

		bind("hooks.ask", &c.Hooks.Ask, "what moderators are asked about: dialogue, register, request", each(oneOf(hook.Kinds...))),
		bind("hooks.timeout", &c.Hooks.Timeout, "how long a dialogue or call waits for a moderator", between(10*time.Millisecond, 30*time.Second)),
		bind("hooks.on_error", &c.Hooks.OnError, "without an answer of a moderator: pass or refuse", oneOf("pass", "refuse")),

		bind("files.max_size", &c.Files.MaxSize, "largest file that a user may send, 0 to take no files", between(0, GiB)),
		bind("files.quota", &c.Files.Quota, "size limit of the files that one user has sent", between(MiB, 1024*TiB)),
		bind("files.max_bytes", &c.Files.MaxBytes, "size limit of all files; no more are taken beyond it", between(MiB, 1024*TiB)),

		bind("admin.read_dialogues", &c.Admin.ReadDialogues, "let administrators read conversations with imctl talk show"),

		bind("tokens.ttl", &c.Tokens.TTL, "lifetime of a token", between(time.Second, 10*365*24*time.Hour)),
		bind("tokens.max_age", &c.Tokens.MaxAge, "time from a login with the password until its tokens, renewed or not, end, 0 for no limit", between(0, 10*365*24*time.Hour)),

		bind("passwords.memory", &c.Passwords.Memory, "memory of one argon2id hash", between(MiB, 4*GiB)),
		bind("passwords.passes", &c.Passwords.Passes, "passes of one argon2id hash", between(1, 100)),
		bind("passwords.min_length", &c.Passwords.MinLength, "shortest new password, in characters", between(1, 65536)),
		bind("passwords.max_length", &c.Passwords.MaxLength, "longest password, in characters", between(8, 65536)),

		bind("limits.registrations", &c.Limits.Registrations, "registrations from one address, 0 for no limit").asLive(),
		bind("limits.logins", &c.Limits.Logins, "logins from one address, 0 for no limit").asLive(),
		bind("limits.login_failures", &c.Limits.LoginFailures, "failed logins to one account, 0 for no limit").asLive(),
		bind("limits.dialogues", &c.Limits.Dialogues, "dialogues of one session and of one user's NATS clients, 0 for no limit").asLive(),
		bind("limits.forgotten", &c.Limits.Forgotten, "password reset codes for one account and from one address, 0 for no limit").asLive(),
		bind("limits.refusals", &c.Limits.Refusals, "refused logins and requests from one address, or calls by NATS of one user or program, before their answers are held back, 0 for no limit").asLive(),
		bind("limits.http", &c.Limits.HTTP, "HTTP requests from one address, 0 for no limit").asLive(),
		bind("limits.calls", &c.Limits.Calls, "calls of one user, 0 for no limit").asLive(),
		bind("limits.searches", &c.Limits.Searches, "searches of one user, 0 for no limit").asLive(),
		bind("limits.friend_changes", &c.Limits.FriendChanges, "friend requests, additions and removals of one user, 0 for no limit").asLive(),
		bind("limits.updates", &c.Limits.Updates, "profile updates of one user, 0 for no limit").asLive(),
		bind("limits.passwords", &c.Limits.Passwords, "new passwords of one user, and checks of the old one, 0 for no limit").asLive(),
		bind("limits.reports", &c.Limits.Reports, "reports of one user, 0 for no limit").asLive(),
		bind("limits.history", &c.Limits.History, "reads of conversations by one user, 0 for no limit").asLive(),
		bind("limits.gateway_dialogues", &c.Limits.GatewayDialogues, "dialogues of all users of one gateway, 0 for no limit").asLive(),
		bind("limits.gateway_calls", &c.Limits.GatewayCalls, "calls of one gateway, those of its users included, 0 for no limit").asLive(),
		bind("limits.gateway_users", &c.Limits.GatewayUsers, "users of one gateway, 0 for no limit", between(0, 100_000_000)),
		bind("limits.program_calls", &c.Limits.ProgramCalls, "calls of one reader or service, 0 for no limit").asLive(),
		bind("limits.connections", &c.Limits.Connections, "connections of all clients, 0 for as many as the system's descriptors allow",
			orZero(between(16, 1<<20))).asLive(),
		bind("limits.connections_per_address", &c.Limits.ConnectionsPerAddress, "connections from one address, 0 for half of all",
			orZero(between(1, 1<<20))).asLive(),
		bind("limits.uploads", &c.Limits.Uploads, "memory for the bodies of requests, 0 for no limit", orZero(between(MiB, 64*GiB))).asLive(),
		bind("limits.waiting", &c.Limits.Waiting, "memory for dialogues that wait for slow clients, 0 for no limit", orZero(between(MiB, 64*GiB))).asLive(),
		// Every change rewrites the whole roster, so its size is limited.
		bind("limits.friends", &c.Limits.Friends, "friends of one user", between(1, 2000)),
		bind("limits.requests", &c.Limits.Requests, "pending friend requests to one user", between(1, 1000)),
		bind("limits.picture", &c.Limits.Picture, "largest profile picture", between(0, 512*KiB)).asLive(),
		bind("limits.cooldown", &c.Limits.Cooldown, "time until a declined friend request may come again, and a withdrawn one is shown again, 0 for none", between(0, 30*24*time.Hour)).asLive(),

		bind("registration", &c.Registration, "which clients may register: open, invite or closed", oneOf("open", "invite", "closed")).asLive(),

		bind("people.accounts", &c.People.Accounts, "who sees the account of a user: exact (those who search for it), shown (all) or hidden", oneOf("exact", "shown", "hidden")).asLive(),

		bind("mail.smtp", &c.Mail.SMTP, "URL of the mail server for codes and notes, empty for none", orEmpty(smtpURL)),
		bind("mail.from", &c.Mail.From, "sender address of mail", orEmpty(email)),
		bind("push.subject", &c.Push.Subject, "contact for push services, a mailto: or https: URL, empty for no push messages", orEmpty(pushSubject)),
		bind("push.private", &c.Push.Private, "allow push services in private networks"),

		bind("webhooks.private", &c.Webhooks.Private, "allow destinations in private networks, and http"),
		bind("webhooks.timeout", &c.Webhooks.Timeout, "time for one request", between(time.Second, 20*time.Second)),
		bind("webhooks.max_age", &c.Webhooks.MaxAge, "how long an event is posted again until it is a dead letter", between(time.Minute, 7*24*time.Hour)),
		bind("webhooks.max_events", &c.Webhooks.MaxEvents, "events of one webhook that wait; more become dead letters", between(1000, 10_000_000)),
		bind("webhooks.max_bytes", &c.Webhooks.MaxBytes, "size of all events that wait, and of dead letters; more are lost", between(MiB, 1024*TiB)),
		bind("webhooks.failed_age", &c.Webhooks.FailedAge, "how long dead letters are kept", between(8*24*time.Hour, 10*365*24*time.Hour)),
	}
}

func (c *Config) natsSettings() []setting {
	return []setting{
		bind("nats.url", &c.NATS.URL, "NATS server to attach to, empty for the embedded one", orEmpty(natsURLs)),
		bind("nats.context", &c.NATS.Context, "NATS context to attach by, a name or a file"),
		bind("nats.creds", &c.NATS.Creds, "credentials file for nats.url").asPath(),
		bind("nats.domain", &c.NATS.Domain, "JetStream domain of the attached NATS server, empty for its own", orEmpty(subjectToken)),
		bind("nats.tls.ca", &c.NATS.TLS.CA, "certificates that sign that of the attached NATS server, a PEM file").asPath(),
		bind("nats.tls.cert", &c.NATS.TLS.Cert, "client certificate for the attached NATS server, a PEM file").asPath(),
		bind("nats.tls.key", &c.NATS.TLS.Key, "private key of the client certificate, a PEM file").asPath(),
		bind("nats.prefix", &c.NATS.Prefix, "first token of all subjects, and of bucket and stream names", subjectToken),
		bind("nats.replicas", &c.NATS.Replicas, "replicas of all stored data: 1, 3 or 5, 0 for as many as an embedded cluster has nodes, and else 1", oneOf(0, 1, 3, 5)),
		bind("nats.listen", &c.NATS.Listen, "address where the embedded server accepts NATS clients, empty for none", orEmpty(address)),
		bind("nats.sync", &c.NATS.Sync, "when the embedded server syncs writes to disk: always, or an interval",
			between(SyncAlways, Sync(time.Hour))),
		bind("nats.connections", &c.NATS.Connections, "connections to the embedded server, those of imctl included, 0 for the default", between(0, 1<<20)),
		bind("nats.connections_per_user", &c.NATS.ConnectionsPerUser, "connections of one user or consumer to NATS, 0 for no limit", between(0, 1<<16)),
		bind("nats.log.max_age", &c.NATS.Log.MaxAge, "how long the log keeps unacknowledged entries", between(time.Minute, 10*365*24*time.Hour)),
		bind("nats.log.max_bytes", &c.NATS.Log.MaxBytes, "size limit of the log; a full log accepts no entries", between(MiB, 1024*TiB)),
		bind("nats.log.on_error", &c.NATS.Log.OnError, "if the log cannot store a dialogue: refuse answers 507, continue answers 200 and counts a lost entry",
			oneOf("refuse", "continue")),
		bind("nats.log.idle", &c.NATS.Log.Idle, "how long the program of a consumer may be away until it is detached from a log that is 80 % full, 0 for no limit",
			orZero(between(time.Minute, 10*365*24*time.Hour))),
		bind("nats.audit.max_age", &c.NATS.Audit.MaxAge, "how long the audit trail keeps entries", between(time.Minute, 10*365*24*time.Hour)),
		bind("nats.audit.max_bytes", &c.NATS.Audit.MaxBytes, "size limit of the audit trail; a full trail drops old entries", between(MiB, 1024*TiB)),
		bind("nats.cluster.name", &c.NATS.Cluster.Name, "name of the cluster, empty for a single server", orEmpty(subjectToken)),
		bind("nats.cluster.listen", &c.NATS.Cluster.Listen, "address where this node accepts the other nodes", orEmpty(address)),
		bind("nats.cluster.routes", &c.NATS.Cluster.Routes, "addresses of all nodes of the cluster", each(route)),
		bind("nats.cluster.secret", &c.NATS.Cluster.Secret, "shared secret of the nodes of the cluster, see imctl cluster secret", clusterSecret),
		bind("nats.cluster.node", &c.NATS.Cluster.Node, "name of this node, which never changes, empty for the one that the first start makes", orEmpty(subjectToken)),
		bind("nats.cluster.tls.cert", &c.NATS.Cluster.TLS.Cert, "certificate chain of this node, a PEM file, empty to derive certificates from the secret").asPath(),
		bind("nats.cluster.tls.key", &c.NATS.Cluster.TLS.Key, "private key of the certificate, a PEM file").asPath(),
		bind("nats.cluster.tls.ca", &c.NATS.Cluster.TLS.CA, "certificate authority of all nodes, a PEM file").asPath(),
		bind("nats.monitor", &c.NATS.Monitor, "address of the embedded NATS server's monitoring, empty for none", orEmpty(address)),

		bind("nats.callout.creds", &c.NATS.Callout.Creds, "operator mode: credentials file of the user that answers the auth callout").asPath(),
		bind("nats.callout.system", &c.NATS.Callout.System, "operator mode: credentials file of a user of the system account").asPath(),
		bind("nats.callout.key", &c.NATS.Callout.Key, "operator mode: file with the seed of the signing key of the accounts").asPath(),
		bind("nats.callout.log_account", &c.NATS.Callout.LogAccount, "operator mode: public key of the account for consumers of the log, empty for no consumers", orEmpty(accountKey)),
	}
}

func (c *Config) backupSettings() []setting {
	return []setting{
		bind("backup.dir", &c.Backup.Dir, "directory of the backups that the server makes, empty for none").asPath().asLive(),
		bind("backup.every", &c.Backup.Every, "time from one backup to the next", between(time.Minute, maxBackupEvery)).asLive(),
		bind("backup.keep", &c.Backup.Keep, "backups that are kept in backup.dir", between(1, maxBackups)).asLive(),
		bind("backup.recipients", &c.Backup.Recipients, "public keys of age or SSH to encrypt backups to", recipients).asLive(),
	}
}

// setNode parses a value of the file into the setting's field. YAML's types matter: "8" is not a number, 12 not a text.
func (s setting) setNode(node ast.Node) error {
	var value any
	if err := yaml.NodeToValue(node, &value); err != nil {
		return errors.New("must be a plain value, without aliases inside")
	}
	var number, truth string
	switch value.(type) {
	case int64, uint64:
		number = fmt.Sprint(value)
	case bool:
		truth = fmt.Sprint(value)
	}
	// No parser accepts "", and its error says what the value must be.
	switch field := s.value.(type) {
	case *[]string:
		return setList(field, value)
	case *int:
		return s.setText(number)
	case *bool:
		return s.setText(truth)
	}
	switch value := value.(type) {
	case string:
		return s.setText(value)
	case nil:
		return errors.New("has no value")
	case []any:
		return errors.New("must be one value, not a list")
	case map[string]any:
		return errors.New("must be one value, not a section")
	}
	switch s.value.(type) {
	case *string, *Secret:
		// A number as text would not always be what was written: 0123, 1_000.
		return errors.New("must be text: put it in quotes")
	case *Size, *Rate:
		return s.setText(number) // a size without a unit, or the rate 0
	case *time.Duration:
		if number == "0" {
			return s.setText(number)
		}
	}
	return s.setText("")
}

func setList(field *[]string, value any) error {
	items, ok := value.([]any)
	if !ok {
		return errors.New("must be a list, such as [a, b]")
	}
	list := make([]string, len(items))
	for i, item := range items {
		if list[i], ok = item.(string); !ok {
			return fmt.Errorf("must be a list of texts: put item %d in quotes", i+1)
		}
	}
	*field = list
	return nil
}

// setText parses text into the setting's field.
func (s setting) setText(text string) (err error) {
	switch field := s.value.(type) {
	case *string:
		*field = text
	case *Secret:
		*field = Secret(text)
	case *int:
		if *field, err = strconv.Atoi(text); err != nil {
			err = errors.New("must be a whole number")
		}
	case *bool:
		if *field, err = strconv.ParseBool(text); err != nil {
			err = errors.New("must be true or false")
		}
	case *[]string:
		*field = splitList(text)
	case *Size:
		*field, err = ParseSize(text)
	case *Rate:
		*field, err = ParseRate(text)
	case *Sync:
		*field, err = ParseSync(text)
	case *time.Duration:
		*field, err = parseDuration(text)
	default:
		panic(fmt.Sprintf("setting %s: no parser for %T", s.key, s.value))
	}
	return err
}

// splitList splits a list separated by commas.
func splitList(text string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// get returns the value.
func (s setting) get() any { return reflect.ValueOf(s.value).Elem().Interface() }

// String returns the value as it is displayed. It contains no secret.
func (s setting) String() string {
	switch v := s.get().(type) {
	case time.Duration:
		return formatDuration(v)
	case []string:
		return strings.Join(v, ",")
	case string:
		if s.secret() {
			return RedactURL(v)
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// secret reports whether the value may contain a secret.
func (s setting) secret() bool {
	_, ok := s.value.(*Secret)
	return ok || s.key == "nats.url" || s.key == "mail.smtp"
}
