package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

// A Command is what one node tells the others. It is in force on a node when that node has answered it. On the wire a
// command is a JSON object: the name in "op" beside the fields of the struct.
type Command interface{ op() string }

// Handler carries out the commands that a node receives. The methods may be called concurrently.
type Handler interface {
	RosterChanged(RosterChanged)
	Befriended(Befriended)
	ProfileChanged(ProfileChanged)
	CloseSessions(CloseSessions)
	ListSessions(ListSessions) []Session
	ClientConnected(ClientConnected)
	// NodeStarted is called when a node registers.
	NodeStarted(NodeStarted)
	// NodeLost is called after a crashed node was removed from the list.
	NodeLost()
	// ConsumerAttached is called after a consumer of the event log was created.
	ConsumerAttached()
	ModeratorChanged(ModeratorChanged)
	// CheckState is called when a restore has marked the state, or put other buckets into use.
	CheckState()
	Disconnect(Disconnect)
	Status() NodeStatus
	// TakeTicket returns what the ticket with a hash stands for, once. nil: there is no such ticket.
	TakeTicket(hash string) []byte
	GatewayOpened(GatewayOpened)
	GatewayChanged(GatewayChanged)
}

// RosterChanged tells that Other is a friend of User, or not, as of a revision of User's roster.
type RosterChanged struct {
	User     string `json:"user"`
	Other    string `json:"other"`
	Friend   bool   `json:"friend,omitempty"`
	Revision uint64 `json:"revision,omitempty"`
	Blocks
}

// Blocks tells which of two friends blocks the other.
type Blocks struct {
	Blocked   bool `json:"blocked,omitempty"`    // User blocks Other
	BlockedBy bool `json:"blocked_by,omitempty"` // Other blocks User
}

// Befriended tells of new friendships.
type Befriended struct {
	Friends []Friendship `json:"friends,omitempty"`
}

// Friendship is one end of a friendship: that of User.
type Friendship struct {
	User     string `json:"user"`
	Other    string `json:"other"`
	Alias    string `json:"alias,omitempty"` // that User gave Other
	Revision uint64 `json:"revision"`        // of User's roster
	Blocks
}

// ProfileChanged tells that a user has changed its profile.
type ProfileChanged struct {
	User string `json:"user"`
}

// CloseSessions closes sessions of a user. IDs, Token and KeepToken select among them. Empty fields select all.
type CloseSessions struct {
	User      string   `json:"user"`
	IDs       []string `json:"sessions,omitempty"`
	Token     string   `json:"token_hash,omitempty"`      // only sessions that live by this token
	KeepToken string   `json:"keep_token_hash,omitempty"` // no session that lives by this token
	Frame     []byte   `json:"frame,omitempty"`           // the last frame of the session; empty: none
	Code      int      `json:"code,omitempty"`            // of the WebSocket's close frame
	Reason    string   `json:"reason,omitempty"`
}

// ListSessions asks for sessions, oldest first. Empty fields select all.
type ListSessions struct {
	User  string `json:"user,omitempty"`
	Limit int    `json:"limit,omitempty"`
	After Cursor `json:"after,omitzero"`
	Node  string `json:"node,omitempty"`
	Joins string `json:"joins,omitempty"` // the node on which User is logging in, if it is
}

// ClientConnected tells that a user logs in to NATS.
type ClientConnected struct {
	User string `json:"user"`
}

// NodeStarted tells that a node has registered.
type NodeStarted struct {
	Back bool   `json:"back,omitempty"` // it had registered before and lost its connection to NATS
	From string `json:"from,omitempty"` // its id; nodes of older versions do not tell it
	// Protocol is what the node speaks, 0 for nodes of older versions.
	Protocol int `json:"protocol,omitempty"`
}

// ping is a heartbeat, and asks a suspect whether it is alive.
type ping struct {
	From     string `json:"from,omitempty"` // id of the node that sends it; "": the sender is no node
	Protocol int    `json:"protocol,omitempty"`
}

// nodeLost tells that a node was struck off the list.
type nodeLost struct {
	Node string `json:"node,omitempty"` // nodes of older versions do not tell it
}

// Disconnect closes the connections to NATS of the client with that connection name, on nodes with a system account.
type Disconnect struct {
	Name string `json:"name"`
}

// takeTicket asks for what a ticket of the node stands for. Hash is that of the ticket.
type takeTicket struct {
	Hash string `json:"ticket_hash"`
}

// ModeratorChanged tells that an attachment with the role moderator was added, or removed.
type ModeratorChanged struct {
	Name    string `json:"name"`
	Removed bool   `json:"removed,omitempty"`
}

// Commands without fields.
type (
	consumerAttached struct{}
	checkState       struct{}
	status           struct{}
)

// unknown is a command of a later version. A node answers it without doing anything, so that the sender need not wait.
type unknown string

