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
)

// unfollowWait bounds the wait for the log's consumer to be gone; it goes by itself a little later.
const unfollowWait = 2 * time.Second

func newEvents(env *Env) *cobra.Command {
	var filter string
	limit := 0
	var output outputFormat
	c := &cobra.Command{
		Use:   "events",
		Short: "Follow the log live",
		Long: `Shows what happens from now on: dialogues that were taken, what becomes of accounts, friendships and
sessions. The filter is a part of the log, as docs/consumers.md has it.

With -o json every event is a line {"subject", "entry"}, the entry as it is in the log.

The log is written only while somebody reads it, and while somebody does, the answer to a dialogue
waits until the log has it. So while this command runs dialogues take a little longer.

It ends with SIGINT (ctrl-C), which is no failure, or after --limit events.`,
		Example: `  imctl events
  imctl events --filter 'user.created.*' -o json`,
		Args: mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if limit < 0 {
				return wrongUse("--limit must not be negative")
			}
			return withServer(c, env, func(ctx context.Context, s *operated) error {
				part := strings.TrimPrefix(filter, s.config.NATS.Prefix+".log.")
				err := follow(ctx, s, part, limit, eventWriter(env.Out, output, s))
				if ctx.Err() != nil && errors.Is(context.Cause(ctx), errInterrupted) {
					return nil
				}
				if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, jetstream.ErrConnectionClosed) || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
					return &failure{code: exitNoServer, err: errors.New("the server is gone")}
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&filter, "filter", "", "only this part of the log, as a `subject`: dialogue.>, friend.added.>, …")
	c.Flags().IntVar(&limit, "limit", 0, "end after so `many`; 0: never")
	output.addTo(c.Flags())
	addServerFlags(c)
	completeFlag(c, "filter", "dialogue.>", "user.>", "friend.>", "session.>")
	return c
}

// follow shows the log's entries until ctx ends, or limit of them.
func follow(ctx context.Context, s *operated, filter string, limit int, show func(context.Context, string, []byte) error) error {
	f, err := s.FollowLog(ctx, filter)
	if err != nil {
		return err
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		return err
	}
	defer func() {
		// Answers should not wait for the log any longer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unfollowWait)
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

// event is a line of the output in JSON.
type event struct {
	Subject string          `json:"subject"`
	Entry   json.RawMessage `json:"entry"`
}

func eventWriter(w io.Writer, output outputFormat, s *operated) func(context.Context, string, []byte) error {
	if output.json() {
		return func(_ context.Context, subject string, data []byte) error { return writeJSON(w, event{subject, data}) }
	}
	people := people{client: s.Client, accounts: make(map[string]string)}
	t := newTable(w)
	t.widths = []int{len("2006-01-02 15:04:05"), len("friend requested"), 0}
	return func(ctx context.Context, subject string, data []byte) error {
		row, err := eventRow(ctx, &people, strings.TrimPrefix(subject, s.config.NATS.Prefix+".log."), data)
		if err != nil {
			return err
		}
		return t.write(row)
	}
}

// entry is what may be in an entry of the log.
type entry struct {
	Time                                                               time.Time
	From, To, Payload, User, Account, Name, Session, Node, Note, Alias string
}

// eventRow is an event as a person reads it: when, what, and who.
func eventRow(ctx context.Context, people *people, subject string, data []byte) ([]string, error) {
	words := strings.Split(subject, ".")
	what := words[0]
	if what != "dialogue" && len(words) > 1 {
		what += " " + words[1]
	}
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return []string{"-", what, string(data)}, nil // somebody else's
	}
	if e.Account != "" {
		people.accounts[e.User] = e.Account
	}
	who, err := people.names(ctx, e.From, e.To, e.User)
	if err != nil {
		return nil, err
	}
	from, to, user := who[0], who[1], who[2]
	text := ""
	switch words[0] {
	case "dialogue":
		text = from + " → " + to + ": " + shortened(e.Payload)
	case "friend":
		text = from + " → " + to
		if said := e.Note + e.Alias; said != "" {
			text += ": " + shortened(said)
		}
	case "session":
		text = fmt.Sprintf("%s, session %s on node %s", user, e.Session, e.Node)
	default:
		text = user
		if e.Name != "" && e.Name != user {
			text += " (" + e.Name + ")"
		}
	}
	return []string{localTime(e.Time), what, text}, nil
}

const textShown = 300

// shortened is as much of a text as fits on a few lines.
func shortened(text string) string {
	n := 0
	for i := range text {
		if n++; n > textShown {
			return text[:i] + "…"
		}
	}
	return text
}

// people remembers the accounts of ids.
type people struct {
	client   *admin.Client
	accounts map[string]string
}

// peopleKnown bounds how many are remembered.
const peopleKnown = 10_000

// names returns the accounts of ids, and the id itself of somebody who is no more.
func (p *people) names(ctx context.Context, ids ...string) ([]string, error) {
	if len(p.accounts) > peopleKnown {
		clear(p.accounts)
	}
	var unknown []string
	for _, id := range ids {
		if _, ok := p.accounts[id]; id != "" && !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		found, err := p.client.LookUp(ctx, unknown)
		if err != nil {
			return nil, err
		}
		for _, id := range unknown {
			p.accounts[id] = id
		}
		for _, u := range found.Users {
			p.accounts[u.ID] = u.Account
		}
	}
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = p.accounts[id]
	}
	return names, nil
}
