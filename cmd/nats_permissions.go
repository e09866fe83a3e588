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

// NATS reports a permission violation as an asynchronous error of the connection. A denied request gets no answer. So a
// server tests all permissions at its start, with harmless messages.

// permission is a subject that a bridge publishes to or subscribes to.
type permission struct {
	allow string // the subject that the configuration of the NATS server must allow
	test  string // a subject within allow for the test
	body  string // the body of a JetStream request that changes nothing
}

// unusedID is an id that no user and no node has.
const unusedID = "00000000000000000000000000000000"

// publishPermissions returns the subjects that a bridge publishes to.
func publishPermissions(prefix string) []permission {
	all := []permission{
		{allow: prefix + ".>", test: prefix + ".user." + unusedID + ".dialogue"},
		{allow: prefix + ".>", test: prefix + ".user." + unusedID + ".notice"},
		{allow: prefix + ".>", test: prefix + ".node." + unusedID},
		{allow: prefix + ".>", test: prefix + ".log.none"},
		{allow: "_INBOX.>", test: "_INBOX." + unusedID},
		{allow: "$JS.API.>", test: "$JS.API.INFO"},
	}
	streams := bucketStreams(prefix)
	for _, stream := range append(streams, logStream(prefix)) {
		all = append(all,
			permission{"$JS.API.>", "$JS.API.STREAM.INFO." + stream, "{}"},
			permission{"$JS.API.>", "$JS.API.STREAM.CREATE." + stream, "{}"}, // refused without a name
			permission{"$JS.API.>", "$JS.API.STREAM.UPDATE." + stream, "{}"})
	}
	for _, stream := range streams {
		subjects := "$KV." + strings.TrimPrefix(stream, "KV_") + "."
		all = append(all,
			permission{"$JS.API.>", "$JS.API.DIRECT.GET." + stream, "{}"},
			permission{"$JS.API.>", "$JS.API.STREAM.MSG.GET." + stream, "{}"},
			permission{"$JS.API.>", "$JS.API.STREAM.PURGE." + stream, `{"filter":"` + subjects + `none.none.none"}`},
			permission{subjects + ">", subjects + "none", ""})
	}
	return all
}

// subscribePermissions returns the subjects that a bridge subscribes to.
func subscribePermissions(prefix string) []permission {
	return []permission{
		{allow: prefix + ".>", test: prefix + ".user." + unusedID + ".*"},
		{allow: prefix + ".>", test: prefix + ".node." + unusedID},
		{allow: prefix + ".>", test: prefix + ".send.*"},
		{allow: prefix + ".>", test: prefix + ".call.*.*"},
		{allow: prefix + ".>", test: prefix + ".admin.none"},
		{allow: "_INBOX.>", test: "_INBOX." + unusedID + ".*"},
		{allow: "$JS.EVENT.ADVISORY.>", test: "$JS.EVENT.ADVISORY.CONSUMER.CREATED." + logStream(prefix) + ".>"},
		{allow: "$SRV.>", test: "$SRV.PING"},
	}
}

// bucketStreams returns the names of the streams of all buckets: both sets and the state.
func bucketStreams(prefix string) []string {
	var all []string
	for _, bucket := range kv.Buckets(prefix) {
		all = append(all, "KV_"+bucket)
	}
	return all
}

// checkPermissions returns an error that names all missing permissions of the connection's user.
func checkPermissions(ctx context.Context, nc *nats.Conn, c NATSConfig) error {
	p := permissionTest{nc: nc}
	for _, perm := range publishPermissions(c.Prefix) {
		m := nats.NewMsg(perm.test)
		m.Data = []byte(perm.body)
		// No stream has this name, so a stream with this subject refuses the message.
		m.Header.Set(jetstream.ExpectedStreamHeader, "none")
		if strings.HasPrefix(perm.test, "$JS.API.") {
			m.Header = nil
		}
		p.run(ctx, &p.publish, perm, func() (func() error, error) { return nil, nc.PublishMsg(m) })
	}
	for _, perm := range subscribePermissions(c.Prefix) {
		p.run(ctx, &p.subscribe, perm, func() (func() error, error) {
			sub, err := nc.SubscribeSync(perm.test)
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
		denied = append(denied, "publish to "+strings.Join(p.publish, ", "))
	}
	if len(p.subscribe) > 0 {
		denied = append(denied, "subscribe to "+strings.Join(p.subscribe, ", "))
	}
	return &failure{exitFailed, fmt.Errorf("%s does not permit its user to %s", serverName(c), strings.Join(denied, ", or ")),
		"add to this user in its configuration: " + permissionsLine(c.Prefix)}
}

// permissionsLine returns the line in the configuration of a NATS server for a user with exactly the permissions of a
// bridge.
func permissionsLine(prefix string) string {
	list := func(permissions []permission) string {
		var all []string
		for _, perm := range permissions {
			if quoted := fmt.Sprintf("%q", perm.allow); !slices.Contains(all, quoted) {
				all = append(all, quoted)
			}
		}
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("permissions: {publish: [%s], subscribe: [%s]}", list(publishPermissions(prefix)), list(subscribePermissions(prefix)))
}

// permissionTest collects the denied subjects.
type permissionTest struct {
	nc                 *nats.Conn
	publish, subscribe []string // denied subjects
	err                error    // the error that ended the connection
}

// run calls do and then undo, and adds the subject to denied if NATS reports a permission violation.
func (p *permissionTest) run(ctx context.Context, denied *[]string, perm permission, do func() (undo func() error, err error)) {
	if p.err != nil {
		return
	}
	before := p.nc.LastError()
	undo, err := do()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		// The server reports the violation before it answers the flush.
		err = p.nc.FlushWithContext(ctx)
	}
	if err == nil && undo != nil {
		err = undo()
	}
	if now := p.nc.LastError(); now != before && errors.Is(now, nats.ErrPermissionViolation) {
		if !slices.Contains(*denied, perm.test) {
			*denied = append(*denied, perm.test)
		}
		return
	}
	p.err = err
}
