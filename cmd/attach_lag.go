package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/bridge/eventlog"
	"imctl/bridge/natsauth"
	"imctl/bridge/subject"
	"imctl/kv"
)

const attachListHelp = `List attachments. For a consumer, "behind" is the number of entries of the event log that it has not
acknowledged, "oldest" is the age of the oldest of them, and "seen" is when its program was last connected.
For a service, "filter" has its account, and whether it may befriend users by itself.

A detached consumer was removed by the server, since its program was away for nats.log.idle and the log was
nearly full. Its program has lost the entries that are shown. It gets a new consumer at its next login, or
now with imctl attach resume.`

var attachHeader = []string{"name", "role", "filter", "created", "behind", "oldest", "seen", "state"}

func attachRow(a natsauth.Status) []string {
	behind, oldest := "-", "-"
	if a.Consumer != nil {
		behind = strconv.FormatUint(a.Consumer.Behind(), 10)
		oldest = age(a.Consumer.Oldest)
	}
	return []string{a.Name, string(a.Role), orDash(attachScope(a)), localTime(a.Created), behind, oldest, localTime(a.Seen), attachState(a)}
}

// attachScope returns the filters of a consumer, or the accounts of a gateway, or the account of a service.
func attachScope(a natsauth.Status) string {
	if a.Role != kv.RoleService {
		return cmp.Or(a.Accounts, strings.Join(a.AllFilters(), " "))
	}
	scope := "user " + orDash(a.Account)
	if a.Befriends {
		scope += ", befriends"
	}
	return scope
}

// attachState returns "ok", or when the attachment lost its consumer and how many entries.
func attachState(a natsauth.Status) string {
	d := a.Detached
	switch {
	case a.IsDetached():
		return fmt.Sprintf("detached since %s, %d entries lost", localTime(d.Since), d.Entries)
	case !d.Since.IsZero():
		return fmt.Sprintf("resumed %s, %d entries lost before", localTime(d.Resumed), d.Entries)
	}
	return "ok"
}

// age returns the time that has passed since t, "-" if t is zero.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return max(0, time.Since(t)).Round(time.Second).String()
}

func newAttachResume(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "resume NAME",
		Short: "Give a detached consumer its place on the event log back",
		Long: `Create a new consumer for an attachment that the server has detached from the event log. It gets entries
from now on. The entries that it had not acknowledged before are lost.

The next login of the program does the same. Use this command to keep entries for the program before it is
back.`,
		Example: "  imctl attach resume archive",
		Args:    exactArgs("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				a, err := client.ResumeAttachment(ctx, args[0])
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, a)
				}
				_, err = fmt.Fprintf(env.Out, "%s (%s) resumed: %d entries were lost\n", a.Name, a.Role, a.Detached.Entries)
				return err
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// logInfo is how much of its limits the event log uses, and how far its consumers are behind.
type logInfo struct {
	eventlog.Usage
	Percent  int `json:"percent"` // of max_bytes
	degraded string
}

// readLog returns the usage of the event log, or nil if it does not exist.
func readLog(ctx context.Context, js jetstream.JetStream, c NATSConfig) (*logInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	u, err := eventlog.NewReader(js, subject.Prefix(c.Prefix)).Read(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	return &logInfo{Usage: u, Percent: u.Percent(), degraded: u.Degraded(eventlog.OnError(c.Log.OnError))}, nil
}

// String returns the line of imctl status.
func (i *logInfo) String() string {
	text := fmt.Sprintf("%d bytes", i.Bytes)
	if i.MaxBytes > 0 {
		text += fmt.Sprintf(", %d %% of %s", i.Percent, Size(i.MaxBytes))
	}
	if l, ok := i.Slowest(); ok {
		text += fmt.Sprintf("; slowest consumer %s: behind by %d entries, the oldest %s old", l.Name, l.Behind(), age(l.Oldest))
	}
	return text
}
