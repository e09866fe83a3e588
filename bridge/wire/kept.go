package wire

import (
	"strconv"
	"time"
)

// A KeptDialogue is a dialogue of a conversation that is kept:
//
//	{"id":"7","from":"f69f9777…","payload":"How are you?","with":"f69f9777…","n":17,"at":"2026-05-04T10:20:30.123Z"}
//
// If it was parsed, its fields alias the parsed bytes and are valid until these are overwritten.
type KeptDialogue struct {
	ID      RawString
	From    []byte    // id of the sender, decoded
	Payload RawString // empty if Deleted, and may be empty if Deletes is set
	With    []byte    // id of the other user, as the receiver of the frame sees it, decoded
	N       uint64    // number in the conversation, from 1
	At      time.Time // when the server took the dialogue
	// Numbers of dialogues that this one replies to, reacts to, edits or deletes; 0: none.
	Re, Reacts, Edits, Deletes uint64
	// A later dialogue has replaced or removed the payload.
	Edited, Deleted bool
}

// Append appends the dialogue to dst as a JSON object. It omits Re and the fields after Re if they are not set.
func (d KeptDialogue) Append(dst []byte) []byte {
	dst = appendRaw(append(dst, `{"id":`...), d.ID)
	dst = appendString(append(dst, `,"from":`...), d.From)
	dst = appendRaw(append(dst, `,"payload":`...), d.Payload)
	dst = appendString(append(dst, `,"with":`...), d.With)
	dst = appendNumber(dst, `,"n":`, d.N)
	dst = appendTime(dst, `,"at":`, d.At)
	dst = appendPositive(dst, `,"re":`, d.Re)
	dst = appendPositive(dst, `,"reacts":`, d.Reacts)
	dst = appendPositive(dst, `,"edits":`, d.Edits)
	dst = appendPositive(dst, `,"deletes":`, d.Deletes)
	if d.Edited {
		dst = append(dst, `,"edited":true`...)
	}
	if d.Deleted {
		dst = append(dst, `,"deleted":true`...)
	}
	return append(dst, '}')
}

// AppendEcho appends the dialogue as NATS clients of its sender see it: with toFriend, as [AppendEcho] does.
func (d KeptDialogue) AppendEcho(dst []byte) []byte {
	dst = d.Append(dst)
	dst = appendString(append(dst[:len(dst)-1], `,"toFriend":`...), d.With)
	return append(dst, '}')
}

// Places of the keys of a dialogue in the values of a scan.
const (
	keptID = iota
	keptFrom
	keptPayload
	keptWith
	keptN
	keptAt
	keptRe
	keptReacts
	keptEdits
	keptDeletes
	keptEdited
	keptDeleted
	keptCount
)

var keptKeys = [keptCount]string{"id", "from", "payload", "with", "n", "at", "re", "reacts", "edits", "deletes", "edited", "deleted"}

// ParseKept parses the output of Append, with any further keys. It returns false unless id, from, payload, with, n and
// at are present and right, and from and with are not empty. A dialogue that is not kept has no n.
func ParseKept(b []byte) (KeptDialogue, bool) {
	var v [keptCount][]byte
	if scanObject(b, keptKeys[:], v[:]) != sound || v[keptN] == nil || v[keptAt] == nil {
		return KeptDialogue{}, false
	}
	if !stringsOnly(v[:keptN]) || v[keptID] == nil || v[keptPayload] == nil {
		return KeptDialogue{}, false
	}
	d := KeptDialogue{ID: v[keptID], Payload: v[keptPayload], Edited: isTrue(v[keptEdited]), Deleted: isTrue(v[keptDeleted])}
	var fromOK, withOK bool
	d.From, fromOK = RawString(v[keptFrom]).text()
	d.With, withOK = RawString(v[keptWith]).text()
	n, ok := parseNumber(v[keptN], fromOK && withOK && len(d.From) > 0 && len(d.With) > 0)
	d.N = n
	for at, field := range [...]*uint64{&d.Re, &d.Reacts, &d.Edits, &d.Deletes} {
		if raw := v[keptRe+at]; raw != nil {
			*field, ok = parseNumber(raw, ok)
		}
	}
	if ok {
		d.At, ok = parseTime(v[keptAt])
	}
	if !ok {
		return KeptDialogue{}, false
	}
	return d, true
}

func isTrue(raw []byte) bool { return len(raw) > 0 && raw[0] == 't' }

// parseTime parses a scanned value as the output of appendTime: RFC 3339 in UTC with milliseconds.
func parseTime(raw []byte) (time.Time, bool) {
	if len(raw) != len(`"2006-01-02T15:04:05.000Z"`) || raw[0] != '"' || raw[len(raw)-2] != 'Z' {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339, string(raw[1:len(raw)-1]))
	return at, err == nil
}

// AppendKeptAnswer appends the answer to a dialogue that is kept: 202, with its id, number and time.
func AppendKeptAnswer(dst []byte, id RawString, n uint64, at time.Time) []byte {
	dst = appendRaw(append(appendHead(dst, DialogueKept), `,"id":`...), id)
	dst = appendNumber(dst, `,"n":`, n)
	return append(appendTime(dst, `,"at":`, at), '}')
}

