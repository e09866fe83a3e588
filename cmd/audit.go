package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/audit"
	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
	"imctl/kv"
)

// auditQuery selects entries of the audit trail.
type auditQuery struct {
	since  time.Duration // 0: all
	event  string        // a kind, or its first words; "": all
	user   string        // an account or id; "": all
	follow bool
	limit  int // 0: none
}

func newAudit(env *Env) *cobra.Command {
	var q auditQuery
	var output outputFormat
	c := &cobra.Command{
		Use:   "audit",
		Short: "List the audit trail",
		Long: `List the entries of the audit trail, newest last: logins and failed logins, what administrators changed,
changes of passwords and mail addresses, limits that were reached, and starts, stops and reloads of servers.

With -o json, each entry is one line, as it is stored. docs/security.md describes the entries.

With --follow, wait for new entries. Stop with Ctrl-C, which exits with 0, or use --limit.`,
		Example: `  imctl audit --since 24h
  imctl audit --event login.failed --user ann
  imctl audit --event admin -o json
  imctl audit --follow --since 1m`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case q.limit < 0:
				return usageErrorf("--limit must not be negative")
			case q.since < 0:
				return usageErrorf("--since must not be negative")
			}
			if err := knownEvent(q.event); err != nil {
				return err
			}
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				err := listAudit(ctx, s, q, auditWriter(env.Out, output, s))
				if ctx.Err() != nil && errors.Is(context.Cause(ctx), errInterrupted) {
					return nil
				}
				if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrConnectionClosed) || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
					return &failure{code: exitNoServer, err: errors.New("connection to the server lost")}
				}
				return err
			})
		},
	}
	c.Flags().Var((*ageFlag)(&q.since), "since", "list only entries that are not older than this `duration`, such as 24h or 7d")
	c.Flags().StringVar(&q.event, "event", "", "list only this `event`, such as login.failed, or admin for all that begin so")
	c.Flags().StringVar(&q.user, "user", "", "list only entries in which this `user`, an account or id, acts or is acted upon")
	c.Flags().BoolVar(&q.follow, "follow", false, "wait for new entries")
	c.Flags().IntVar(&q.limit, "limit", 0, "list only the newest `N` entries; with --follow, end after N entries (0 = no limit)")
	output.addTo(c.Flags())
	c.Flags().Lookup("output").Usage = linesHelp
	addServerFlags(c)
	completeFlag(c, "event", string(audit.LoginDone), string(audit.LoginFailed), string(audit.LimitReached), "admin", "user", "server")
	return c
}

// knownEvent returns an error that names the events if none of them is, or begins with, the filter.
func knownEvent(filter string) error {
	ofAdmins := admin.AuditKinds()
	matches := func(k audit.Kind) bool { return k.Matches(filter) }
	if filter == "" || slices.ContainsFunc(audit.Kinds(), matches) || slices.ContainsFunc(ofAdmins, matches) {
		return nil
	}
	known := append(audit.Kinds(), "admin")
	if strings.HasPrefix(filter, "admin.") {
		known = ofAdmins
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	slices.Sort(names)
	return &failure{exitUse, fmt.Errorf("--event: there is no event %q", filter), "the events are " + strings.Join(names, ", ")}
}

// auditEntry is an entry, parsed and as it is stored.
type auditEntry struct {
	audit.Event
	stored json.RawMessage
}

// listAudit calls show with the selected entries. Without follow it returns after the newest one.
func listAudit(ctx context.Context, s *adminConn, q auditQuery, show func(context.Context, auditEntry) error) error {
	if q.user != "" && !kv.ValidID(q.user) {
		u, err := s.User(ctx, q.user)
		if err != nil {
			return err
		}
		q.user = u.ID
	}
	js, err := natsutil.JetStream(s.nc)
	if err != nil {
		return err
	}
	stream := subject.Prefix(s.config.NATS.Prefix).AuditStream()
	consumer, err := js.CreateConsumer(ctx, stream, q.consumer(s.config.NATS.Prefix))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &failure{code: exitNotFound, err: fmt.Errorf("there is no audit trail yet: stream %s does not exist", stream)}
	}
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unfollowTimeout)
		defer cancel()
		_ = js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name) // it expires otherwise
	}()
	if q.follow {
		return q.followEntries(ctx, consumer, show)
	}
	return q.listEntries(ctx, consumer, show)
}

