package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/kv"
)

// NATS says only out of turn that something may not be published or subscribed to: the request that was meant is never
// answered. So all of it is tried before the start, where it does no harm.

// need is a subject that a bridge publishes on or subscribes to.
type need struct {
	allow string // what the server's configuration has to allow
	try   string // a subject of that kind
	body  string // what JetStream takes for a request that changes nothing
}

// nobody stands where ids do.
const nobody = "00000000000000000000000000000000"

// published are the subjects that a bridge publishes on.
func published(prefix string) []need {
	log := strings.ToUpper(prefix) + "_LOG"
	needs := []need{
		{allow: prefix + ".>", try: prefix + ".user." + nobody + ".dialogue"},
		{allow: prefix + ".>", try: prefix + ".user." + nobody + ".notice"},
		{allow: prefix + ".>", try: prefix + ".node." + nobody},
		{allow: prefix + ".>", try: prefix + ".log.none"},
		{allow: "_INBOX.>", try: "_INBOX." + nobody},
		{allow: "$JS.API.>", try: "$JS.API.INFO"},
	}
	streams := streamsOf(prefix)
	for _, stream := range append(streams, log) {
		needs = append(needs,
			need{"$JS.API.>", "$JS.API.STREAM.INFO." + stream, "{}"},
			need{"$JS.API.>", "$JS.API.STREAM.CREATE." + stream, "{}"}, // without a name it is refused
			need{"$JS.API.>", "$JS.API.STREAM.UPDATE." + stream, "{}"})
	}
	for _, stream := range streams {
		subjects := "$KV." + strings.TrimPrefix(stream, "KV_") + "."
		needs = append(needs,
			need{"$JS.API.>", "$JS.API.DIRECT.GET." + stream, "{}"},
			need{"$JS.API.>", "$JS.API.STREAM.MSG.GET." + stream, "{}"},
			need{"$JS.API.>", "$JS.API.STREAM.PURGE." + stream, `{"filter":"` + subjects + `none.none.none"}`},
			need{subjects + ">", subjects + "none", ""})
	}
	return needs
}

// subscribed are the subjects that a bridge subscribes to.
func subscribed(prefix string) []need {
	log := strings.ToUpper(prefix) + "_LOG"
	return []need{
		{allow: prefix + ".>", try: prefix + ".user." + nobody + ".*"},
		{allow: prefix + ".>", try: prefix + ".node." + nobody},
		{allow: prefix + ".>", try: prefix + ".send.*"},
		{allow: prefix + ".>", try: prefix + ".call.*.*"},
		{allow: prefix + ".>", try: prefix + ".admin.none"},
		{allow: "_INBOX.>", try: "_INBOX." + nobody + ".*"},
		{allow: "$JS.EVENT.ADVISORY.>", try: "$JS.EVENT.ADVISORY.CONSUMER.CREATED." + log + ".>"},
		{allow: "$SRV.>", try: "$SRV.PING"},
	}
}

// streamsOf returns the names of the streams of all buckets: both slots and the state.
func streamsOf(prefix string) []string {
	var all []string
	for _, bucket := range kv.Buckets(prefix) {
		all = append(all, "KV_"+bucket)
	}
	return all
}

// mayDo returns an error that names all that the connection's user may not do and has to.
func mayDo(ctx context.Context, nc *nats.Conn, c NATSConfig) error {
	p := permissionProbe{nc: nc}
	for _, n := range published(c.Prefix) {
		m := nats.NewMsg(n.try)
		m.Data = []byte(n.body)
		// No stream has that name: where one takes the subject it refuses the message.
		m.Header.Set(jetstream.ExpectedStreamHeader, "none")
		if strings.HasPrefix(n.try, "$JS.API.") {
			m.Header = nil
		}
		p.try(ctx, &p.publish, n, func() (func() error, error) { return nil, nc.PublishMsg(m) })
	}
	for _, n := range subscribed(c.Prefix) {
		p.try(ctx, &p.subscribe, n, func() (func() error, error) {
			sub, err := nc.SubscribeSync(n.try)
			if err != nil {
				return nil, err
			}
			return sub.Unsubscribe, nil
		})
	}
	if p.err != nil {
		return dialFailure(c, p.err, exitFailed)
	}
	if len(p.publish)+len(p.subscribe) == 0 {
		return nil
	}
	var denied []string
	if len(p.publish) > 0 {
		denied = append(denied, "publish on "+strings.Join(p.publish, ", "))
	}
	if len(p.subscribe) > 0 {
		denied = append(denied, "subscribe to "+strings.Join(p.subscribe, ", "))
	}
	return &failure{exitFailed, fmt.Errorf("%s does not let us %s", serverName(c), strings.Join(denied, ", nor ")),
		"in its configuration our user needs " + permissionsLine(c.Prefix)}
}

// permissionsLine is what a NATS server's configuration says of a user who may do what a bridge needs, and nothing else.
func permissionsLine(prefix string) string {
	list := func(needs []need) string {
		var all []string
		for _, n := range needs {
			if quoted := fmt.Sprintf("%q", n.allow); !slices.Contains(all, quoted) {
				all = append(all, quoted)
			}
		}
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("permissions: {publish: [%s], subscribe: [%s]}", list(published(prefix)), list(subscribed(prefix)))
}

// permissionProbe tries what it is told to and keeps what NATS refused.
type permissionProbe struct {
	nc                 *nats.Conn
	publish, subscribe []string
	err                error // that ended the connection
}

func (p *permissionProbe) try(ctx context.Context, denied *[]string, n need, do func() (undo func() error, err error)) {
	if p.err != nil {
		return
	}
	before := p.nc.LastError()
	undo, err := do()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, connectWait)
		defer cancel()
		// The refusal comes before the answer to the flush.
		err = p.nc.FlushWithContext(ctx)
	}
	if err == nil && undo != nil {
		err = undo()
	}
	if now := p.nc.LastError(); now != before && errors.Is(now, nats.ErrPermissionViolation) {
		if !slices.Contains(*denied, n.try) {
			*denied = append(*denied, n.try)
		}
		return
	}
	p.err = err
}
