package api

import (
	"context"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/answer"
	"imctl/bridge/im"
	"imctl/bridge/recovery"
	"imctl/bridge/wire"
)

// A gateway sends dialogues and makes calls in the name of users of its own, on <prefix>.gateway.<name>.send.<id> and
// <prefix>.gateway.<name>.call.<id>.<call>. The subject names the gateway. Whether the user is its own is checked here.

const (
	gatewayQueue = 2 << 10 // dialogues of one gateway that wait; further ones are answered with 507
	gatewayCalls = 32      // concurrent calls of all gateways; more wait
)

// Gateways tells which users gateways speak for. gateway.Service is one.
type Gateways interface {
	// Owns returns nil if a user belongs to a gateway. Errors: wire.AuthIllegal.
	Owns(ctx context.Context, gateway, user string) error
	// ReserveSend counts a dialogue of a gateway, and returns how long it has to wait, and whether that is not too long.
	ReserveSend(gateway string, longest time.Duration) (time.Duration, bool)
	// AllowCall counts a call of a gateway as n calls. Errors: governor.ErrLimited.
	AllowCall(gateway string, n int) error
}

// notForGateways are the calls for people and their devices: passwords, mail addresses and sessions. The users of gateways
// have none.
var notForGateways = []string{"verify", "mailcode", "sessions", "end"}

func mayGatewayCall(name string) bool { return !slices.Contains(notForGateways, name) }

// receiveGatewaySend queues a dialogue of a user of a gateway. The user is checked when the dialogue is sent, so that the
// check of one user does not delay others.
func (s *NATSServer) receiveGatewaySend(m *nats.Msg) {
	opts := &s.api.opts
	name, words := opts.Prefix.ParseGateway(m.Subject)
	if !s.mayReplyTo(m, name) {
		return
	}
	if opts.MaxFrame > 0 && len(m.Data) > opts.MaxFrame {
		s.answer(m, wire.ProtocolError, nil)
		return
	}
	wait, ok := opts.Gateways.ReserveSend(name, opts.Timeout)
	if !ok || !s.enqueue(sending{user: words[1], gateway: name}, queuedSend{m, time.Now().Add(wait)}) {
		s.refuseSend(m, name)
	}
}

// count counts dialogues in the queues of a gateway. The caller holds s.mu.
func (s *NATSServer) count(by sending, n int) {
	if by.gateway == "" {
		return
	}
	if s.of[by.gateway] += n; s.of[by.gateway] == 0 {
		delete(s.of, by.gateway)
	}
}

// admit checks that a gateway may send for a user, and has the dialogue wait for the user's rate. It answers a dialogue
// that it refuses.
func (s *NATSServer) admit(by sending, q *queuedSend) bool {
	opts := &s.api.opts
	ctx, cancel := context.WithTimeout(context.Background(), opts.Timeout)
	defer cancel()
	if err := opts.Gateways.Owns(ctx, by.gateway, by.user); err != nil {
		s.answer(q.m, answer.CodeOf(opts.Logger, "send for a gateway", err), nil)
		return false
	}
	wait, ok := opts.Governor.ReserveSend(by.user, opts.Timeout)
	if !ok {
		s.refuseSend(q.m, by.gateway)
		return false
	}
	if due := time.Now().Add(wait); due.After(q.due) {
		q.due = due
	}
	return true
}

// mayReplyTo is mayReply for a gateway.
func (s *NATSServer) mayReplyTo(m *nats.Msg, gateway string) bool {
	if s.api.opts.Prefix.InAttachmentInbox(m.Reply, gateway) {
		return true
	}
	s.api.opts.Logger.Debug("the reply subject of a gateway is outside its inbox", "gateway", gateway)
	return false
}

// receiveGatewayCall serves a call of a user of a gateway.
func (s *NATSServer) receiveGatewayCall(m *nats.Msg) {
	opts := &s.api.opts
	gateway, words := opts.Prefix.ParseGateway(m.Subject)
	if !s.mayReplyTo(m, gateway) {
		return
	}
	refused := func(err error) { s.refuse(m, gateway, "gateway", err) }
	if err := opts.Gateways.AllowCall(gateway, 1); err != nil {
		refused(err)
		return
	}
	s.gateways.Run(gateway, false, len(m.Data), func() {
		defer recovery.Log(opts.Logger, "call of a gateway's user")
		user, name := words[1], words[2]
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		if err := opts.Gateways.Owns(ctx, gateway, user); err != nil {
			refused(err)
			return
		}
		s.call(m, &request{client: user, gateway: gateway}, name)
	}, refused)
}

// proofOf returns the proof of a call that changes how an account is recovered, or ends it. The users of a gateway have no
// password: the gateway needs none to delete them.
func (r *request) proofOf(field string) im.Proof {
	p := r.proof(field)
	p.Owner = r.gateway
	return p
}
