package cmd

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setting is one key of the configuration: where its value is kept, what is
// told about it, and what it must look like.
type setting struct {
	key  string
	help string
	// value points to the field of the Config that the setting came from: a *string, *Secret,
	// *int, *bool, *[]string, *Size, *Rate, *Sync or *time.Duration.
	value any
	// check says what is wrong with the value that is in the field now.
	check func() error
	// path marks names of files, which are relative to where they were written.
	path bool
	// live marks what takes effect when the configuration is read again.
	live bool
}

// at makes a setting of a field. The checks run in order, the first that fails is told.
func at[T any](key string, field *T, help string, checks ...func(T) error) setting {
	return setting{key: key, value: field, help: help, check: func() error {
		for _, check := range checks {
			if err := check(*field); err != nil {
				return err
			}
		}
		return nil
	}}
}

func (s setting) asPath() setting { s.path = true; return s }

func (s setting) asLive() setting { s.live = true; return s }

// settings returns every setting, bound to the fields of this Config, in the order of config.yaml.
func (c *Config) settings() []setting {
	return append(c.serverSettings(), c.natsSettings()...)
}

func (c *Config) serverSettings() []setting {
	return []setting{
		at("listen", &c.Listen, "address of the page, the HTTP calls and the tunnel", notEmpty, address),
		at("data", &c.Data, "data directory", notEmpty).asPath(),
		at("data_reserve", &c.DataReserve, "disk space held in reserve for the embedded server, 0 for none", between(0, TiB)),
		at("data_check", &c.DataCheck, "check the embedded server's files for damage before it starts"),

		at("log.level", &c.Log.Level, "debug, info, warn or error", oneOf("debug", "info", "warn", "error")).asLive(),
		at("log.format", &c.Log.Format, "text or json", oneOf("text", "json")),

		at("tls.mode", &c.TLS.Mode, "auto, off, files, acme or self-signed",
			oneOf("auto", "off", "files", "acme", "self-signed")),
		at("tls.cert", &c.TLS.Cert, "certificate chain, a PEM file").asPath(),
		at("tls.key", &c.TLS.Key, "key of the certificate, a PEM file").asPath(),
		at("tls.domains", &c.TLS.Domains, "names to get a certificate for by ACME", each(domain)),
		at("tls.email", &c.TLS.Email, "where the ACME authority may write to", email),
		at("tls.directory", &c.TLS.Directory, "URL of the ACME directory, empty for Let's Encrypt", httpURL),

		at("http.origins", &c.HTTP.Origins, "origins of web pages that may connect, beside the server's own", each(origin)).asLive(),
		at("http.trusted_proxies", &c.HTTP.TrustedProxies, "addresses whose X-Forwarded-For is believed", each(prefix)),

		at("ops.listen", &c.Ops.Listen, "address of health, readiness and metrics, empty for none", address),
		at("ops.pprof", &c.Ops.Pprof, "serve profiles there too"),

		at("sessions.per_user", &c.Sessions.PerUser, "sessions of one user at once; the oldest gives way", between(1, 1000)),
		at("sessions.buffer", &c.Sessions.Buffer, "frames that may wait for one socket", between(1, 65536)),
		at("sessions.in_flight", &c.Sessions.InFlight, "dialogues of one session that may wait for their answer", between(1, 65536)),
		at("sessions.max_frame", &c.Sessions.MaxFrame, "largest frame that a client may send", between(KiB, 512*KiB)),
		at("sessions.ping", &c.Sessions.Ping, "how often a silent client is asked whether it is there", between(time.Second, time.Hour)),
		at("sessions.write_timeout", &c.Sessions.WriteTimeout, "how long a write to a socket may take", between(100*time.Millisecond, 5*time.Minute)),

		at("dialogues.timeout", &c.Dialogues.Timeout, "how long a dialogue may wait for its answer", between(100*time.Millisecond, 5*time.Minute)),
		at("dialogues.offline", &c.Dialogues.Offline, "what becomes of a dialogue to somebody who is offline: reject", oneOf("reject")),

		at("tokens.ttl", &c.Tokens.TTL, "how long a token is good for", between(time.Second, 10*365*24*time.Hour)),

		at("passwords.memory", &c.Passwords.Memory, "memory of one argon2id hash", between(MiB, 4*GiB)),
		at("passwords.passes", &c.Passwords.Passes, "passes of one argon2id hash", between(1, 100)),
		at("passwords.max_length", &c.Passwords.MaxLength, "longest password, in characters", between(8, 65536)),

		at("limits.registrations", &c.Limits.Registrations, "registrations of one address, 0 for no limit").asLive(),
		at("limits.logins", &c.Limits.Logins, "logins of one address, 0 for no limit").asLive(),
		at("limits.login_failures", &c.Limits.LoginFailures, "failed logins of one account, 0 for no limit").asLive(),
		at("limits.dialogues", &c.Limits.Dialogues, "dialogues of one session, and of one user's NATS clients; 0 for no limit").asLive(),
		at("limits.forgotten", &c.Limits.Forgotten, "codes for forgotten passwords, of one account and of one address, 0 for no limit").asLive(),
		// A roster is one record that is written whole, so it cannot grow without bound.
		at("limits.friends", &c.Limits.Friends, "friends of one user", between(1, 2000)),
		at("limits.requests", &c.Limits.Requests, "friend requests that may wait for one user", between(1, 1000)),
		at("limits.picture", &c.Limits.Picture, "largest picture of a profile", between(0, 512*KiB)).asLive(),

		at("mail.smtp", &c.Mail.SMTP, "URL of the mail server for forgotten passwords, empty for none", smtpURL),
		at("mail.from", &c.Mail.From, "address that mail comes from", email),
	}
}

