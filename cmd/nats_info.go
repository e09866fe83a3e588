package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"imctl/kv"
)

// natsInfo is what is told of a NATS.
type natsInfo struct {
	Server   string       `json:"server"`
	Version  string       `json:"version"`
	URL      string       `json:"url"`
	Cluster  string       `json:"cluster"`
	Prefix   string       `json:"prefix"`
	Subjects []subject    `json:"subjects"`
	Streams  []streamInfo `json:"streams"`
}

// subject is a kind of subjects and what happens there.
type subject struct {
	Subject string `json:"subject"`
	Meaning string `json:"meaning"`
}

// streamInfo is the state of a stream of ours.
type streamInfo struct {
	Name      string `json:"name"`
	State     string `json:"state"` // ok, missing, or what is the matter
	Messages  uint64 `json:"messages"`
	Bytes     uint64 `json:"bytes"`
	Consumers int    `json:"consumers"`
	Replicas  int    `json:"replicas"`
}

func newNATSInfo(env *Env) *cobra.Command {
	var output outputFormat
	c := &cobra.Command{
		Use:     "info",
		Short:   "Show the NATS behind the server: its version, the subjects, the streams",
		Example: "  imctl nats info -o json",
		Args:    mayHave(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return withNATS(c, env, func(ctx context.Context, nc *nats.Conn, config *Config) error {
				info, err := askNATS(ctx, nc, config.NATS.Prefix)
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

func askNATS(ctx context.Context, nc *nats.Conn, prefix string) (natsInfo, error) {
	info := natsInfo{Server: nc.ConnectedServerName(), Version: nc.ConnectedServerVersion(), URL: RedactURL(nc.ConnectedUrl()),
		Cluster: nc.ConnectedClusterName(), Prefix: prefix, Subjects: subjects(prefix)}
	js, err := jetstream.New(nc)
	if err != nil {
		return info, err
	}
	info.Streams, err = askStreams(ctx, js, prefix)
	return info, err
}

// askStreams asks for all streams of ours.
func askStreams(ctx context.Context, js jetstream.JetStream, prefix string) (all []streamInfo, err error) {
	state, _, err := readState(ctx, js.Conn(), prefix)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", kv.StateStream(prefix), err)
	}
	for _, name := range allStreams(prefix, state.Slot) {
		s, err := askStream(ctx, js, name)
		if err != nil {
			return all, fmt.Errorf("stream %s: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// allStreams returns the names of the streams of a slot, of the state and of the log.
func allStreams(prefix, slot string) []string {
	return append(kv.Streams(prefix, slot), kv.StateStream(prefix), logStream(prefix))
}

func askStream(ctx context.Context, js jetstream.JetStream, name string) (streamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWait)
	defer cancel()
	s, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return streamInfo{Name: name, State: "missing"}, nil
	}
	if err != nil {
		return streamInfo{}, err
	}
	i := s.CachedInfo()
	return streamInfo{name, streamState(i), i.State.Msgs, i.State.Bytes, i.State.Consumers, i.Config.Replicas}, nil
}

// streamState says what is the matter with a stream's copies.
func streamState(i *jetstream.StreamInfo) string {
	if i.Config.Replicas == 1 || i.Cluster == nil {
		return "ok"
	}
	if i.Cluster.Leader == "" {
		return "no leader"
	}
	for _, p := range i.Cluster.Replicas {
		switch {
		case p.Offline:
			return p.Name + " is away"
		case !p.Current:
			return fmt.Sprintf("%s is %d behind", p.Name, p.Lag)
		}
	}
	return "ok"
}

func subjects(prefix string) []subject {
	return []subject{
		{prefix + ".user.<id>.dialogue", "a request delivers a dialogue to a user"},
		{prefix + ".user.<id>.notice", "news for a user's clients"},
		{prefix + ".send.<id>", "a user that is a NATS client sends a dialogue"},
		{prefix + ".call.<id>.<call>", "and calls: found, request, add, remove, profile"},
		{prefix + ".log.>", "what happened, for consumers of " + strings.ToUpper(prefix) + "_LOG"},
		{prefix + ".admin.<noun>.<verb>", "the administration, the micro service imctl"},
		{prefix + ".node.<node>", "what one server tells another"},
	}
}

func writeNATSInfo(env *Env, info natsInfo) error {
	facts := [][]string{{"server", info.Server}, {"version", info.Version}, {"url", orDash(info.URL)}, {"cluster", orDash(info.Cluster)}, {"prefix", info.Prefix}}
	if err := writeFacts(env.Out, facts); err != nil {
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
