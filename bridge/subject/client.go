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

// QueueGroup is the queue group of subjects that begin with a prefix, and of the requests to log in. The installations
// on one NATS share the name: their subjects differ, and NATS asks one of them all about a login.
const QueueGroup = "imctl"

// firstPrefix is the default prefix. Its names have no prefix, as in versions that knew one installation only.
const firstPrefix = "im"

// QueueGroup returns the queue group of the installation, for subjects that all installations subscribe to.
func (p Prefix) QueueGroup() string { return p.ServiceName() }

// ServiceName returns the name of the administration as a NATS micro service, as in $SRV.INFO.imctl.
func (p Prefix) ServiceName() string {
	if p == firstPrefix {
		return QueueGroup
	}
	return QueueGroup + "-" + string(p)
}

// CalloutHello is the subject on which a callout asks for the prefixes of the other installations, and CalloutHere the
// one on which each tells its own. Both are in the account of the auth callout.
const (
	CalloutHello = "imctl.callout.hello"
	CalloutHere  = "imctl.callout.here"
)

// CalloutLogin returns the subject on which the callouts of other installations ask about a login. It is in the account
// of the auth callout.
func (p Prefix) CalloutLogin() string { return "imctl.callout.login." + string(p) }

// Inbox returns the prefix of the inboxes of a user, by its id.
func Inbox(id string) string { return "_INBOX." + id }

// InInbox reports whether subject is in the inbox of a user.
func InInbox(subject, id string) bool {
	rest, ok := strings.CutPrefix(subject, Inbox(id))
	return ok && strings.HasPrefix(rest, ".")
}

// AttachmentInbox returns the prefix of the inboxes of an attachment.
func (p Prefix) AttachmentInbox(name string) string { return Inbox(p.own(name)) }

// own returns a name that the attachments of no other prefix have: names of attachments have no colon.
func (p Prefix) own(name string) string {
	if p == firstPrefix {
		return name
	}
	return string(p) + ":" + name
}

const (
	userConn       = "user:"
	attachmentConn = "attach:"
)

// UserConn returns the name under which NATS knows the connections of a user.
func (p Prefix) UserConn(id string) string { return userConn + p.own(id) }

// AttachmentConn returns the name under which NATS knows the connections of an attachment.
func (p Prefix) AttachmentConn(name string) string { return attachmentConn + p.own(name) }

// ParseConn returns the user, or the attachment, of a connection with that name. Both are empty if the connection is
// not of a client of this installation.
func (p Prefix) ParseConn(conn string) (user, attachment string) {
	if id, ok := strings.CutPrefix(conn, userConn); ok {
		return p.cutOwn(id), ""
	}
	if name, ok := strings.CutPrefix(conn, attachmentConn); ok {
		return "", p.cutOwn(name)
	}
	return "", ""
}

func (p Prefix) cutOwn(name string) string {
	if p != firstPrefix {
		own, ok := strings.CutPrefix(name, string(p)+":")
		if !ok {
			return ""
		}
		name = own
	}
	if strings.Contains(name, ":") {
		return ""
	}
	return name
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
