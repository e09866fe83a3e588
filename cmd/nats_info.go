package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// natsInfo describes a NATS server.
type natsInfo struct {
	Server   string        `json:"server"`
	Version  string        `json:"version"`
	URL      string        `json:"url"`
	Cluster  string        `json:"cluster"`
	Domain   string        `json:"domain,omitempty"` // JetStream domain, if not that of the server
	Prefix   string        `json:"prefix"`
	Subjects []subjectInfo `json:"subjects"`
	Streams  []streamInfo  `json:"streams"`
}

// subjectInfo describes the subjects of one pattern.
type subjectInfo struct {
	Subject string `json:"subject"`
	Meaning string `json:"meaning"`
}

// streamInfo is the state of one of imctl's streams.
type streamInfo struct {
	Name      string `json:"name"`
	State     string `json:"state"` // ok, missing, or a problem
	Messages  uint64 `json:"messages"`
	Bytes     uint64 `json:"bytes"`
	Consumers int    `json:"consumers"`
	Replicas  int    `json:"replicas"`
	MaxBytes  int64  `json:"max_bytes"` // -1: no limit
}

// States of a stream.
const (
	streamOK         = "ok"
	streamMissing    = "missing"
	streamLeaderless = "no leader"
)

// percent returns the used part of the stream's size limit, 0 without a limit.
func (s streamInfo) percent() int {
	if s.MaxBytes <= 0 {
		return 0
	}
	return int(float64(s.Bytes) / float64(s.MaxBytes) * 100)
}

func newNATSInfo(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:   "info",
		Short: "Show the version, subjects and streams of the NATS server",
		Long: `Show the version of the NATS server, the subjects that imctl uses on it, and the state and size of its
streams.`,
		Example: "  imctl nats info -o json",
		Args:    maxArgs(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
				info, err := readNATSInfo(ctx, nc, config.NATS.Prefix)
				if err != nil {
					return err
				}
				if output.json() {
					return writeJSON(env.Out, info)
				}
				return writeNATSInfo(env, info)
			})
		},
	}
	output.addTo(c.Flags())
	addServerFlags(c)
	return c
}

func readNATSInfo(ctx context.Context, nc *nats.Conn, prefix string) (natsInfo, error) {
	info := natsInfo{Server: nc.ConnectedServerName(), Version: nc.ConnectedServerVersion(), URL: RedactURL(nc.ConnectedUrl()),
		Cluster: nc.ConnectedClusterName(), Domain: natsutil.Domain(nc), Prefix: prefix, Subjects: subjects(prefix)}
	js, err := natsutil.JetStream(nc)
	if err != nil {
		return info, err
	}
	info.Streams, err = readStreams(ctx, js, prefix)
	return info, err
}

// readStreams returns the state of all streams. A stream that does not exist has the state "missing". The streams of
// the conversations, of the files and of the webhooks are left out while they are not needed.
func readStreams(ctx context.Context, js jetstream.JetStream, prefix string) (all []streamInfo, err error) {
	state, _, err := readState(ctx, js.Conn(), prefix)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", subject.Prefix(prefix).StateStream(), err)
	}
	for _, name := range allStreams(prefix, state.Slot) {
		s, err := readStream(ctx, js, name)
		if err != nil {
			return all, fmt.Errorf("stream %s: %w", name, err)
		}
		if _, expected := state.Streams[name]; s.State == streamMissing && !expected && isOptional(subject.Prefix(prefix), name) {
			continue // no conversations or files are kept, or there was never a webhook
		}
		all = append(all, s)
	}
	return all, nil
}

// isOptional reports whether an installation may have no stream of that name.
func isOptional(p subject.Prefix, stream string) bool {
	return stream == p.TalkStream() || stream == p.FileStream() || stream == p.WebhookStream()
}

// allStreams returns the names of the streams of a set of buckets, of the state, of the log, of the audit trail, of
// the conversations, of the files and of the webhooks.
func allStreams(prefix, slot string) []string {
	p := subject.Prefix(prefix)
	return append(p.Buckets(slot).Streams(), p.StateStream(), p.LogStream(), p.AuditStream(), p.TalkStream(), p.FileStream(), p.WebhookStream())
}

func readStream(ctx context.Context, js jetstream.JetStream, name string) (streamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return streamInfo{Name: name, State: streamMissing}, nil
	}
	if err != nil {
		return streamInfo{}, err
	}
	i := s.CachedInfo()
	return streamInfo{name, streamState(i), i.State.Msgs, i.State.Bytes, i.State.Consumers, i.Config.Replicas, i.Config.MaxBytes}, nil
}

// streamState returns the first problem with the replicas of a stream, or "ok".
func streamState(i *jetstream.StreamInfo) string {
	if i.Config.Replicas == 1 || i.Cluster == nil {
		return streamOK
	}
	if i.Cluster.Leader == "" {
		return streamLeaderless
	}
	for _, p := range i.Cluster.Replicas {
		switch {
		case p.Offline:
			return p.Name + " is offline"
		case !p.Current:
			return fmt.Sprintf("%s lags by %d", p.Name, p.Lag)
		}
	}
	return streamOK
}

// subjects lists the subjects that imctl uses.
func subjects(prefix string) []subjectInfo {
	p := subject.Prefix(prefix)
	return []subjectInfo{
		{p.Dialogue("<id>"), "deliver a dialogue to a user (request)"},
		{p.Notice("<id>"), "notify the clients of a user"},
		{p.Send("<id>"), "send a dialogue as a NATS client (request)"},
		{p.Call("<id>", "<call>"), "call as a NATS client: found, request, add, remove, profile (request)"},
		{p.LogAll(), "event log, stored in the stream " + p.LogStream()},
		{p.AuditAll(), "audit trail, stored in the stream " + p.AuditStream()},
		{p.TalkAll(), "conversations, stored in the stream " + p.TalkStream()},
		{p.FileAll(), "files, stored in the stream " + p.FileStream()},
		{p.WebhookAll(), "events that webhooks post, stored in the stream " + p.WebhookStream()},
		{p.Admin("<noun>", "<verb>"), "administration, the micro service imctl (request)"},
		{p.Node("<node>"), "commands between servers"},
	}
}

func writeNATSInfo(env *Env, info natsInfo) error {
	fields := [][]string{{"server", info.Server}, {"version", info.Version}, {"url", orDash(info.URL)}, {"cluster", orDash(info.Cluster)}, {"prefix", info.Prefix}}
	if err := writeFields(env.Out, fields); err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	var rows [][]string
	for _, s := range info.Subjects {
		rows = append(rows, []string{s.Subject, s.Meaning})
	}
	if err := newTable(env.Out, "subject", "meaning").write(rows...); err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	return writeStreams(env.Out, info.Streams)
}

func writeStreams(w io.Writer, streams []streamInfo) error {
	var rows [][]string
	for _, s := range streams {
		rows = append(rows, []string{s.Name, s.State, strconv.FormatUint(s.Messages, 10), strconv.FormatUint(s.Bytes, 10), strconv.Itoa(s.Consumers), strconv.Itoa(s.Replicas)})
	}
	return newTable(w, "stream", "state", "messages", "bytes", "consumers", "replicas").write(rows...)
}
