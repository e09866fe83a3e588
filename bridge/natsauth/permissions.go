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

// answerTime is how long a program may answer a request of the server: longer than any setting lets the server wait.
const answerTime = time.Minute

// userPermissions let a user take and answer its own dialogues, send and call, in its own name only.
func userPermissions(p subject.Prefix, id string, timeout time.Duration) jwt.Permissions {
	return jwt.Permissions{
		Pub:  jwt.Permission{Allow: jwt.StringList{p.Send(id), p.CallsOf(id)}},
		Sub:  jwt.Permission{Allow: jwt.StringList{p.User(id), subject.Inbox(id) + ".>"}},
		Resp: &jwt.ResponsePermission{MaxMsgs: 1, Expires: timeout + responseMargin},
	}
}

// attachmentPermissions are those of a role, with the streams in a JetStream domain. shared tells that other
// installations may use the same NATS account.
func attachmentPermissions(p subject.Prefix, domain string, a kv.Attachment, shared bool) jwt.Permissions {
	inbox := p.AttachmentInbox(a.Name) + ".>"
	switch a.Role {
	case kv.RoleConsumer:
		return jwt.Permissions{
			Pub: jwt.Permission{Allow: subject.ConsumerPublish(domain, p.LogStream(), a.Name)},
			Sub: jwt.Permission{Allow: jwt.StringList{inbox}},
		}
	case kv.RoleModerator:
		return answererPermissions(p.HookAll(), inbox)
	case kv.RoleAuth:
		return answererPermissions(p.AuthAll(), inbox)
	}
	if !shared {
		inbox = subject.Inboxes
	}
	allowed := trustedPermissions(p, domain, inbox)
	if a.Role == kv.RoleBridge {
		allowed.Pub.Deny = jwt.StringList{p.AdminAll()}
	} else {
		allowed.Pub.Allow.Add(p.ServicePublish()...)
	}
	return allowed
}

// answererPermissions let a program only answer the requests on a subject, each of them once.
func answererPermissions(requests, inbox string) jwt.Permissions {
	return jwt.Permissions{
		Pub:  jwt.Permission{Deny: jwt.StringList{">"}},
		Sub:  jwt.Permission{Allow: jwt.StringList{requests, inbox}},
		Resp: &jwt.ResponsePermission{MaxMsgs: 1, Expires: answerTime},
	}
}

// trustedPermissions are everything of one installation and nothing of another: its subjects, buckets and streams, and
// JetStream's requests by the names of the streams.
//
// They keep mistakes apart and do not contain an attacker. A bridge stores all records, and for administrators also
// attachments. And JetStream publishes its answers on any subject that a request names for the reply, the keys and
// streams of another installation included. Only an account of its own contains that.
func trustedPermissions(p subject.Prefix, domain, inbox string) (allowed jwt.Permissions) {
	allowed.Pub.Allow.Add(p.All(), subject.Inboxes, subject.API(domain)+"INFO")
	allowed.Sub.Allow.Add(p.All(), inbox)
	allowed.Sub.Allow.Add(p.ServiceSubscribe()...)
	for _, bucket := range p.AllBuckets() {
		allowed.Pub.Allow.Add(subject.KeysIn(domain) + subject.BucketKeys(bucket) + ">")
		allowed.Sub.Allow.Add(subject.BucketKeys(bucket) + ">")
	}
	for _, stream := range p.Streams() {
		allowed.Pub.Allow.Add(subject.StreamPublish(domain, stream)...)
		allowed.Sub.Allow.Add(subject.StreamAdvisories(stream)...)
	}
	return allowed
}
