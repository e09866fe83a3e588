package cmd

import (
	"log/slog"
	"net"
	"slices"
	"time"

	"imctl/bridge/hook"
	"imctl/bridge/identity"
)

// Config holds all settings. Its fields are named after the keys in config.yaml. settings.go maps keys to fields.
type Config struct {
	// Listen is host:port, or unix:path, of the page, the HTTP calls and the tunnel.
	Listen string
	// Data is the data directory.
	Data string
	// DataReserve is the disk space of the data directory that is held in reserve until the disk is nearly full.
	DataReserve Size
	// DataCheck checks the files of the embedded server for damage before it starts.
	DataCheck bool

	Log       LogConfig
	TLS       TLSConfig
	HTTP      HTTPConfig
	Ops       OpsConfig
	Sessions  SessionsConfig
	Dialogues DialoguesConfig
	Hooks     HooksConfig
	Files     FilesConfig
	Admin     AdminConfig
	Tokens    TokensConfig
	Passwords PasswordsConfig
	Limits    LimitsConfig
	// Registration says which clients may create an account: open, invite or closed.
	Registration string
	People       PeopleConfig
	Mail         MailConfig
	Push         PushConfig
	Auth         AuthConfig
	Webhooks     WebhooksConfig
	NATS         NATSConfig
	Backup       BackupConfig

	// File is the configuration file, "" for none.
	File string

	// acceptLoss names the streams and consumers that may be missing at the start, from the flag of serve.
	acceptLoss []string
	// sockets are the listeners that systemd has passed, by the setting that each of them replaces.
	sockets map[string]net.Listener
	// blank is true if the file is empty, without even a comment.
	blank bool

	// origins is the source of each value that is not the default: "config.yaml:12", "IMCTL_DATA", "--data".
	origins map[string]string
}

// LogConfig is the section log.
type LogConfig struct {
	Level  string // debug, info, warn or error
	Format string // text or json
}

// SlogLevel returns Level as a level of log/slog.
func (c LogConfig) SlogLevel() slog.Level {
	var level slog.Level
	// The setting's check allows only four names, and slog knows all of them.
	_ = level.UnmarshalText([]byte(c.Level))
	return level
}

// TLSConfig is the section tls.
type TLSConfig struct {
	Mode      string // auto, off, files, acme or self-signed
	Cert, Key string // PEM files
	Domains   []string
	Email     string
	Directory string // URL of the ACME directory, "" for Let's Encrypt
}

// HTTPConfig is the section http.
type HTTPConfig struct {
	URL            string   // of the server as clients reach it, "" if unknown
	Origins        []string // besides the server's own; see origin.Check
	Hosts          []string // host names, besides the loopback names, of a server on a loopback address
	TrustedProxies []string // addresses or CIDR prefixes
	Version        bool     // tell clients the version of the program
}

// pages returns the origins of web pages that may call: the configured ones, and that of URL.
func (c HTTPConfig) pages() []string {
	if u, ok := parseURL(c.URL, "https", "http"); ok {
		return append([]string{u.Scheme + "://" + u.Host}, c.Origins...)
	}
	return c.Origins
}

// OpsConfig is the section ops.
type OpsConfig struct {
	Listen string // host:port or unix:path, "" for none
	Pprof  bool
}

// SessionsConfig is the section sessions.
type SessionsConfig struct {
	PerUser      int
	Buffer       int // frames queued for one session's socket
	InFlight     int // unanswered dialogues of one session
	MaxFrame     Size
	Ping         time.Duration
	WriteTimeout time.Duration
}

// DialoguesConfig is the section dialogues.
type DialoguesConfig struct {
	Timeout  time.Duration
	Keep     time.Duration // 0: no conversations are kept
	MaxBytes Size          // of all conversations
	Receipts bool          // of read dialogues, and of typing
}

// HooksConfig is the section hooks.
type HooksConfig struct {
	Ask     []string // hook.Kinds that moderators are asked about
	Timeout time.Duration
	OnError string // pass or refuse
}

// defaultHookTimeout is the default of hooks.timeout. It may exceed half of a short dialogues.timeout, which then counts.
const defaultHookTimeout = 250 * time.Millisecond

// FilesConfig is the section files.
type FilesConfig struct {
	MaxSize  Size // of one file; 0: no files are taken
	Quota    Size // of the files that one user has sent
	MaxBytes Size // of all files
}

