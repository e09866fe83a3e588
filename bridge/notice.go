package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// A notice tells the nodes that hold a user, and the user's clients, what happened to it. Its body is the frame that
// a client is shown; what a node has to do is in the headers, so that a NATS client may read the body alone.
const (
	headerOp       = "Imctl-Op"       // one of the ops below
	headerOther    = "Imctl-Other"    // the other user, for opFriend and opUnfriend
	headerRevision = "Imctl-Revision" // of this user's roster with the change in it
	headerClose    = "Imctl-Close"    // the WebSocket's close code, for opClose
	headerReason   = "Imctl-Reason"   // the close frame's text
	headerSession  = "Imctl-Session"  // ids of the sessions that opClose is for, comma separated; none: all
)

type op string

const (
	opFrame    op = "frame"    // nothing but the frame
	opFriend   op = "friend"   // other is a friend from this revision on
	opUnfriend op = "unfriend" // and no longer
	opClose    op = "close"    // sessions end
)

// notice is a notice as a node reads and writes it.
type notice struct {
	op        op
	frame     []byte // for clients; nil: none
	other     string
	revision  uint64
	sessions  []string
	last      []byte // the last frame of a session that ends
	closeCode int
	reason    string
}

func (n *notice) concerns(s *session) bool {
	return len(n.sessions) == 0 || slices.Contains(n.sessions, s.id)
}

func (n *notice) msg(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	m.Header.Set(headerOp, string(n.op))
	m.Data = n.frame
	switch n.op {
	case opFriend, opUnfriend:
		m.Header.Set(headerOther, n.other)
		m.Header.Set(headerRevision, strconv.FormatUint(n.revision, 10))
	case opClose:
		m.Data = n.last
		m.Header.Set(headerClose, strconv.Itoa(n.closeCode))
		m.Header.Set(headerReason, n.reason)
		if len(n.sessions) > 0 {
			m.Header.Set(headerSession, strings.Join(n.sessions, ","))
		}
	}
	return m
}

func parseNotice(m *nats.Msg) (notice, error) {
	n := notice{op: op(m.Header.Get(headerOp))}
	var err error
	switch n.op {
	case opFrame:
	case opFriend, opUnfriend:
		n.other = m.Header.Get(headerOther)
		if n.revision, err = strconv.ParseUint(m.Header.Get(headerRevision), 10, 64); err != nil {
			return n, fmt.Errorf("%s: %w", headerRevision, err)
		}
	case opClose:
		n.last, n.reason = m.Data, m.Header.Get(headerReason)
		if n.closeCode, err = strconv.Atoi(m.Header.Get(headerClose)); err != nil {
			return n, fmt.Errorf("%s: %w", headerClose, err)
		}
		if list := m.Header.Get(headerSession); list != "" {
			n.sessions = strings.Split(list, ",")
		}
	default:
		return n, fmt.Errorf("%s: %q is none that is known", headerOp, n.op)
	}
	return n, nil
}

// closed is the notice that ends sessions of a user.
func closed(code wire.Code, reason string, sessions ...string) notice {
	n := notice{op: opClose, closeCode: websocket.ClosePolicyViolation, reason: reason, sessions: sessions}
	if code != 0 {
		n.last = wire.AppendReply(nil, code, nil)
	}
	return n
}

// noticeWait bounds how long a change waits for the nodes that have to know of it.
const noticeWait = 5 * time.Second

// notify sends a notice to the nodes that hold the user, and returns once it is in force there. A user that nobody
// holds needs none.
func (s *Service) notify(ctx context.Context, id string, n notice) error {
	ctx, cancel := context.WithTimeout(ctx, noticeWait)
	defer cancel()
	_, err := s.nc.RequestMsgWithContext(ctx, n.msg(s.o.Prefix+".user."+id+"."+leafNotice))
	if err != nil && !errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("notice %s to user %s: %w", n.op, id, err)
	}
	return nil
}
