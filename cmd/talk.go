package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"imctl/bridge/admin"
	"imctl/kv"
)

// largestTalks is how many of the largest conversations the statistics list.
const largestTalks = 10

func newTalk(env *Env) *cobra.Command {
	return newGroup("talk", "Count, erase and show conversations",
		newTalkStats(env),
		newTalkPurge(env),
		newTalkShow(env),
	)
}

func newTalkStats(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "stats",
		Short: "Count conversations and dialogues",
		Long: `Count the stored conversations and dialogues, and list the ten conversations with the most dialogues by the
ids of their users. The command reads all conversations and shows none of them.`,
		Example: `  imctl talk stats
  imctl talk stats -o json | jq .dialogues`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
				talks, err := kv.OpenTalks(ctx, nc, config.NATS.Prefix)
				if err != nil {
					return err
				}
				if talks == nil {
					return &failure{code: exitNotFound, err: errors.New("no conversations are kept")}
				}
				progress := startProgress(env)
				stats, err := talks.Stats(ctx, largestTalks, func(n uint64) { progress.update("%d records", n) })
				progress.stop()
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, stats)
				}
				return writeTalkStats(env, stats)
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func writeTalkStats(env *Env, s kv.TalkStats) error {
	err := writeFields(env.Out, [][]string{{"conversations", strconv.Itoa(s.Conversations)}, {"dialogues", strconv.FormatUint(s.Dialogues, 10)},
		{"records", strconv.FormatUint(s.Records, 10)}, {"bytes", strconv.FormatUint(s.Bytes, 10)},
		{"oldest", localTime(s.Oldest)}, {"newest", localTime(s.Newest)}})
	if err != nil || len(s.Largest) == 0 {
		return err
	}
	fmt.Fprintln(env.Out)
	var rows [][]string
	for _, t := range s.Largest {
		rows = append(rows, []string{t.Users[0], t.Users[1], strconv.FormatUint(t.Dialogues, 10)})
	}
	return newTable(env.Out, "user", "user", "dialogues").write(rows...)
}

func newTalkPurge(env *Env) *cobra.Command {
	var output outputFormat
	var user, with, before string
	yes := false
	c := &cobra.Command{
		Use:   "purge",
		Short: "Erase conversations",
		Long: `Erase all conversations of a user (--user), the conversation of two users (--user and --with), or all
dialogues that are older than an age (--before). The dialogues are erased for both users of a conversation.
The numbers of its dialogues go on.

The audit trail records the command.`,
		Example: `  imctl talk purge --user alice
  imctl talk purge --user alice --with bob --yes
  imctl talk purge --before 7d`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			request := admin.PurgeTalks{User: user, With: with}
			question := ""
			switch {
			case user == "" && with != "":
				return usageErrorf("--with requires --user")
			case user == "" && before == "":
				return usageErrorf("missing --user or --before")
			case user != "" && before != "":
				return usageErrorf("--user and --before exclude each other")
			case with != "":
				question = fmt.Sprintf("Erase the conversation of %s and %s permanently?", printable(user), printable(with))
			case user != "":
				question = fmt.Sprintf("Erase all conversations of %s permanently?", printable(user))
			default:
				age, err := parseDuration(before)
				if err != nil || age <= 0 {
					return usageErrorf("--before must be an age such as 12h or 30d")
				}
				request.Before = time.Now().Add(-age).UTC()
				question = fmt.Sprintf("Erase all dialogues before %s permanently?", localTime(request.Before))
			}
			if err := confirm(c.Context(), env, yes, question); err != nil {
				return err
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				done, err := client.PurgeTalks(ctx, request)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, done)
				}
				if before != "" {
					_, err = fmt.Fprintf(env.Out, "%s of dialogues erased\n", plural(int(done.Records), "record"))
					return err
				}
				_, err = fmt.Fprintf(env.Out, "%s erased\n", plural(done.Conversations, "conversation"))
				return err
			})
		},
	}
	c.Flags().StringVar(&user, "user", "", "erase the conversations of this `user`, an account or id")
	c.Flags().StringVar(&with, "with", "", "with --user, erase only the conversation with this `user`, an account or id")
	c.Flags().StringVar(&before, "before", "", "erase all dialogues that are older than this `age`, such as 30d")
	addYesFlag(c, &yes)
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func newTalkShow(env *Env) *cobra.Command {
	var output outputFormat
	r := admin.ShowTalk{Limit: 50}
	c := &cobra.Command{
		Use:   "show",
		Short: "Show dialogues of a conversation, if admin.read_dialogues allows it",
		Long: `Show the newest dialogues of the conversation of --user and --with, as --user sees them. Both flags are
needed, and the setting admin.read_dialogues of the server must allow it. The audit trail records the command.`,
		Example: `  imctl talk show --user alice --with bob
  imctl talk show --user alice --with bob --before 120 --limit 200 -o json`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case r.User == "":
				return usageErrorf("missing --user")
			case r.With == "":
				return usageErrorf("missing --with")
			case r.Limit < 1 || r.Limit > 200:
				return usageErrorf("--limit must be from 1 to 200")
			}
			return withAdmin(c, env, func(ctx context.Context, client *admin.Client) error {
				shown, err := client.Talk(ctx, r)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, shown)
				}
				rows := make([][]string, len(shown.Dialogues))
				for i, d := range shown.Dialogues {
					rows[i] = []string{strconv.FormatUint(d.N, 10), localTime(d.At), d.From, talkText(d)}
				}
				return newTable(env.Out, "n", "time", "from", "dialogue").write(rows...)
			})
		},
	}
	c.Flags().StringVar(&r.User, "user", "", "show what this `user`, an account or id, sees")
	c.Flags().StringVar(&r.With, "with", "", "show the conversation with this `user`, an account or id")
	c.Flags().Uint64Var(&r.Before, "before", 0, "show the dialogues before number `N` instead of the newest")
	c.Flags().IntVar(&r.Limit, "limit", r.Limit, "show at most `N` dialogues")
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// talkText returns a dialogue for a table.
func talkText(d admin.Dialogue) string {
	var text string
	if err := json.Unmarshal(d.Payload, &text); err != nil {
		text = string(d.Payload)
	}
	var notes []string
	for _, note := range []struct {
		name string
		n    uint64
	}{{"replies to", d.Re}, {"reacts to", d.Reacts}, {"edits", d.Edits}, {"deletes", d.Deletes}} {
		if note.n != 0 {
			notes = append(notes, fmt.Sprintf("%s %d", note.name, note.n))
		}
	}
	if d.Edited {
		notes = append(notes, "edited")
	}
	if d.Deleted {
		notes = append(notes, "deleted")
	}
	if len(notes) > 0 {
		text = strings.TrimSpace(text + " (" + strings.Join(notes, ", ") + ")")
	}
	return orDash(text)
}