// AppendDelivered appends 303: a client of the friend has all dialogues up to n.
func AppendDelivered(dst []byte, friend string, n uint64) []byte {
	dst = appendKey(appendHead(dst, DialogueDelivered), `,"id":`, friend)
	return append(appendNumber(dst, `,"n":`, n), '}')
}

// ownEnd ends a notice about the user itself.
const ownEnd = `,"own":true}`

// AppendRead appends 304: the friend has read all dialogues up to n, or if own is set, the user has read all dialogues
// of the conversation with the friend up to n, on another device.
func AppendRead(dst []byte, friend string, n uint64, own bool) []byte {
	dst = appendKey(appendHead(dst, DialogueRead), `,"id":`, friend)
	dst = appendNumber(dst, `,"n":`, n)
	if own {
		return append(dst, ownEnd...)
	}
	return append(dst, '}')
}

// AppendTyping appends 305: the friend types.
func AppendTyping(dst []byte, friend string) []byte { return appendIDFrame(dst, FriendTyping, friend) }

// AppendMarked appends 306: the user has changed the marks of the conversation with a friend.
func AppendMarked(dst []byte, friend string, pinned, archived, muted bool) []byte {
	dst = appendKey(appendHead(dst, Marked), `,"id":`, friend)
	dst = strconv.AppendBool(append(dst, `,"pinned":`...), pinned)
	dst = strconv.AppendBool(append(dst, `,"archived":`...), archived)
	return append(strconv.AppendBool(append(dst, `,"muted":`...), muted), '}')
}

// AppendPong appends the answer to a ping, with its text.
func AppendPong(dst []byte, ping RawString) []byte {
	return append(appendRaw(append(appendHead(dst, Success), `,"pong":`...), ping), '}')
}

// A Talk is a conversation of the receiving user.
type Talk struct {
	With              string        // id of the other user
	Last              uint64        // number of the newest dialogue
	Got, Read         uint64        // what a client of the user has, and what the user has read
	PeerGot, PeerRead uint64        // the same of the other user
	Entry             *KeptDialogue // the newest dialogue; nil if there is none to show

	Pinned, Archived, Muted bool // the user's marks
}

// Append appends the conversation to dst as a JSON object. It omits marks that are not set.
func (t Talk) Append(dst []byte) []byte {
	dst = appendKey(dst, `{"with":`, t.With)
	dst = appendNumber(dst, `,"last":`, t.Last)
	dst = appendNumber(dst, `,"got":`, t.Got)
	dst = appendNumber(dst, `,"read":`, t.Read)
	dst = appendNumber(dst, `,"peerGot":`, t.PeerGot)
	dst = appendNumber(dst, `,"peerRead":`, t.PeerRead)
	dst = append(dst, `,"entry":`...)
	if t.Entry == nil {
		dst = append(dst, `null`...)
	} else {
		dst = t.Entry.Append(dst)
	}
	if t.Pinned {
		dst = append(dst, `,"pinned":true`...)
	}
	if t.Archived {
		dst = append(dst, `,"archived":true`...)
	}
	if t.Muted {
		dst = append(dst, `,"muted":true`...)
	}
	return append(dst, '}')
}

// Talks is the answer with the caller's conversations.
type Talks []Talk

// Append appends the answer to dst, with code 200. An empty list is null.
func (t Talks) Append(dst []byte) []byte {
	dst = append(appendHead(dst, Success), `,"talks":`...)
	return append(appendList(dst, t), '}')
}

// A History is the answer with dialogues of a conversation.
type History struct {
	Dialogues   []KeptDialogue // in the order of their numbers
	First, Last uint64         // numbers of the oldest and the newest dialogue that the caller may read; 0: none
}

// Append appends the answer to dst, with code 200. An empty list is null.
func (h History) Append(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(Success), 10)
	dst = append(dst, `,"dialogues":`...)
	dst = appendList(dst, h.Dialogues)
	dst = appendNumber(dst, `,"first":`, h.First)
	dst = appendNumber(dst, `,"last":`, h.Last)
	dst = appendKey(dst, `,"message":`, Success.Message())
	dst = append(dst, `,"ok":`...)
	dst = strconv.AppendBool(dst, Success.OK())
	return append(dst, '}')
}

func appendNumber(dst []byte, key string, n uint64) []byte {
	return strconv.AppendUint(append(dst, key...), n, 10)
}

// appendPositive appends nothing if n is 0.
func appendPositive(dst []byte, key string, n uint64) []byte {
	if n == 0 {
		return dst
	}
	return appendNumber(dst, key, n)
}

// appendTime appends a time in RFC 3339, in UTC, with milliseconds.
func appendTime(dst []byte, key string, t time.Time) []byte {
	t = t.UTC()
	// AppendFormat is several times as fast for this layout as for any other one.
	dst = t.AppendFormat(append(append(dst, key...), '"'), time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(dst[:len(dst)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z', '"')
}