// PeopleConfig is the section people.
type PeopleConfig struct {
	Accounts string // exact, shown or hidden
}

// AdminConfig is the section admin.
type AdminConfig struct {
	ReadDialogues bool
}

// TokensConfig is the section tokens.
type TokensConfig struct {
	TTL    time.Duration
	MaxAge time.Duration
}

// PasswordsConfig is the section passwords.
type PasswordsConfig struct {
	Memory    Size // of one argon2id hash
	Passes    int
	MinLength int // characters of a new password
	MaxLength int // characters
}

// LimitsConfig is the section limits.
type LimitsConfig struct {
	Registrations Rate // per address
	Logins        Rate // per address
	LoginFailures Rate // per account
	Dialogues     Rate // per session
	Forgotten     Rate // per account, and per address
	Refusals      Rate // per address
	HTTP          Rate // requests, per address
	Calls         Rate // per user
	Searches      Rate // per user
	FriendChanges Rate // per user
	Updates       Rate // per user
	Passwords     Rate // per user
	Reports       Rate // per user
	History       Rate // per user

	GatewayDialogues Rate // of all users of a gateway
	GatewayCalls     Rate // of a gateway, those of its users included
	GatewayUsers     int  // per gateway, 0 for no limit
	ProgramCalls     Rate // per reader or service

	Friends  int // per user
	Requests int // pending, per user
	Picture  Size
	Cooldown time.Duration // between requests of one user to another

	Connections           int // 0: by the descriptors that the system allows
	ConnectionsPerAddress int // 0: half of Connections
	Uploads               Size
	Waiting               Size
}

// MailConfig is the section mail.
type MailConfig struct {
	SMTP string // URL, "" for no mail; may contain a password: print it with RedactURL
	From string
}

// PushConfig is the section push.
type PushConfig struct {
	Subject string // mailto: or https: URL, "" for no push messages
	Private bool
}

// WebhooksConfig is the section webhooks.
type WebhooksConfig struct {
	Private   bool
	Timeout   time.Duration
	MaxAge    time.Duration
	MaxEvents int
	MaxBytes  Size
	FailedAge time.Duration
}

// NATSConfig is the section nats.
type NATSConfig struct {
	URL      string // "" for the embedded server; may contain a password: print it with RedactURL
	Context  string // a NATS context: its name or its file
	Creds    string // file
	Prefix   string
	Replicas int    // of all stored data; 0: see replicas
	Listen   string // the embedded server's, "" for none
	Sync     Sync
	Log      NATSLogConfig
	Audit    NATSAuditConfig
	Cluster  ClusterConfig
	Callout  CalloutConfig

	Monitor string // address of the embedded server's own monitoring, "" for none
	Domain  string // JetStream domain of an attached NATS server; "" for the domain of that server
	TLS     NATSTLSConfig

	Connections        int // to the embedded server; 0: the default of NATS
	ConnectionsPerUser int // of one user or consumer; 0: no limit
}

// Embedded reports whether the process runs its own NATS server.
func (c NATSConfig) Embedded() bool { return c.URL == "" && c.Context == "" }

// replicas returns how many nodes store each record: one, or as many as the settings or the size of an embedded cluster
// ask for.
func (c NATSConfig) replicas() int {
	switch {
	case c.Replicas > 0:
		return c.Replicas
	case c.Embedded() && c.Cluster.Name != "":
		return len(c.Cluster.Routes)
	}
	return 1
}

// NATSTLSConfig is the section nats.tls, for connections to an attached NATS server.
type NATSTLSConfig struct {
	CA        string // file with the certificates that sign the server's
	Cert, Key string // files of the client certificate
}

// NATSLogConfig is the section nats.log, the event log.
type NATSLogConfig struct {
	MaxAge   time.Duration
	MaxBytes Size
	OnError  string        // refuse or continue
	Idle     time.Duration // 0: no consumer is detached
}

// NATSAuditConfig is the section nats.audit, the audit trail.
type NATSAuditConfig struct {
	MaxAge   time.Duration
	MaxBytes Size
}

// CalloutConfig is the section nats.callout, for an attached NATS server in operator mode.
type CalloutConfig struct {
	Creds      string // file
	System     string // file; "" for none
	Key        string // file
	LogAccount string // public key; "" for none
}

// BackupConfig is the section backup, for the backups that the server makes itself.
type BackupConfig struct {
	Dir        string // "" for none
	Every      time.Duration
	Keep       int
	Recipients []string // public keys of age or SSH; none: not encrypted
}