func (c *Config) natsSettings() []setting {
	return []setting{
		at("nats.url", &c.NATS.URL, "NATS server to attach to, empty for the embedded one", natsURLs),
		at("nats.context", &c.NATS.Context, "the same by a NATS context: its name or its file"),
		at("nats.creds", &c.NATS.Creds, "credentials file for nats.url").asPath(),
		at("nats.prefix", &c.NATS.Prefix, "first word of every subject and name of ours in NATS", token),
		at("nats.replicas", &c.NATS.Replicas, "copies of all that is stored: 1, 3 or 5", oneOf(1, 3, 5)),
		at("nats.listen", &c.NATS.Listen, "address where the embedded server takes NATS clients, empty for none", address),
		at("nats.sync", &c.NATS.Sync, "when the embedded server's writes reach the disk: always, or an interval",
			between(SyncAlways, Sync(time.Hour))),
		at("nats.log.max_age", &c.NATS.Log.MaxAge, "how long the log keeps what a consumer has not taken", between(time.Minute, 10*365*24*time.Hour)),
		at("nats.log.max_bytes", &c.NATS.Log.MaxBytes, "how much the log keeps of what a consumer has not taken; it takes nothing more past that", between(MiB, 1024*TiB)),
		at("nats.log.on_error", &c.NATS.Log.OnError, "a dialogue that the log does not take: refuse answers 507, continue answers 200 and counts it",
			oneOf("refuse", "continue")),
		at("nats.cluster.name", &c.NATS.Cluster.Name, "name of the cluster, empty for a single server", optionalToken),
		at("nats.cluster.listen", &c.NATS.Cluster.Listen, "address where this node takes the others", address),
		at("nats.cluster.routes", &c.NATS.Cluster.Routes, "addresses of all nodes of the cluster", each(route)),
		at("nats.cluster.secret", &c.NATS.Cluster.Secret, "what the nodes of the cluster know each other by"),
	}
}

// setting returns the setting of a key.
func (c *Config) setting(key string) (setting, bool) {
	for _, s := range c.settings() {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}

// given is a value as it came from a flag or the environment: always text, whatever its setting takes.
type given string

// set puts a raw value into the setting's field: given, or what a file had, which is
// a string, an int64, a float64, a bool, nil, a []any or a map[string]any.
func (s setting) set(raw any) error {
	if text, ok := raw.(given); ok {
		return s.setText(string(text))
	}
	switch field := s.value.(type) {
	case *int:
		n, ok := raw.(int64)
		if !ok || n > math.MaxInt || n < math.MinInt {
			return errors.New("wants a whole number")
		}
		*field = int(n)
		return nil
	case *bool:
		b, ok := raw.(bool)
		if !ok {
			return errors.New("wants true or false")
		}
		*field = b
		return nil
	case *[]string:
		return setList(field, raw)
	}
	switch raw := raw.(type) {
	case string:
		return s.setText(raw)
	case nil:
		return errors.New("has no value")
	case []any:
		return errors.New("wants one value, not a list")
	case map[string]any:
		return errors.New("wants one value, not a section")
	case int64:
		// A size without a unit and the rate 0 are numbers for YAML.
		switch s.value.(type) {
		case *Size, *Rate:
			return s.setText(strconv.FormatInt(raw, 10))
		}
	}
	switch s.value.(type) {
	case *string, *Secret:
		// Turned into text it would not always be what was written: 0123, 1_000, 1e3.
		return errors.New("wants text: put it in quotes")
	}
	// No parser takes empty text, and each says best what it wants.
	return s.setText("")
}

func setList(field *[]string, raw any) error {
	items, ok := raw.([]any)
	if !ok {
		return errors.New("wants a list, such as [a, b]")
	}
	list := make([]string, len(items))
	for i, item := range items {
		if list[i], ok = item.(string); !ok {
			return fmt.Errorf("wants a list of texts: put item %d in quotes", i+1)
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
			err = errors.New("wants a whole number")
		}
	case *bool:
		if *field, err = strconv.ParseBool(text); err != nil {
			err = errors.New("wants true or false")
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

// splitList reads the commas' way of writing a list.
func splitList(text string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// get returns the value in the setting's field.
func (s setting) get() any { return reflect.ValueOf(s.value).Elem().Interface() }

// put sets the field to a value that get returned for the same key.
func (s setting) put(value any) { reflect.ValueOf(s.value).Elem().Set(reflect.ValueOf(value)) }

// String returns the value for people to read; nothing secret is in it.
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

// secret reports whether the value must not be shown as it is.
func (s setting) secret() bool {
	_, ok := s.value.(*Secret)
	return ok || s.key == "nats.url" || s.key == "mail.smtp"
}
