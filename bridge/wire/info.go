package wire

import "encoding/json"

// ServerInfo is what a client may know of a server before it logs in.
type ServerInfo struct {
	Version      string   `json:"version,omitempty"` // of the program; "": the operator does not tell it
	Protocol     int      `json:"protocol"`          // ProtocolVersion
	Features     []string `json:"features"`
	Registration string   `json:"registration"` // open, invite or closed
	Page         string   `json:"page"`         // version of the page, as in its path
	Auth         []string `json:"auth"`         // what checks a password, in order: builtin, nats, jwt
	OIDC         *SignIn  `json:"oidc,omitempty"`
	// Ping is how many seconds apart the server's pings are at most. Silence is after how many seconds without a byte of
	// the server, pings included, a client closes the tunnel.
	Ping    int        `json:"ping"`
	Silence int        `json:"silence"`
	Limits  InfoLimits `json:"limits"`
}

// SignIn is the OpenID Connect provider at which users of the page sign in.
type SignIn struct {
	Label string `json:"label"` // its name for users
}

// ProtocolVersion grows when a client of an older version would misunderstand the server.
const ProtocolVersion = 1

// MaxHeader is the bytes of the largest header of a request: the URL with the query of a login is in it.
const MaxHeader = 16 << 10

// InfoLimits are the sizes that a server accepts. 0 means no limit, and is not shown.
type InfoLimits struct {
	// Bytes.
	Header  int   `json:"header"`  // of a request, with its URL
	Body    int   `json:"body"`    // of a call
	Login   int   `json:"login"`   // of the call that answers a ticket
	Frame   int   `json:"frame"`   // from the client
	Payload int   `json:"payload"` // of a dialogue, encoded as JSON, beside an id of 36 bytes
	Picture int   `json:"picture,omitempty"`
	File    int64 `json:"file,omitempty"`

	// Characters.
	Account     int `json:"account"`
	PasswordMin int `json:"password_min"`
	PasswordMax int `json:"password_max"`
	Name        int `json:"name"`
	Alias       int `json:"alias"`
	Sex         int `json:"sex"`
	Birthday    int `json:"birthday"`
	Sign        int `json:"sign"`
	Mail        int `json:"mail"`
	Note        int `json:"note"`

	// Entries.
	History  int `json:"history,omitempty"` // of a page
	People   int `json:"people"`            // of a page
	Friends  int `json:"friends,omitempty"`
	Requests int `json:"requests,omitempty"` // that are pending
	Sessions int `json:"sessions,omitempty"` // of a user at the same time
	InFlight int `json:"in_flight"`          // dialogues of a session without an answer
}

// Append appends the answer to dst, with code 200.
func (i ServerInfo) Append(dst []byte) []byte {
	info, err := json.Marshal(i)
	if err != nil {
		panic(err) // impossible: it has only texts and numbers
	}
	dst = append(append(appendHead(dst, Success), `,"info":`...), info...)
	return append(dst, '}')
}
