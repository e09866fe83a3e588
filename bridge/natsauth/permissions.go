package natsauth

import (
	"time"

	"github.com/nats-io/jwt/v2"

	"imctl/bridge/subject"
	"imctl/kv"
)

// Permissions list the allowed subjects; everything else is denied. NATS does not check the reply subject of a request.
// So a service that answers untrusted clients has to check it (see api). JetStream does not: consumers, which talk to
// it, are in an account of their own, and the other roles that do are trusted.

// responseMargin is added to the timeout of a dialogue for the client's reply: NATS counts from the delivery to the
// client.
const responseMargin = time.Second

// userPermissions let a user take and answer its own dialogues, send and call, in its own name only.
func userPermissions(p subject.Prefix, id string, timeout time.Duration) jwt.Permissions {
	return jwt.Permissions{
		Pub:  jwt.Permission{Allow: jwt.StringList{p.Send(id), p.CallsOf(id)}},
		Sub:  jwt.Permission{Allow: jwt.StringList{p.User(id), subject.Inbox(id) + ".>"}},
		Resp: &jwt.ResponsePermission{MaxMsgs: 1, Expires: timeout + responseMargin},
	}
}

// attachmentPermissions are those of a role, with the streams in a JetStream domain. An administrator's are empty, which denies nothing.
func attachmentPermissions(p subject.Prefix, domain string, a kv.Attachment) jwt.Permissions {
	switch a.Role {
	case kv.RoleAdmin:
		return jwt.Permissions{}
	case kv.RoleBridge:
		return bridgePermissions(p, domain)
	}
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: subject.ConsumerPublish(domain, p.LogStream(), a.Name)},
		Sub: jwt.Permission{Allow: jwt.StringList{subject.Inbox(a.Name) + ".>"}},
	}
}

// bridgePermissions are those of another bridge on the same NATS. They keep mistakes apart, and do not contain a bridge
// that attacks: it stores all records, and for administrators also attachments. Without the right to publish on their
// keys it could still have JetStream publish there, as the reply to a request.
func bridgePermissions(p subject.Prefix, domain string) jwt.Permissions {
	shared := jwt.StringList{p.All(), subject.Inboxes}
	for _, bucket := range p.AllBuckets() {
		shared = append(shared, subject.BucketKeys(bucket)+">")
	}
	pub := jwt.StringList{subject.API(domain) + ">", subject.JetStreamAcks}
	sub := jwt.StringList{subject.JetStreamAdvisories, subject.Services}
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: append(pub, shared...), Deny: jwt.StringList{p.AdminAll()}},
		Sub: jwt.Permission{Allow: append(sub, shared...)},
	}
}