// ClusterConfig is the section nats.cluster.
type ClusterConfig struct {
	Name   string // "" for a single server
	Node   string // name of this node, "" for the one in the data directory
	Listen string
	Routes []string // addresses of all nodes, this one included
	Secret Secret
	TLS    RouteTLSConfig
}

// RouteTLSConfig is the section nats.cluster.tls: PEM files for the connections between nodes.
type RouteTLSConfig struct {
	Cert, Key string
	CA        string
}

// Defaults returns the default settings.
func Defaults() *Config {
	return &Config{
		Listen: "127.0.0.1:8080",
		Data:   "data", DataReserve: 64 * MiB, DataCheck: true,
		Log:  LogConfig{Level: "info", Format: "text"},
		TLS:  TLSConfig{Mode: "auto", Domains: []string{}},
		HTTP: HTTPConfig{Origins: []string{}, Hosts: []string{}, TrustedProxies: []string{}, Version: true},
		Ops:  OpsConfig{Listen: "127.0.0.1:8081"},
		Sessions: SessionsConfig{
			PerUser: 8, Buffer: 64, InFlight: 256, MaxFrame: 64 * KiB,
			Ping: 54 * time.Second, WriteTimeout: 10 * time.Second,
		},
		Dialogues: DialoguesConfig{Timeout: 5 * time.Second, Keep: 30 * day, MaxBytes: 10 * GiB, Receipts: true},
		Webhooks:  WebhooksConfig{Timeout: 15 * time.Second, MaxAge: 72 * time.Hour, MaxEvents: 100_000, MaxBytes: 256 * MiB, FailedAge: 30 * day},
		Files:     FilesConfig{MaxSize: 25 * MiB, Quota: GiB, MaxBytes: 10 * GiB},
		Tokens:    TokensConfig{TTL: 24 * time.Hour, MaxAge: 90 * 24 * time.Hour},
		Hooks:     HooksConfig{Ask: slices.Clone(hook.Kinds), Timeout: defaultHookTimeout, OnError: string(hook.PassOnError)},
		Passwords: PasswordsConfig{Memory: 19 * MiB, Passes: 2, MinLength: 1, MaxLength: 256},
		Limits: LimitsConfig{
			Registrations: Rate{250, time.Hour},
			Logins:        Rate{600, time.Minute},
			LoginFailures: Rate{10, time.Minute},
			Dialogues:     Rate{50, time.Second},
			Forgotten:     Rate{5, time.Hour},
			Refusals:      Rate{60, time.Minute},
			HTTP:          Rate{6000, time.Minute},
			Calls:         Rate{600, time.Minute},
			Searches:      Rate{60, time.Minute},
			FriendChanges: Rate{300, time.Hour},
			Updates:       Rate{60, time.Hour},
			Passwords:     Rate{10, time.Hour},
			Reports:       Rate{20, time.Hour},
			History:       Rate{600, time.Minute},

			GatewayDialogues: Rate{1000, time.Second},
			GatewayCalls:     Rate{30000, time.Minute},
			GatewayUsers:     100000,
			ProgramCalls:     Rate{30000, time.Minute},

			Uploads: 64 * MiB, Waiting: 256 * MiB,
			Friends: 2000, Requests: 200, Picture: 64 * KiB, Cooldown: 24 * time.Hour,
		},
		Registration: "open",
		People:       PeopleConfig{Accounts: "exact"},
		Auth: AuthConfig{Modes: []string{identity.Builtin}, MaxAge: 7 * day,
			JWT:  AuthJWTConfig{Keys: []string{}, Audience: []string{}, AccountClaim: "sub", Leeway: 30 * time.Second},
			NATS: AuthNATSConfig{Timeout: 3 * time.Second}, OIDC: defaultOIDC},
		NATS: NATSConfig{
			Prefix: "im", Listen: "127.0.0.1:4222", Sync: SyncAlways,
			Log:     NATSLogConfig{MaxAge: 168 * time.Hour, MaxBytes: GiB, OnError: "refuse", Idle: 72 * time.Hour},
			Audit:   NATSAuditConfig{MaxAge: 2160 * time.Hour, MaxBytes: 64 * MiB},
			Cluster: ClusterConfig{Routes: []string{}},

			ConnectionsPerUser: 16,
		},
		Backup: BackupConfig{Every: day, Keep: 7, Recipients: []string{}},
	}
}
