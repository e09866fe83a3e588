package cmd

import (
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"

	"imctl/bridge/subject"
)

// ownInbox returns the option for the inboxes of an attachment whose name is the user of nats.url or of a context file.
// On an attached NATS an attachment may only subscribe to inboxes of its own. A context's inbox_prefix takes precedence.
func ownInbox(c NATSConfig) []nats.Option {
	name := ""
	if c.Context != "" {
		if isContextFile(c.Context) {
			name = contextUser(c.Context)
		}
	} else if u, err := url.Parse(strings.TrimSpace(strings.Split(c.URL, ",")[0])); err == nil && u.User != nil {
		name = u.User.Username()
	}
	if !isToken(name) {
		return nil
	}
	return []nats.Option{nats.CustomInboxPrefix(subject.Prefix(c.Prefix).AttachmentInbox(name))}
}
