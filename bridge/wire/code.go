// Package wire is the protocol as bytes: its codes, the frames of the tunnel, the parameters
// of the HTTP calls and the answers to both. It knows nothing of sockets, accounts or stores, and
// imports the standard library alone.
//
// Two rules hold for everything that it parses. What is malformed is [ProtocolError] before any
// other fault is looked at: text that is not JSON or not UTF-8, a known key of the wrong type or given twice,
// a control character where a line of text belongs, a field past its limit. And keys are exact: a known
// key in another case is an unknown one, and unknown keys are skipped.
package wire

import (
	"sort"
	"strconv"
)

// A Code is the number that every answer and notice carries. A client decides by it alone.
//
// It is an error too, so that a function which refuses a call may return the answer as the reason.
// The zero Code says that nothing is wrong so far; no frame carries it.
type Code int

// The codes of the protocol, named after their messages. [All] says what each means.
const (
	Success          Code = 200
	FriendOffline    Code = 300
	RefreshProfile   Code = 301
	FriendOnline     Code = 302
	ProtocolError    Code = 403
	InternalError    Code = 500
	AccountEmpty     Code = 501
	PasswordEmpty    Code = 502
	MailEmpty        Code = 503
	AccountExists    Code = 504
	WrongCredentials Code = 505
	DialogueIDEmpty  Code = 506
	SendFailed       Code = 507
	PeerOffline      Code = 508
	PayloadNotText   Code = 509
	FriendIDEmpty    Code = 510
	PayloadEmpty     Code = 511
	NotFriends       Code = 512
	LoginElsewhere   Code = 513
	AuthEmpty        Code = 514
	AuthIllegal      Code = 515
	NameEmpty        Code = 516
	AccountIDEmpty   Code = 517
	FriendEmpty      Code = 519
	FriendApply      Code = 520
	AliasEmpty       Code = 521
	AlreadyFriends   Code = 522
	FriendNotExists  Code = 523
	FriendAdded      Code = 524
	FriendRemoved    Code = 525
)

// An Info is all there is to know about one code.
type Info struct {
	Code    Code
	Message string // the text that goes with the code on the wire, to the letter
	OK      bool   // the flag that goes with it
	Meaning string // when the server sends it
	Client  string // what a client should do about it
}

// All returns every code in ascending order. The slice is the caller's own.
func All() []Info { return append([]Info(nil), codes[:]...) }

// Known tells whether the protocol has the code.
func (c Code) Known() bool { return c.info().Code == c && c != 0 }

// Message returns the code's text on the wire, or "" for a code that the protocol does not have.
func (c Code) Message() string { return c.info().Message }

// OK returns the flag that goes with the code: true for a success and for news, false for a refusal.
func (c Code) OK() bool { return c.info().OK }

// Error returns the code and its message, "523 Friend Not Exists".
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
// The id is the dialogue's as it came, see [Send]; nil leaves the key out.
func AppendReply(dst []byte, c Code, id RawString) []byte {
	dst = appendHead(dst, c)
	if id != nil {
		dst = append(dst, `,"id":`...)
		dst = append(dst, id...)
	}
	return append(dst, '}')
}

// appendHead opens an object with the three keys that every answer begins with.
func appendHead(dst []byte, c Code) []byte {
	info := c.info()
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(c), 10)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, info.Message)
	dst = append(dst, `,"ok":`...)
	return strconv.AppendBool(dst, info.OK)
}
