package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imctl/bridge/cluster"
	"imctl/bridge/natsutil"
	"imctl/bridge/webhook"
	"imctl/kv"
)

// status is the state of all servers on one NATS.
type status struct {
	Health   string               `json:"health"` // ok, or the problems
	Accounts int                  `json:"accounts"`
	Online   int                  `json:"online"`   // users online, counted on each node
	Sessions int                  `json:"sessions"` // on all nodes
	Nodes    []cluster.NodeStatus `json:"nodes"`
	Streams  []streamInfo         `json:"streams"`
	Talks    *talksInfo           `json:"talks"` // null if no conversations are kept
	Files    *kv.FileStats        `json:"files"` // null if no files are kept
	Log      *logInfo             `json:"log"`   // null if the event log does not exist
	// Backup is the last scheduled backup and its failures, null if none was made.
	Backup *backupInfo `json:"backup"`
	// Webhooks are all webhooks, left out if there is none.
	Webhooks []webhook.Status `json:"webhooks,omitempty"`
}

func newStatus(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the health, nodes, sessions, users and streams of the server",
		Long: `Show the state of the server: its nodes with version and start time, sessions, users online, accounts,
streams with their size, how much of dialogues.max_bytes the conversations and of nats.log.max_bytes the
event log use, with its slowest consumer, and the queues of webhooks. A user online on several nodes is
counted on each. Addresses and users that reached limits in the last hour are listed with the limit.

Exit with 1 if the server has a problem, such as a nearly full disk, which makes it read-only, a nearly
full event log, which stops dialogues when it is full, moderators that do not answer hooks, a mode of
auth.modes that cannot check passwords, or a scheduled backup that failed or is older than twice
backup.every. Exit with 5 if no server is running. Available information is shown in any case.`,
		Example: `  imctl status
  imctl status -o json | jq .health`,
		Args: maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withServer(c, env, func(ctx context.Context, s *adminConn) error {
				st, problem := readStatus(ctx, s)
				write := writeStatus
				if output.json() {
					write = func(env *Env, st status) error { return writeJSON(env.Out, st) }
				}
				return errors.Join(write(env, st), problem)
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

// readStatus reads the status. It returns an error if the server has a problem, with as much of the status as it has
// read.
func readStatus(ctx context.Context, s *adminConn) (status, error) {
	var st status
	state, states, err := readState(ctx, s.nc, s.config.NATS.Prefix)
	if err != nil {
		return st, err
	}
	if state.Restore != nil {
		err := fmt.Errorf("%w: %s", kv.ErrRestoreUnfinished, state.Restore)
		st.Health = fmt.Sprintf("%v; complete it with %s", err, completeLine(s.config))
		return st, completeFailure(s.config, err)
	}
	live, err := s.Status(ctx)
	if err != nil {
		return st, err
	}
	st.Accounts, st.Nodes = live.Accounts, live.Nodes
	js, err := natsutil.JetStream(s.nc)
	if err != nil {
		return st, err
	}
	if st.Streams, err = readStreams(ctx, js, s.config.NATS.Prefix); err != nil {
		return st, err
	}
	if st.Talks, err = readTalks(ctx, js, s.config.NATS.Prefix); err != nil {
		return st, err
	}
	if st.Files, err = readFiles(ctx, s.nc, s.config.NATS.Prefix); err != nil {
		return st, err
	}
	if st.Log, err = readLog(ctx, js, s.config.NATS); err != nil {
		return st, err
	}
	if st.Backup, err = readBackups(ctx, states); err != nil {
		return st, err
	}
	if st.Webhooks, err = readWebhooks(ctx, s.Client); err != nil {
		return st, err
	}
	var problems []string
	for _, n := range st.Nodes {
		st.Online += n.Users
		st.Sessions += n.Sessions
		if n.State != "ok" {
			problems = append(problems, fmt.Sprintf("node %s: %s", n.ID, n.State))
		}
		for _, problem := range n.Auth {
			problems = append(problems, fmt.Sprintf("node %s: auth.modes %s", n.ID, problem))
		}
	}
	for _, s := range st.Streams {
		if s.State != "ok" {
			problems = append(problems, fmt.Sprintf("stream %s: %s", s.Name, s.State))
		}
	}
	if st.Log != nil && st.Log.degraded != "" {
		problems = append(problems, "degraded: "+st.Log.degraded)
	}
	if problem := backupProblem(st.Backup, st.Nodes, time.Now()); problem != "" {
		problems = append(problems, problem)
	}
	code := exitFailed
	if len(st.Nodes) == 0 {
		code, problems = exitNoServer, append([]string{"no server is running"}, problems...)
	}
	st.Health = "ok"
	if len(problems) > 0 {
		st.Health = strings.Join(problems, "; ")
		return st, &failure{code: code, err: errors.New(st.Health)}
	}
	return st, nil
}

func writeStatus(env *Env, st status) error {
	if st.Health == "" {
		return nil // readStatus has failed early
	}
	fields := [][]string{{"health", st.Health}, {"accounts", strconv.Itoa(st.Accounts)}, {"online", strconv.Itoa(st.Online)},
		{"sessions", strconv.Itoa(st.Sessions)}}
	if st.Talks != nil {
		fields = append(fields, []string{"talks", st.Talks.String()})
	}
	if st.Files != nil {
		fields = append(fields, []string{"files", filesText(*st.Files)})
	}
	if st.Log != nil {
		fields = append(fields, []string{"log", st.Log.String()})
	}
	if st.Backup != nil {
		fields = append(fields, []string{"backup", st.Backup.String()})
	}
	if len(st.Webhooks) > 0 {
		fields = append(fields, []string{"webhooks", webhooksText(st.Webhooks)})
	}
	if err := writeFields(env.Out, fields); err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	if len(st.Nodes) > 0 {
		if err := writeNodes(env, st.Nodes); err != nil {
			return err
		}
	}
	if err := writeLimited(env, st.Nodes); err != nil {
		return err
	}
	return writeStreams(env.Out, st.Streams)
}

// writeNodes writes the nodes. It writes their protocols if they differ. An older node that answers the command does not
// tell those of the others.
func writeNodes(env *Env, nodes []cluster.NodeStatus) error {
	header := []string{"node", "host", "version", "since", "sessions", "online", "nats", "state"}
	mixed := slices.ContainsFunc(nodes, func(n cluster.NodeStatus) bool { return n.Protocol != nodes[0].Protocol })
	if mixed {
		header = slices.Insert(header, 3, "protocol")
	}
	var rows [][]string
	for _, n := range nodes {
		row := []string{n.ID, orDash(n.Host), orDash(n.Version), localTime(n.Started), strconv.Itoa(n.Sessions), strconv.Itoa(n.Users), orDash(n.NATS), n.State}
		if mixed {
			row = slices.Insert(row, 3, strconv.Itoa(n.Protocol))
		}
		rows = append(rows, row)
	}
	if err := newTable(env.Out, header...).write(rows...); err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	return nil
}

// writeLimited writes the clients and users that reached limits in the last hour, if there are any.
func writeLimited(env *Env, nodes []cluster.NodeStatus) error {
	var rows [][]string
	for _, n := range nodes {
		for _, l := range n.Limited {
			rows = append(rows, []string{n.ID, string(l.Reason), l.Source, strconv.Itoa(l.Count), localTime(l.Last)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if err := newTable(env.Out, "node", "limit", "source", "times", "last").write(rows...); err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	return nil
}
