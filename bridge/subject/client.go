package subject

import "strings"

// Subjects of NATS itself.
const (
	// Inboxes is the filter of all inboxes.
	Inboxes = "_INBOX.>"
	// AuthCallout is the subject on which NATS asks whether a client may log in.
	AuthCallout = "$SYS.REQ.USER.AUTH"
	// ListConnections is the subject on which every NATS server lists its connections.
	ListConnections = "$SYS.REQ.SERVER.PING.CONNZ"
	// JetStreamAcks, JetStreamAdvisories and Services are filters of what a bridge uses of NATS. See API too.
	JetStreamAcks       = "$JS.ACK.>"
	JetStreamAdvisories = "$JS.EVENT.ADVISORY.>"
	Services            = "$SRV.>"
)

// ServerStats returns the subject on which a NATS server tells its statistics.
func ServerStats(server string) string { return "$SYS.REQ.SERVER." + server + ".STATSZ" }

// ServerConnections returns the subject on which a NATS server lists its connections.
func ServerConnections(server string) string { return "$SYS.REQ.SERVER." + server + ".CONNZ" }

// ServerKick returns the subject on which a NATS server closes a connection.
func ServerKick(server string) string { return "$SYS.REQ.SERVER." + server + ".KICK" }

// QueueGroup is the queue group in which all nodes share the requests of NATS clients.
const QueueGroup = "imctl"

// Inbox returns the prefix of the inboxes of a NATS client: a user by its id, a consumer by its name.
func Inbox(name string) string { return "_INBOX." + name }

// InInbox reports whether subject is in the inbox of a NATS client.
func InInbox(subject, name string) bool {
	rest, ok := strings.CutPrefix(subject, Inbox(name))
	return ok && strings.HasPrefix(rest, ".")
}

// UserConn returns the name under which NATS knows the connections of a user.
func UserConn(id string) string { return "user:" + id }

// AttachmentConn returns the name under which NATS knows the connections of an attachment.
func AttachmentConn(name string) string { return "attach:" + name }

// IsUserConn reports whether name is the connection name of a user.
func IsUserConn(name string) bool { return strings.HasPrefix(name, UserConn("")) }

// IsClientConn reports whether name is the connection name of a user or an attachment.
func IsClientConn(name string) bool {
	return strings.HasPrefix(name, UserConn("")) || strings.HasPrefix(name, AttachmentConn(""))
}

// API returns what the subjects of JetStream's API begin with in a JetStream domain. "" is the domain of the server that
// a client is connected to.
func API(domain string) string {
	if domain == "" {
		return "$JS.API."
	}
	return "$JS." + domain + ".API."
}

// KeysIn returns what a client puts in front of the subject of a bucket's key to write it in a JetStream domain. Between
// domains NATS carries the subjects of buckets as a part of JetStream's API only.
func KeysIn(domain string) string {
	if domain == "" {
		return ""
	}
	return API(domain)
}
