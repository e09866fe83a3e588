package wire

import (
	"strconv"
	"time"
)

// A Session is a login of the caller, as the list of its sessions shows it.
type Session struct {
	ID      string // opaque; it gives no access
	Issued  time.Time
	Expires time.Time // of the token; zero if it has expired, and not shown then
	Address string    // of the client; "" if unknown
	Agent   string    // User-Agent of the client; "" if unknown
	Online  bool
	Current bool // the caller's own
}

// Append appends the session to dst as a JSON object.
func (s Session) Append(dst []byte) []byte {
	dst = appendKey(dst, `{"session":`, s.ID)
	dst = appendKey(dst, `,"issued":`, s.Issued.UTC().Format(time.RFC3339))
	if !s.Expires.IsZero() {
		dst = appendKey(dst, `,"expires":`, s.Expires.UTC().Format(time.RFC3339))
	}
	dst = appendKey(dst, `,"address":`, s.Address)
	dst = appendKey(dst, `,"agent":`, s.Agent)
	dst = append(dst, `,"online":`...)
	dst = strconv.AppendBool(dst, s.Online)
	dst = append(dst, `,"current":`...)
	dst = strconv.AppendBool(dst, s.Current)
	return append(dst, '}')
}

// Sessions is the answer with the caller's sessions.
type Sessions []Session

// Append appends the answer to dst, with code 200. An empty list is null.
func (s Sessions) Append(dst []byte) []byte {
	dst = append(appendHead(dst, Success), `,"sessions":`...)
	dst = appendList(dst, s)
	return append(dst, '}')
}

// A MailState is the answer that tells whether the caller's mail address is verified.
type MailState struct{ Verified bool }

// Append appends the answer to dst, with code 200.
func (m MailState) Append(dst []byte) []byte {
	dst = append(appendHead(dst, Success), `,"verified":`...)
	dst = strconv.AppendBool(dst, m.Verified)
	return append(dst, '}')
}
