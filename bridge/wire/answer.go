package wire

import (
	"strconv"
	"time"
)

// A Friend is the profile of a friend of the receiving user. Name is the alias that the user set, or else the
// profile's own name.
type Friend struct {
	Profile
	Online bool `json:"online"`
}

// A Request is a friend request.
type Request struct {
	ID   string `json:"id"`   // id of the sender
	Name string `json:"name"` // name of the sender
	To   string `json:"to"`   // id of the receiver
	Note string `json:"note"`
}

// A Login is the answer to a successful login. Create it with [NewLogin].
type Login struct {
	Code     Code      `json:"code"`
	Friends  []Friend  `json:"friends"`
	Message  string    `json:"message"`
	OK       bool      `json:"ok"`
	Profile  Profile   `json:"profile"`
	Requests []Request `json:"requests"`
	Token    string    `json:"token"`
}

// NewLogin returns the answer with code 200. Lists may be empty.
func NewLogin(me Profile, friends []Friend, requests []Request, token string) Login {
	return Login{Success, friends, Success.Message(), Success.OK(), me, requests, token}
}

// Append appends the answer to dst. Empty lists are null.
func (l Login) Append(dst []byte) []byte {
	dst = appendList(AppendLoginBegin(dst), l.Friends)
	dst = appendList(AppendLoginMiddle(dst, l.Profile), l.Requests)
	return AppendLoginEnd(dst, l.Token)
}

// The answer to a login may be too large to be built at once. In pieces it is AppendLoginBegin, the list of friends,
// AppendLoginMiddle, the list of requests, and AppendLoginEnd. For a session with keep, AppendLoginTalks and the list of
// conversations are in front of AppendLoginEnd. A list is AppendItem for each entry, and AppendListEnd.

// AppendLoginBegin appends the answer up to the list of friends.
func AppendLoginBegin(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(Success), 10)
	return append(dst, `,"friends":`...)
}

// AppendLoginMiddle appends what is between the lists of friends and of requests.
func AppendLoginMiddle(dst []byte, me Profile) []byte {
	dst = appendKey(dst, `,"message":`, Success.Message())
	dst = append(dst, `,"ok":`...)
	dst = strconv.AppendBool(dst, Success.OK())
	dst = append(dst, `,"profile":`...)
	dst = me.Append(dst)
	return append(dst, `,"requests":`...)
}

// AppendLoginTalks appends what is between the lists of requests and of conversations.
func AppendLoginTalks(dst []byte) []byte { return append(dst, `,"talks":`...) }

// AppendLoginEnd appends what follows the last list.
func AppendLoginEnd(dst []byte, token string) []byte {
	return append(appendKey(dst, `,"token":`, token), '}')
}

// AppendItem appends an entry of a list that has n entries so far.
func AppendItem[T interface{ Append([]byte) []byte }](dst []byte, n int, entry T) []byte {
	return entry.Append(append(dst, "[,"[min(n, 1)]))
}

// AppendListEnd ends a list of n entries. An empty list is null.
func AppendListEnd(dst []byte, n int) []byte {
	if n == 0 {
		return append(dst, "null"...)
	}
	return append(dst, ']')
}

// A Found is the answer to a search. Create it with [NewFound].
type Found struct {
	Code    Code      `json:"code"`
	Found   []Profile `json:"found"`
	Message string    `json:"message"`
	OK      bool      `json:"ok"`
}

// NewFound returns the answer with code 200. The list may be empty.
func NewFound(found []Profile) Found {
	return Found{Success, found, Success.Message(), Success.OK()}
}

// Append appends the answer to dst. An empty list is null.
func (f Found) Append(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(f.Code), 10)
	dst = append(dst, `,"found":`...)
	dst = appendList(dst, f.Found)
	dst = appendKey(dst, `,"message":`, f.Message)
	dst = append(dst, `,"ok":`...)
	dst = strconv.AppendBool(dst, f.OK)
	return append(dst, '}')
}

// A Registration is the answer to the question which clients may register. Create it with [NewRegistration].
type Registration struct {
	Code         Code   `json:"code"`
	Message      string `json:"message"`
	OK           bool   `json:"ok"`
	Registration string `json:"registration"` // open, invite or closed

	MaxFile int64 `json:"-"` // bytes of a file, files.max; 0: the server takes no files
}

// NewRegistration returns the answer with code 200.
func NewRegistration(mode string) Registration {
	return Registration{Code: Success, Message: Success.Message(), OK: Success.OK(), Registration: mode}
}

