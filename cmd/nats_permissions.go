package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/natsutil"
	"imctl/bridge/subject"
)

// NATS reports a permission violation as an asynchronous error of the connection. A denied request gets no answer. So a
// server tests all permissions at its start, with harmless messages.

// permission is a subject that a bridge publishes to or subscribes to.
type permission struct {
	allow string // the subject that the configuration of the NATS server must allow
	test  string // a subject within allow for the test; "": it is not tested
	body  string // the body of a JetStream request that changes nothing
}

// unusedID is an id that no user and no node has.
const unusedID = "00000000000000000000000000000000"

// snapshotPermission lets a bridge with backup.dir take snapshots: it acknowledges their pieces.
var snapshotPermission = permission{allow: "$JS.SNAPSHOT.ACK.>", test: "$JS.SNAPSHOT.ACK.none"}

// publishPermissions returns the subjects that a bridge publishes to, with the streams in a JetStream domain. backups
// includes those of scheduled backups.
func publishPermissions(prefix, domain string, backups bool) []permission {
	p := subject.Prefix(prefix)
	js := subject.API(domain)
	api := js + ">"
	all := []permission{
		{allow: p.All(), test: p.Dialogue(unusedID)},
		{allow: p.All(), test: p.Notice(unusedID)},
		{allow: p.All(), test: p.Node(unusedID)},
		{allow: p.All(), test: p.Log("none")},
		{allow: subject.Inboxes, test: subject.Inbox(unusedID)},
		{allow: subject.ImportReplies}, // only readers need it, and servers that an earlier version has configured lack it
		{allow: api, test: js + "INFO"},
	}
	for _, bucket := range p.AllBuckets() {
		stream, keys := subject.BucketStream(bucket), subject.BucketKeys(bucket)
		all = append(all, streamPermissions(js, stream)...)
		all = append(all,
			permission{api, js + "DIRECT.GET." + stream, "{}"},
			permission{api, js + "STREAM.MSG.GET." + stream, "{}"},
			permission{api, js + "STREAM.PURGE." + stream, `{"filter":"` + keys + `none.none.none"}`},
			writePermission(domain, keys))
	}
	all = append(all, permission{allow: p.All(), test: p.Audit("none", 0)},
		permission{api, js + "CONSUMER.LIST." + p.LogStream(), "{}"},
		permission{api, js + "STREAM.MSG.GET." + p.LogStream(), "{}"},
		permission{api, js + "STREAM.PURGE." + p.LogStream(), `{"filter":"` + p.Log("none", "none") + `"}`})
	talks := p.TalkStream()
	all = append(all, streamPermissions(js, talks)...)
	all = append(all,
		permission{api, js + "DIRECT.GET." + talks, "{}"},
		permission{api, js + "STREAM.MSG.GET." + talks, "{}"},
		permission{api, js + "STREAM.PURGE." + talks, `{"filter":"` + p.Talk(unusedID, unusedID) + `"}`},
		permission{allow: p.All(), test: p.Talk(unusedID, unusedID)})
	files := p.FileStream()
	all = append(all, streamPermissions(js, files)...)
	all = append(all,
		permission{api, js + "DIRECT.GET." + files, "{}"},
		permission{api, js + "STREAM.MSG.GET." + files, "{}"},
		permission{api, js + "STREAM.PURGE." + files, `{"filter":"` + p.File("none", unusedID, unusedID) + `"}`},
		permission{allow: p.All(), test: p.File("none", unusedID, unusedID)})
	if backups {
		all = append(all, snapshotPermission)
	}
	return append(append(all, streamPermissions(js, p.LogStream())...), streamPermissions(js, p.AuditStream())...)
}

// streamPermissions returns the requests with which a bridge creates and updates a stream.
func streamPermissions(js, stream string) []permission {
	return []permission{
		{js + ">", js + "STREAM.INFO." + stream, "{}"},
		{js + ">", js + "STREAM.CREATE." + stream, "{}"}, // refused without a name
		{js + ">", js + "STREAM.UPDATE." + stream, "{}"},
	}
}

// writePermission returns the permission to write the keys of a bucket.
func writePermission(domain, keys string) permission {
	if domain != "" {
		return permission{subject.API(domain) + ">", subject.KeysIn(domain) + keys + "none", ""}
	}
	return permission{keys + ">", keys + "none", ""}
}

// subscribePermissions returns the subjects that a bridge subscribes to.
func subscribePermissions(prefix string) []permission {
	p := subject.Prefix(prefix)
	return []permission{
		{allow: p.All(), test: p.Live(unusedID)},
		{allow: p.All(), test: p.Node(unusedID)},
		{allow: p.All(), test: p.SendAny()},
		{allow: p.All(), test: p.CallAny()},
		{allow: p.All(), test: string(p) + ".admin.none"},
		{allow: subject.Inboxes, test: subject.Inbox(unusedID) + ".*"},
		{allow: subject.JetStreamAdvisories, test: subject.ConsumerAdvisory("CREATED", p.LogStream())},
		{allow: subject.Services, test: "$SRV.PING"},
	}
}

// checkPermissions returns an error that names all missing permissions of the connection's user. backups includes those
// of scheduled backups.
func checkPermissions(ctx context.Context, nc *nats.Conn, c NATSConfig, backups bool) error {
	p, domain := permissionTest{nc: nc}, natsutil.Domain(nc)
	js := subject.API(domain)
	for _, perm := range publishPermissions(c.Prefix, domain, backups) {
		if perm.test == "" {
			continue
		}
		m := nats.NewMsg(perm.test)
		m.Data = []byte(perm.body)
		// No stream has this name, so a stream with this subject refuses the message.
		m.Header.Set(jetstream.ExpectedStreamHeader, "none")
		if strings.HasPrefix(perm.test, js) && perm.body != "" {
			m.Header = nil
		}
		p.run(ctx, &p.publish, perm, func() (func() error, error) { return nil, nc.PublishMsg(m) })
	}
	for _, perm := range subscribePermissions(c.Prefix) {
		if perm.allow == subject.Inboxes {
			perm.test = nc.NewInbox() + ".*" // an attachment may subscribe to inboxes of its own only
		}
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
		"add to this user in its configuration: " + permissionsLine(c.Prefix, domain, backups)}
}

// permissionsLine returns the line in the configuration of a NATS server for a user with exactly the permissions of a
// bridge.
func permissionsLine(prefix, domain string, backups bool) string {
	publish, subscribe := allowedSubjects(prefix, domain, backups)
	list := func(subjects []string) string { return `"` + strings.Join(subjects, `", "`) + `"` }
	return fmt.Sprintf("permissions: {publish: [%s], subscribe: [%s]}", list(publish), list(subscribe))
}

// allowedSubjects returns the subjects that the configuration of a NATS server must allow the user of a bridge.
func allowedSubjects(prefix, domain string, backups bool) (publish, subscribe []string) {
	list := func(permissions []permission) (all []string) {
		for _, perm := range permissions {
			if !slices.Contains(all, perm.allow) {
				all = append(all, perm.allow)
			}
		}
		return all
	}
	return list(publishPermissions(prefix, domain, backups)), list(subscribePermissions(prefix))
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
