package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/natsutil"
)

// unfollowTimeout limits the deletion of the consumer on the log. If it fails, the consumer expires a little later.
const unfollowTimeout = 2 * time.Second

func newEvents(env *Env) *cobra.Command {
	var filter string
	limit := 0
	var output outputFormat
	c := &cobra.Command{
		Use:   "events",
		Short: "Follow the event log",
		Long: `Show new entries of the event log: delivered dialogues, and changes of accounts, friendships, sessions
and presence. docs/consumers.md lists the subjects for --filter.

With -o json, each entry is one line {"subject": ..., "entry": ...}. The entry is as stored in the log.

The server writes the log only while it has a consumer, and then answers a dialogue only after the log has
stored it. So dialogues take slightly longer while this command runs.

Stop with Ctrl-C, which exits with 0, or use --limit.`,
		Example: `  imctl events
  imctl events --filter 'user.created.*' -o json`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 0 {
				return usageErrorf("--limit must not be negative")
			}
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				subject := strings.TrimPrefix(filter, s.config.NATS.Prefix+".log.")
				err := follow(ctx, s, subject, limit, eventWriter(env.Out, output, s))
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
	c.Flags().StringVar(&filter, "filter", "", "show only entries with this `subject`, such as dialogue.> or friend.added.>")
	c.Flags().IntVar(&limit, "limit", 0, "end after `N` events (0 = no limit)")
	output.addTo(c.Flags())
	c.Flags().Lookup("output").Usage = linesHelp
	addServerFlags(c)
	completeFlag(c, "filter", "dialogue.>", "user.>", "friend.>", "session.>", "report.>")
	return c
}

// follow calls show with the subject and data of each new log entry. It returns after limit entries, if limit is not 0,
// or with an error when ctx ends.
func follow(ctx context.Context, s *adminConn, filter string, limit int, show func(context.Context, string, []byte) error) error {
	f, err := s.FollowLog(ctx, filter)
	if err != nil {
		return err
	}
	js, err := natsutil.JetStream(s.nc)
	if err != nil {
		return err
	}
	defer func() {
		// Without a consumer, answers to dialogues no longer wait for the log.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unfollowTimeout)
		defer cancel()
		_ = js.DeleteConsumer(ctx, f.Stream, f.Consumer)
	}()
	consumer, err := js.Consumer(ctx, f.Stream, f.Consumer)
	if err != nil {
		return err
	}
	entries, err := consumer.Messages(jetstream.PullHeartbeat(5 * time.Second))
	if err != nil {
		return err
	}
	defer entries.Stop()
	for n := 0; limit == 0 || n < limit; n++ {
		m, err := entries.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		if err := show(ctx, m.Subject(), m.Data()); err != nil {
			return err
		}
	}
	return nil
}

// event is one line of the JSON output.
type event struct {
	Subject string          `json:"subject"`
	Entry   json.RawMessage `json:"entry"`
}

func eventWriter(w io.Writer, output outputFormat, s *adminConn) func(context.Context, string, []byte) error {
	if output.json() {
		return func(_ context.Context, subject string, data []byte) error { return writeJSON(w, event{subject, data}) }
	}
	cache := accountCache{client: s.Client, accounts: make(map[string]string)}
	t := newTable(w)
	t.widths = []int{len(localTime(time.Now())), len("friend requested"), 0}
	return func(ctx context.Context, subject string, data []byte) error {
		row, err := eventRow(ctx, &cache, strings.TrimPrefix(subject, s.config.NATS.Prefix+".log."), data)
		if err != nil {
			return err
		}
		return t.write(row)
	}
}

// entry has the fields of all kinds of log entries.
type entry struct {
	Time                                                               time.Time
	From, To, Payload, User, Account, Name, Session, Node, Note, Alias string
}

// eventRow returns the table row of an event: time, kind and description, with accounts instead of ids.
func eventRow(ctx context.Context, cache *accountCache, subject string, data []byte) ([]string, error) {
	words := strings.Split(subject, ".")
	kind := words[0]
	if kind != "dialogue" && len(words) > 1 {
		kind += " " + words[1]
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return []string{"-", kind, string(data)}, nil // another program has written it
	}
	if e.Account != "" {
		cache.accounts[e.User] = e.Account
	}
	names, err := cache.lookUp(ctx, e.From, e.To, e.User)
	if err != nil {
		return nil, err
	}
	from, to, user := names[0], names[1], names[2]
	text := ""
	switch words[0] {
	case "dialogue":
		text = from + " → " + to + ": " + shorten(e.Payload)
	case "friend", "report":
		text = from + " → " + to
		if words := e.Note + e.Alias; words != "" {
			text += ": " + shorten(words)
		}
	case "session":
		text = fmt.Sprintf("%s, session %s on node %s", user, e.Session, e.Node)
	default:
		text = user
		if e.User == "" && e.Node != "" {
			text = "node " + e.Node
		}
		if e.Name != "" && e.Name != user {
			text += " (" + e.Name + ")"
		}
	}
	return []string{localTime(e.Time), kind, text}, nil
}

// maxTextShown is how many characters of a text an event shows.
const maxTextShown = 300

// shorten returns text, cut after maxTextShown characters.
func shorten(text string) string {
	n := 0
	for i := range text {
		if n++; n > maxTextShown {
			return text[:i] + "…"
		}
	}
	return text
}

// accountCache caches the accounts of user ids.
type accountCache struct {
	client   *admin.Client
	accounts map[string]string
}

// maxCachedAccounts limits the size of an accountCache.
const maxCachedAccounts = 10_000

// lookUp returns the accounts of ids. For a user who does not exist it returns the id.
func (a *accountCache) lookUp(ctx context.Context, ids ...string) ([]string, error) {
	if len(a.accounts) > maxCachedAccounts {
		clear(a.accounts)
	}
	var missing []string
	for _, id := range ids {
		if _, ok := a.accounts[id]; id != "" && !ok {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		found, err := a.client.LookUp(ctx, missing)
		if err != nil {
			return nil, err
		}
		for _, id := range missing {
			a.accounts[id] = id
		}
		for _, u := range found.Users {
			a.accounts[u.ID] = u.Account
		}
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = a.accounts[id]
	}
	return names, nil
}
