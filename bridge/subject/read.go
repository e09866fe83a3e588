package subject

import "strings"

// ImportReplies is the filter of the reply subjects that NATS makes for a request from another account. No client can
// name one of them as its own reply subject.
const ImportReplies = importReply + ">"

const importReply = "_R_."

// IsImportReply reports whether NATS has made the reply subject, for a request from another account.
func IsImportReply(subject string) bool { return strings.HasPrefix(subject, importReply) }

const (
	wordRead    = "read"
	wordService = "service"
)

// Read returns the subject of a call that reads users, friendships or presence, by an attachment with that name.
func (p Prefix) Read(attachment, call string) string {
	return string(p) + "." + wordRead + "." + attachment + "." + call
}

// ReadAny returns the filter of the subjects of all calls that read.
func (p Prefix) ReadAny() string { return p.Read("*", "*") }

// Service returns the subject of a call by a service with that name.
func (p Prefix) Service(attachment, call string) string {
	return string(p) + "." + wordService + "." + attachment + "." + call
}

// ServiceAny returns the filter of the subjects of all calls by services.
func (p Prefix) ServiceAny() string { return p.Service("*", "*") }

// ParseAttachmentCall returns the attachment and the call of a subject that ReadAny or ServiceAny matches.
func (p Prefix) ParseAttachmentCall(subject string) (attachment, call string) {
	words := strings.Split(subject[len(p)+1:], ".")
	if len(words) != 3 {
		return "", ""
	}
	return words[1], words[2]
}

// IsReadWord reports whether an inbox of an attachment with that name would look like the subject of a call that reads.
func IsReadWord(name string) bool { return name == wordRead }
