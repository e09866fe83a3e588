// Package wire encodes and parses the protocol: its codes, the frames of the tunnel, the parameters of the HTTP calls
// and the answers to both. It is independent of sockets, accounts and stores, and imports only the standard library.
//
// Two rules apply to all input. First, malformed input is [ProtocolError] before all other checks: text that is not
// JSON or not UTF-8, a known key of the wrong type or repeated, a control character in a one-line field, or a field
// that exceeds its limit. Second, keys are case-sensitive: a known key in another case is unknown, and unknown keys
// are ignored.
package wire

import (
	"sort"
	"strconv"
)

// A Code is the number in every answer and notice. Clients decide by it alone.
//
// It is also an error, so that a function that refuses a call can return the answer as the reason. The zero Code means
// that no fault was found. It is never sent.
type Code int

// The codes of the protocol, named after their messages. [All] says what each means.
const (
	Success           Code = 200
	DialogueKept      Code = 202
	FriendOffline     Code = 300
	RefreshProfile    Code = 301
	FriendOnline      Code = 302
	DialogueDelivered Code = 303
	DialogueRead      Code = 304
	FriendTyping      Code = 305
	Marked            Code = 306
	ProtocolError     Code = 403
	InternalError     Code = 500
	AccountEmpty      Code = 501
	PasswordEmpty     Code = 502
	MailEmpty         Code = 503
	AccountExists     Code = 504
	WrongCredentials  Code = 505
	DialogueIDEmpty   Code = 506
	SendFailed        Code = 507
	PeerOffline       Code = 508
	PayloadNotText    Code = 509
	FriendIDEmpty     Code = 510
	PayloadEmpty      Code = 511
	NotFriends        Code = 512
	LoginElsewhere    Code = 513
	AuthEmpty         Code = 514
	AuthIllegal       Code = 515
	NameEmpty         Code = 516
	AccountIDEmpty    Code = 517
	FriendEmpty       Code = 519
	FriendApply       Code = 520
	AliasEmpty        Code = 521
	AlreadyFriends    Code = 522
	FriendNotExists   Code = 523
	FriendAdded       Code = 524
	FriendRemoved     Code = 525

	QuotaExceeded Code = 526

	SignInElsewhere Code = 527
)

// An Info describes one code.
type Info struct {
	Code    Code
	Message string // exact text of the code on the wire
	OK      bool   // flag of the code on the wire
	Meaning string // when the server sends it
	Client  string // what a client should do
}

// All returns every code in ascending order. The caller may modify the slice.
func All() []Info { return append([]Info(nil), codes[:]...) }

// Message returns the text of the code on the wire, or "" if the protocol does not have the code.
func (c Code) Message() string { return c.info().Message }

// OK returns the flag of the code on the wire: true for success and news, false for a refusal.
func (c Code) OK() bool { return c.info().OK }

// Error returns the code and its message, such as "523 Friend Not Exists".
func (c Code) Error() string {
	s := strconv.Itoa(int(c))
	if m := c.Message(); m != "" {
		s += " " + m
	}
	return s
}

func (c Code) info() Info {
	i := sort.Search(len(codes), func(i int) bool { return codes[i].Code >= c })
	if i < len(codes) && codes[i].Code == c {
		return codes[i]
	}
	return Info{}
}

// AppendReply appends the answer with code c to dst:
//
//	{"code":200,"message":"Success","ok":true,"id":"7"}
//
// id is the id of the dialogue as in [Send]. The key is omitted if id is nil.
func AppendReply(dst []byte, c Code, id RawString) []byte {
	dst = appendHead(dst, c)
	if id != nil {
		dst = append(dst, `,"id":`...)
		dst = append(dst, id...)
	}
	return append(dst, '}')
}

// appendHead opens an object with the three keys of every answer.
func appendHead(dst []byte, c Code) []byte {
	info := c.info()
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(c), 10)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, info.Message)
	dst = append(dst, `,"ok":`...)
	return strconv.AppendBool(dst, info.OK)
}