func (RosterChanged) op() string    { return "roster" }
func (Befriended) op() string       { return "friends" }
func (ProfileChanged) op() string   { return "profile" }
func (CloseSessions) op() string    { return "close" }
func (ListSessions) op() string     { return "sessions" }
func (ClientConnected) op() string  { return "client" }
func (NodeStarted) op() string      { return "hello" }
func (Disconnect) op() string       { return "kick" }
func (nodeLost) op() string         { return "gone" }
func (ping) op() string             { return "ping" }
func (consumerAttached) op() string { return "log" }
func (ModeratorChanged) op() string { return "moderator" }
func (checkState) op() string       { return "state" }
func (status) op() string           { return "status" }
func (takeTicket) op() string       { return "ticket" }
func (c unknown) op() string        { return string(c) }

// report is a node's answer to a command.
type report struct {
	Sessions []Session   `json:"sessions,omitempty"`
	Status   *NodeStatus `json:"status,omitempty"`
	// Doubt answers a heartbeat: the node may be about to strike the sender off the list.
	Doubt bool `json:"doubt,omitempty"`
	// Ticket is what a ticket stands for, encrypted.
	Ticket []byte `json:"ticket,omitempty"`
}

// encode returns the JSON of a command.
func encode(c Command) ([]byte, error) {
	fields, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"op":%q`, c.op())
	if len(fields) > len(`{}`) {
		b.WriteByte(',')
	}
	b.Write(fields[1:])
	return b.Bytes(), nil
}

// decode returns the command of a JSON object.
func decode(data []byte) (Command, error) {
	var head struct {
		Op string `json:"op"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, err
	}
	switch head.Op {
	case RosterChanged{}.op():
		return as[RosterChanged](data)
	case Befriended{}.op():
		return as[Befriended](data)
	case ProfileChanged{}.op():
		return as[ProfileChanged](data)
	case CloseSessions{}.op():
		return as[CloseSessions](data)
	case ListSessions{}.op():
		return as[ListSessions](data)
	case ClientConnected{}.op():
		return as[ClientConnected](data)
	case NodeStarted{}.op():
		return as[NodeStarted](data)
	case Disconnect{}.op():
		return as[Disconnect](data)
	case nodeLost{}.op():
		return as[nodeLost](data)
	case ping{}.op():
		return as[ping](data)
	case ModeratorChanged{}.op():
		return as[ModeratorChanged](data)
	case consumerAttached{}.op():
		return consumerAttached{}, nil
	case checkState{}.op():
		return checkState{}, nil
	case status{}.op():
		return status{}, nil
	case takeTicket{}.op():
		return as[takeTicket](data)
	case GatewayOpened{}.op():
		return as[GatewayOpened](data)
	case GatewayChanged{}.op():
		return as[GatewayChanged](data)
	}
	return unknown(head.Op), nil
}

func as[C Command](data []byte) (Command, error) {
	var c C
	err := json.Unmarshal(data, &c)
	return c, err
}

// dispatch has h carry out a command.
func dispatch(h Handler, c Command) (r report) {
	switch c := c.(type) {
	case RosterChanged:
		h.RosterChanged(c)
	case Befriended:
		h.Befriended(c)
	case ProfileChanged:
		h.ProfileChanged(c)
	case CloseSessions:
		h.CloseSessions(c)
	case ListSessions:
		r.Sessions = h.ListSessions(c)
	case ClientConnected:
		h.ClientConnected(c)
	case NodeStarted:
		h.NodeStarted(c)
	case Disconnect:
		h.Disconnect(c)
	case nodeLost:
		h.NodeLost()
	case ModeratorChanged:
		h.ModeratorChanged(c)
	case consumerAttached:
		h.ConsumerAttached()
	case checkState:
		h.CheckState()
	case status:
		s := h.Status()
		r.Status = &s
	case takeTicket:
		r.Ticket = h.TakeTicket(c.Hash)
	case GatewayOpened:
		h.GatewayOpened(c)
	case GatewayChanged:
		h.GatewayChanged(c)
	case ping, unknown:
	}
	return r
}

// ConsumerAttached has the event log of every node take notice of a new consumer. Every dialogue that is sent after it
// returns, and answered with 200, is in the log.
func (c *Cluster) ConsumerAttached(ctx context.Context) error {
	return c.Broadcast(ctx, consumerAttached{})
}

// ModeratorChanged tells all nodes that a moderator was added or removed. When it returns, every node asks the new
// moderator, or no longer asks the removed one.
func (c *Cluster) ModeratorChanged(ctx context.Context, name string, removed bool) error {
	return c.Broadcast(ctx, ModeratorChanged{Name: name, Removed: removed})
}

// TakeTicket takes a ticket, by its hash, from the node that issued it. It returns nil if the node has no such ticket,
// or has ended.
//
// Errors: only those of NATS and ctx.
func (c *Cluster) TakeTicket(ctx context.Context, node, hash string) ([]byte, error) {
	body, err := encode(takeTicket{hash})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, CommandTimeout)
	defer cancel()
	r, err := c.request(ctx, node, body)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, nil
	}
	return r.Ticket, err
}
