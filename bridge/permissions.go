package bridge

import (
	"time"

	"github.com/nats-io/jwt/v2"

	"imctl/kv"
)

// Subjects are allowed one by one, and what is not allowed is forbidden. NATS does not check where a client asks the
// answer to its request to be sent to, so whoever answers strangers has to (see natsAPI.reachable); those who talk with
// JetStream itself, which does not, are in an account of their own or may do as they like anyway.

// responseMargin is how much longer than a dialogue's time a client may answer it: it counts from the delivery to the
// client's connection.
const responseMargin = time.Second

// InboxPrefix is what the inboxes of a NATS client begin with: a user's by its id, a consumer's by its name.
func InboxPrefix(name string) string { return "_INBOX." + name }

// The names under which NATS knows connections.
func userConnName(id string) string  { return "user:" + id }
func attachConnName(n string) string { return "attach:" + n }

// userPermissions let a user take its own dialogues, answer them, send and call, as nobody but itself.
func userPermissions(prefix, id string, wait time.Duration) jwt.Permissions {
	return jwt.Permissions{
		Pub:  jwt.Permission{Allow: jwt.StringList{prefix + ".send." + id, prefix + ".call." + id + ".>"}},
		Sub:  jwt.Permission{Allow: jwt.StringList{prefix + ".user." + id + ".>", InboxPrefix(id) + ".>"}},
		Resp: &jwt.ResponsePermission{MaxMsgs: 1, Expires: wait + responseMargin},
	}
}

// attachmentPermissions are a role's. An administrator's are empty, which forbids nothing.
func attachmentPermissions(prefix string, a kv.Attachment) jwt.Permissions {
	switch a.Role {
	case kv.RoleAdmin:
		return jwt.Permissions{}
	case kv.RoleBridge:
		return bridgePermissions(prefix)
	}
	stream := logStreamName(prefix)
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: jwt.StringList{
			"$JS.API.CONSUMER.INFO." + stream + "." + a.Name,
			"$JS.API.CONSUMER.MSG.NEXT." + stream + "." + a.Name,
			"$JS.ACK." + stream + "." + a.Name + ".>",
			"$JS.ACK.*.*." + stream + "." + a.Name + ".>", // as servers write it that are in a domain
		}},
		Sub: jwt.Permission{Allow: jwt.StringList{InboxPrefix(a.Name) + ".>"}},
	}
}

// bridgePermissions are what another bridge on the same NATS needs. It serves administrators, and is none.
func bridgePermissions(prefix string) jwt.Permissions {
	shared := jwt.StringList{prefix + ".>", "_INBOX.>"}
	for _, bucket := range kv.Buckets(prefix) {
		shared = append(shared, "$KV."+bucket+".>")
	}
	pub, sub := jwt.StringList{"$JS.API.>", "$JS.ACK.>"}, jwt.StringList{"$JS.EVENT.ADVISORY.>", "$SRV.>"}
	return jwt.Permissions{
		Pub: jwt.Permission{Allow: append(pub, shared...), Deny: jwt.StringList{prefix + ".admin.>"}},
		Sub: jwt.Permission{Allow: append(sub, shared...)},
	}
}