// Append appends the answer to dst.
func (r Registration) Append(dst []byte) []byte {
	dst = appendHead(dst, r.Code)
	dst = appendKey(dst, `,"registration":`, r.Registration)
	if r.MaxFile > 0 {
		dst = strconv.AppendInt(append(dst, `,"files":{"max":`...), r.MaxFile, 10)
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// A Blocked is the answer to the list of blocked users. Create it with [NewBlocked].
type Blocked struct {
	Blocked []Profile `json:"blocked"`
	Code    Code      `json:"code"`
	Message string    `json:"message"`
	OK      bool      `json:"ok"`
}

// NewBlocked returns the answer with code 200. The list may be empty.
func NewBlocked(blocked []Profile) Blocked {
	return Blocked{blocked, Success, Success.Message(), Success.OK()}
}

// Append appends the answer to dst. An empty list is null.
func (b Blocked) Append(dst []byte) []byte {
	dst = append(dst, `{"blocked":`...)
	dst = appendList(dst, b.Blocked)
	dst = append(dst, `,"code":`...)
	dst = strconv.AppendInt(dst, int64(b.Code), 10)
	dst = appendKey(dst, `,"message":`, b.Message)
	dst = append(dst, `,"ok":`...)
	dst = strconv.AppendBool(dst, b.OK)
	return append(dst, '}')
}

// A Frame is any frame of the tunnel, except the answer to the login, as a client reads it with encoding/json. The
// code says which fields are set: 301 has a profile, 300, 302, 305, 525 and answers have only its ID, 303 and 304 have
// also N, 520 has a request, and 524 has a friend. A dialogue has no code, and N if it is kept.
type Frame struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	OK      bool   `json:"ok"`
	Profile
	Request  *Request `json:"request"`
	Friend   *Friend  `json:"friend"`
	From     string   `json:"from"`
	ToFriend string   `json:"toFriend"`
	Payload  string   `json:"payload"`

	With    string    `json:"with"`
	N       uint64    `json:"n"`
	At      time.Time `json:"at"`
	Re      uint64    `json:"re"`
	Reacts  uint64    `json:"reacts"`
	Edits   uint64    `json:"edits"`
	Deletes uint64    `json:"deletes"`
	Edited  bool      `json:"edited"`
	Deleted bool      `json:"deleted"`
	Own     bool      `json:"own"`
	Pong    string    `json:"pong"`
}

// AppendPresence appends 302 if the friend with that id is online, and 300 otherwise.
func AppendPresence(dst []byte, id string, online bool) []byte {
	if online {
		return appendIDFrame(dst, FriendOnline, id)
	}
	return appendIDFrame(dst, FriendOffline, id)
}

// AppendRemoved appends 525. id is the id of the removed friend.
func AppendRemoved(dst []byte, id string) []byte { return appendIDFrame(dst, FriendRemoved, id) }

func appendIDFrame(dst []byte, c Code, id string) []byte {
	dst = appendHead(dst, c)
	dst = appendKey(dst, `,"id":`, id)
	return append(dst, '}')
}

// AppendRefresh appends 301: the current profile of a friend, with its own name.
func AppendRefresh(dst []byte, p Profile) []byte {
	dst = appendHead(dst, RefreshProfile)
	dst = append(dst, ',')
	dst = p.appendKeys(dst)
	return append(dst, '}')
}

// AppendApply appends 520: a friend request.
func AppendApply(dst []byte, r Request) []byte {
	dst = appendHead(dst, FriendApply)
	dst = append(dst, `,"request":`...)
	dst = r.Append(dst)
	return append(dst, '}')
}

// AppendAdded appends 524: a request was accepted, and f is now a friend.
func AppendAdded(dst []byte, f Friend) []byte {
	dst = appendHead(dst, FriendAdded)
	dst = append(dst, `,"friend":`...)
	dst = f.Append(dst)
	return append(dst, '}')
}

// Append appends the friend to dst as a JSON object.
func (f Friend) Append(dst []byte) []byte {
	dst = append(dst, '{')
	dst = f.appendKeys(dst)
	dst = append(dst, `,"online":`...)
	dst = strconv.AppendBool(dst, f.Online)
	return append(dst, '}')
}

// Append appends the request to dst as a JSON object.
func (r Request) Append(dst []byte) []byte {
	dst = appendKey(dst, `{"id":`, r.ID)
	dst = appendKey(dst, `,"name":`, r.Name)
	dst = appendKey(dst, `,"to":`, r.To)
	dst = appendKey(dst, `,"note":`, r.Note)
	return append(dst, '}')
}

func appendKey(dst []byte, key, value string) []byte {
	return appendString(append(dst, key...), value)
}

func appendList[T interface{ Append([]byte) []byte }](dst []byte, list []T) []byte {
	for i, e := range list {
		dst = AppendItem(dst, i, e)
	}
	return AppendListEnd(dst, len(list))
}

// An Uploaded is the answer to the upload of a file. Create it with [NewUploaded].
type Uploaded struct{ file []byte }

// NewUploaded returns the answer with code 200. file is the file, a JSON object.
func NewUploaded(file []byte) Uploaded { return Uploaded{file} }

// Append appends the answer to dst.
func (u Uploaded) Append(dst []byte) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(Success), 10)
	dst = append(append(dst, `,"file":`...), u.file...)
	dst = appendKey(dst, `,"message":`, Success.Message())
	dst = append(dst, `,"ok":`...)
	dst = strconv.AppendBool(dst, Success.OK())
	return append(dst, '}')
}