// consumer returns the configuration of a consumer of the entries that may be selected.
func (q auditQuery) consumer(prefix string) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, InactiveThreshold: 30 * time.Second}
	if class := audit.Class(q.event); q.event != "" && class != "" {
		c.FilterSubject = subject.Prefix(prefix).AuditOf(class)
	}
	if q.since > 0 {
		start := time.Now().Add(-q.since)
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return c
}

// parse returns an entry, and whether it is selected.
func (q auditQuery) parse(data []byte) (e auditEntry, ok bool) {
	e.stored = data
	if err := json.Unmarshal(data, &e.Event); err != nil { // another program has written it
		e.Detail = string(data)
	}
	return e, (q.event == "" || e.Event.Event.Matches(q.event)) && (q.user == "" || e.Concerns(q.user))
}

// listEntries shows the entries that the consumer has, or the newest of them.
func (q auditQuery) listEntries(ctx context.Context, consumer jetstream.Consumer, show func(context.Context, auditEntry) error) error {
	pending := consumer.CachedInfo().NumPending
	if pending == 0 {
		return nil
	}
	messages, err := consumer.Messages(jetstream.PullHeartbeat(5 * time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	var newest []auditEntry // with a limit
	for pending > 0 {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		info, err := m.Metadata()
		if err != nil {
			return err
		}
		pending = info.NumPending
		e, ok := q.parse(m.Data())
		switch {
		case !ok:
		case q.limit == 0:
			if err := show(ctx, e); err != nil {
				return err
			}
		default:
			if newest = append(newest, e); len(newest) > q.limit {
				newest = newest[1:]
			}
		}
	}
	for _, e := range newest {
		if err := show(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// followEntries shows the entries that the consumer has, and then new ones, until ctx ends or the limit is reached.
func (q auditQuery) followEntries(ctx context.Context, consumer jetstream.Consumer, show func(context.Context, auditEntry) error) error {
	messages, err := consumer.Messages(jetstream.PullHeartbeat(5 * time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for n := 0; q.limit == 0 || n < q.limit; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		e, ok := q.parse(m.Data())
		if !ok {
			continue
		}
		if err := show(ctx, e); err != nil {
			return err
		}
		n++
	}
	return nil
}

func auditWriter(w io.Writer, output outputFormat, s *adminConn) func(context.Context, auditEntry) error {
	if output.json() {
		return func(_ context.Context, e auditEntry) error { return writeJSON(w, e.stored) }
	}
	cache := accountCache{client: s.Client, accounts: make(map[string]string)}
	t := newTable(w, "time", "event", "actor", "address", "subject", "detail")
	if t.roomy() {
		t.widths = []int{len(localTime(time.Now())), len("admin.session.close"), len("administrator"), len("192.168.100.100"), len("subject")}
	}
	return func(ctx context.Context, e auditEntry) error {
		actor, err := refText(ctx, &cache, e.Actor)
		if err != nil {
			return err
		}
		about, err := refText(ctx, &cache, e.Subject)
		if err != nil {
			return err
		}
		detail := e.Detail
		if e.Count > 0 {
			detail = strings.TrimSpace(strconv.Itoa(e.Count) + " " + detail)
		}
		return t.write([]string{localTime(e.Time), string(e.Event.Event), orDash(actor), orDash(e.Address), orDash(about), detail})
	}
}

// refText returns a user's account, or its id if it does not exist any more, and the kind and name of others.
func refText(ctx context.Context, cache *accountCache, r audit.Ref) (string, error) {
	if r.Kind != audit.User || r.ID == "" {
		return strings.TrimSpace(r.Kind + " " + r.ID), nil
	}
	names, err := cache.lookUp(ctx, r.ID)
	if err != nil {
		return "", err
	}
	return names[0], nil
}
