package subject

import "strings"

// A gateway is a program that speaks for users of its own. The subject names the gateway: NATS does not let it use the
// subjects of another one.

// The last words of the subjects on which the server tells a gateway of its users.
const (
	gatewayDialogue = "dialogue"
	gatewayNotice   = "notice"
)

// Gateway returns a subject of a gateway, or with wildcards a filter: its words after the name, joined by dots.
func (p Prefix) Gateway(name string, words ...string) string {
	return string(p) + ".gateway." + name + "." + strings.Join(words, ".")
}

// GatewayDialogue returns the subject on which a gateway takes the dialogues to a user of its own.
func (p Prefix) GatewayDialogue(name, user string) string {
	return p.Gateway(name, gatewayDialogue, user)
}

// GatewayNotice returns the subject on which a gateway is told the news of a user of its own.
func (p Prefix) GatewayNotice(name, user string) string { return p.Gateway(name, gatewayNotice, user) }

// ParseGateway returns the name of the gateway, and the words after it, of a subject of Gateway.
func (p Prefix) ParseGateway(subject string) (name string, words []string) {
	rest, ok := strings.CutPrefix(subject, string(p)+".gateway.")
	if !ok {
		return "", nil
	}
	all := strings.Split(rest, ".")
	return all[0], all[1:]
}

// InAttachmentInbox reports whether subject is in the inbox of an attachment.
func (p Prefix) InAttachmentInbox(subject, name string) bool { return InInbox(subject, p.own(name)) }

// GatewayPublish returns the filters of what a gateway publishes.
func (p Prefix) GatewayPublish(name string) []string {
	return []string{p.Gateway(name, "register"), p.Gateway(name, "users"), p.Gateway(name, "open"), p.Gateway(name, "online", ">"),
		p.Gateway(name, "offline", ">"), p.Gateway(name, "send", "*"), p.Gateway(name, "call", "*", "*")}
}

// GatewaySubscribe returns the filters of what a gateway subscribes to, besides its inbox.
func (p Prefix) GatewaySubscribe(name string) []string {
	return []string{p.Gateway(name, gatewayDialogue, "*"), p.Gateway(name, gatewayNotice, "*")}
}
