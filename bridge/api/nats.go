package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/nats-io/nats.go"

	"imctl/bridge/answer"
	"imctl/bridge/delivery"
	"imctl/bridge/governor"
	"imctl/bridge/natsutil"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// A user that is a NATS client has no tunnel. It sends dialogues by requests on <prefix>.send.<id>, and calls by
// requests on <prefix>.call.<id>.<call>. The subject tells who the user is: NATS does not let a client publish on the
// subject of another user. All nodes share the requests in a queue group.

const (
	concurrentSends = 8
	sendQueue       = 8 << 10 // dialogues that wait; further ones are answered with 507
	concurrentCalls = 64      // more wait, and NATS buffers them
)

// NATSServer serves users that are NATS clients.
type NATSServer struct {
	api   *API
	calls map[string]*Call
	slots chan struct{} // one element for each call that runs
	sends chan struct{} // one element for each dialogue that is sent
	wg    sync.WaitGroup
	subs  []*nats.Subscription
	done  chan struct{} // closed when queued dialogues no longer wait for the rate limit

	mu      sync.Mutex               // guards the fields below
	queues  map[sending][]queuedSend // each has a goroutine that sends its dialogues
	waiting int                      // in all queues
	of      map[string]int           // in the queues of each gateway

	reads    *governor.ProgramQueue // the calls of readers, and of services besides those of their users
	gateways *governor.ProgramQueue // the calls of gateways for their users
	refusals *governor.HoldBack
	inboxes  *lru.Cache[string, string] // the users of services whose calls were served, by the name of the service
}

// sending is a user that sends dialogues by NATS, and the gateway that speaks for it, "" for none.
type sending struct{ user, gateway string }

// queuedSend is a dialogue that waits to be sent.
type queuedSend struct {
	m   *nats.Msg
	due time.Time // by the client's rate, or by that of all users of the gateway
}

// ServeNATS starts to serve NATS clients on nc.
func (a *API) ServeNATS(nc *nats.Conn) (*NATSServer, error) {
	s := &NATSServer{api: a, calls: make(map[string]*Call), slots: make(chan struct{}, concurrentCalls),
		sends: make(chan struct{}, concurrentSends), done: make(chan struct{}), queues: make(map[sending][]queuedSend), of: make(map[string]int),
		reads: a.opts.Governor.NewProgramQueue(governor.ProgramCalls, concurrentReads), gateways: a.opts.Governor.NewProgramQueue(governor.GatewayCalls, gatewayCalls),
		refusals: a.opts.Governor.NewHoldBack()}
	s.inboxes, _ = lru.New[string, string](maxInboxes) // fails only for sizes below 1
	for i := range a.calls {
		if c := &a.calls[i]; c.NATS {
			s.calls[c.Name] = c
		}
	}
	handlers := map[string]nats.MsgHandler{
		a.opts.Prefix.SendAny(): s.receiveSend,
		a.opts.Prefix.CallAny(): s.receiveCall,

		a.opts.Prefix.ReadAny():    s.receiveAttachment(readCalls, kv.Role.Reads),
		a.opts.Prefix.ServiceAny(): s.receiveAttachment(serviceCalls, func(r kv.Role) bool { return r == kv.RoleService }),
	}
	if a.opts.Gateways != nil {
		handlers[a.opts.Prefix.Gateway("*", "send", "*")] = s.receiveGatewaySend
		handlers[a.opts.Prefix.Gateway("*", "call", "*", "*")] = s.receiveGatewayCall
	}
	for filter, handle := range handlers {
		sub, err := nc.QueueSubscribe(filter, subject.QueueGroup, handle)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve %s: %w", filter, err), s.Close())
		}
		s.subs = append(s.subs, sub)
	}
	return s, nil
}

// Close stops serving, and waits for the requests that were accepted.
func (s *NATSServer) Close() error {
	var failed []error
	for _, sub := range s.subs {
		failed = append(failed, natsutil.Drain(sub))
	}
	close(s.done)
	s.reads.Close()
	s.gateways.Close()
	s.wg.Wait()
	s.refusals.Close()
	return errors.Join(failed...)
}

// receiveSend queues a dialogue. A dialogue over the client's rate waits, but no longer than the timeout of a dialogue.
func (s *NATSServer) receiveSend(m *nats.Msg) {
	opts := &s.api.opts
	user := opts.Prefix.ParseSend(m.Subject)
	if !s.mayReply(m, user) {
		return
	}
	if opts.MaxFrame > 0 && len(m.Data) > opts.MaxFrame {
		s.answer(m, wire.ProtocolError, nil)
		return
	}
	wait, ok := opts.Governor.ReserveSend(user, opts.Timeout)
	if !ok || !s.enqueue(sending{user: user}, queuedSend{m, time.Now().Add(wait)}) {
		s.refuseSend(m, user)
	}
}

// refuseSend answers a dialogue for which its sender, or its gateway, has no room left. by is the one of the two.
func (s *NATSServer) refuseSend(m *nats.Msg, by string) {
	s.api.opts.Dialogues.Dropped(delivery.DropSendQueue)
	m.Data = nil // the answer may be held back
	s.refusals.Answer(by, func() { s.answer(m, wire.SendFailed, nil) })
}

// enqueue queues a dialogue. It returns false if there is no room.
func (s *NATSServer) enqueue(by sending, q queuedSend) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == sendQueue || by.gateway != "" && s.of[by.gateway] == gatewayQueue {
		return false
	}
	s.waiting++
	s.count(by, 1)
	queue, working := s.queues[by]
	s.queues[by] = append(queue, q)
	if !working {
		s.wg.Go(func() { s.work(by) })
	}
	return true
}

// work sends the queued dialogues of a user, in order, until none is left.
func (s *NATSServer) work(by sending) {
	for {
		s.mu.Lock()
		queue := s.queues[by]
		if len(queue) == 0 {
			delete(s.queues, by)
			s.mu.Unlock()
			return
		}
		q := queue[0]
		queue[0] = queuedSend{}
		s.queues[by] = queue[1:]
		s.waiting--
		s.count(by, -1)
		s.mu.Unlock()
		if by.gateway != "" && !s.admit(by, &q) {
			continue
		}
		if wait := time.Until(q.due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.done: // sends the accepted dialogues without delay
			}
		}
		s.sends <- struct{}{}
		s.send(by.user, q.m)
		<-s.sends
	}
}

// send sends a dialogue. It reads the roster from the bucket: there is no session that holds it in memory.
func (s *NATSServer) send(user string, m *nats.Msg) {
	opts := &s.api.opts
	defer recovery.Log(opts.Logger, "dialogue by NATS")
	s.markOnline(user)
	send, kept, code := s.parse(m.Data)
	if code != 0 {
		s.answer(m, code, send.ID)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), opts.Timeout)
	defer cancel()
	if opts.Gate.Closed() {
		s.answer(m, wire.SendFailed, send.ID)
		return
	}
	to := string(send.To)
	roster, _, err := opts.Store.Rosters.Get(ctx, user)
	if err != nil {
		s.answer(m, answer.CodeOf(opts.Logger, "send", err), send.ID)
		return
	}
	with := delivery.RelationOf(roster, to)
	if !with.MaySend() {
		s.answer(m, wire.NotFriends, send.ID)
		return
	}
	if send.IDEmpty() {
		s.answer(m, wire.DialogueIDEmpty, nil)
		return
	}
	if opts.Lanes.Keeps() {
		err = opts.Lanes.Keep(user, to, with, kept, &sender{s, m, user, to})
	} else {
		err = opts.Lanes.Send(user, to, with, send.ID, send.Payload, &sender{s, m, user, to})
	}
	if err != nil {
		s.answer(m, wire.SendFailed, send.ID)
	}
}

// parse parses a dialogue. Where conversations are kept, it may have the optional fields of kept dialogues.
func (s *NATSServer) parse(data []byte) (wire.Send, kv.Dialogue, wire.Code) {
	if !s.api.opts.Lanes.Keeps() {
		send, code := wire.ParseSend(data)
		return send, kv.Dialogue{}, code
	}
	f, code := wire.ParseKeep(data)
	if code == 0 && f.Kind != wire.KeepDialogue {
		code = wire.ProtocolError
	}
	return f.Send, delivery.DialogueOf(f), code
}

// sender is the delivery.Sender of a NATS client's dialogue.
type sender struct {
	server   *NATSServer
	m        *nats.Msg
	from, to string
}

// Relation returns what the sender's roster says now of the friend.
func (s *sender) Relation() (delivery.Relation, error) {
	opts := &s.server.api.opts
	ctx, cancel := context.WithTimeout(context.Background(), opts.Timeout)
	defer cancel()
	roster, _, err := opts.Store.Rosters.Get(ctx, s.from)
	return delivery.RelationOf(roster, s.to), err
}

func (s *sender) Answered(id []byte, code wire.Code, took time.Duration) {
	s.server.api.opts.Dialogues.Took(took)
	s.server.answer(s.m, code, id)
}

// Kept implements delivery.Sender.
func (s *sender) Kept(id []byte, n uint64, at time.Time, took time.Duration) {
	s.server.api.opts.Dialogues.Took(took)
	s.server.api.opts.Dialogues.Answered(wire.DialogueKept)
	s.server.respond(s.m, wire.AppendKeptAnswer(nil, id, n, at))
}

// markOnline notes, for the user's sessions on this node, that the user also has a NATS client.
func (s *NATSServer) markOnline(user string) {
	if u := s.api.opts.Lanes.User(user); u != nil {
		u.MarkElsewhere()
	}
}

// mayReply reports whether the reply subject of a request is in the client's own inbox. NATS lets a client name any
// subject, also one on which it may not publish: the answer could pass for another user's dialogue, for a command to
// JetStream, or for the answer to another client. A request without a reply subject is ignored too: no client would
// hear of its result.
func (s *NATSServer) mayReply(m *nats.Msg, user string) bool {
	if subject.InInbox(m.Reply, user) {
		return true
	}
	s.api.opts.Logger.Debug("the reply subject of a NATS client is outside its inbox", "user", user)
	return false
}

// answer answers a dialogue.
func (s *NATSServer) answer(m *nats.Msg, code wire.Code, id []byte) {
	s.api.opts.Dialogues.Answered(code)
	s.respond(m, wire.AppendReply(nil, code, id))
}

func (s *NATSServer) respond(m *nats.Msg, body []byte) { s.respondTo(m, body, nil) }

// refuse answers a call that was not made, with the code for err. by is the user or the attachment, and label names the
// call in metrics.
func (s *NATSServer) refuse(m *nats.Msg, by, label string, err error) {
	s.fail(m, by, s.api.observe(label, err, 0), err)
}

// fail answers a call with the code for err. If a limit has refused it, the answer may be held back.
func (s *NATSServer) fail(m *nats.Msg, by string, code wire.Code, err error) {
	respond := func() { s.respondTo(m, wire.AppendReply(nil, code, nil), err) }
	if !errors.Is(err, governor.ErrLimited) {
		respond()
		return
	}
	m.Data = nil // the memory of a request is not needed any more
	s.refusals.Answer(by, respond)
}

// respondTo answers a request that has failed with err, or nil.
func (s *NATSServer) respondTo(m *nats.Msg, body []byte, err error) {
	if err := answer.Respond(m, body, err); err != nil {
		s.api.opts.Logger.Error("answer a NATS client", "err", err)
	}
}

// receiveCall serves a call of a user. A call over the user's rate is answered here: it must not wait for a place, and
// keep others waiting, to be refused then.
func (s *NATSServer) receiveCall(m *nats.Msg) {
	user, name := s.api.opts.Prefix.ParseCall(m.Subject)
	if !s.mayReply(m, user) {
		return
	}
	if err := s.api.opts.Governor.AllowCall(user); err != nil {
		s.refuse(m, user, s.label(name), err)
		return
	}
	s.slots <- struct{}{}
	s.wg.Go(func() {
		defer func() { <-s.slots }()
		defer recovery.Log(s.api.opts.Logger, "call by NATS")
		s.markOnline(user)
		s.call(m, &request{client: user}, name)
	})
}

// label returns the name of a call in metrics, whose labels must be few: the client chooses the name.
func (s *NATSServer) label(name string) string {
	if s.calls[name] == nil {
		return "unknown"
	}
	return name
}

// call serves a call of the user that the request has.
func (s *NATSServer) call(m *nats.Msg, r *request, name string) {
	started, user := time.Now(), r.client
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var ans result
	err := error(wire.ProtocolError)
	switch c := s.calls[name]; {
	case len(m.Data) > s.api.maxBody():
		err = answer.ErrTooLarge
	case c != nil && r.gateway != "" && !mayGatewayCall(name):
	case c != nil:
		var code wire.Code
		if r.Values, code = wire.ParseBody(m.Data, c.Fields, s.api.limits()); code == 0 {
			ans, err = s.api.serve(ctx, c, r)
		}
	}
	code := s.api.observe(s.label(name), err, time.Since(started))
	switch {
	case err != nil:
		s.fail(m, cmp.Or(r.gateway, user), code, err)
	case ans != nil:
		s.respond(m, ans.Append(nil))
	default:
		s.respond(m, wire.AppendReply(nil, code, nil))
	}
	if err == nil && r.disconnect {
		s.disconnect(ctx, user)
	}
	if next, ok := ans.(followed); ok && err == nil {
		waitToRead(ctx)
		next.follow(s.api)
	}
}

// readDelay is the time that a client has to read the last answer before its connection is closed: NATS clients discard
// messages that they have not handed over when a connection ends.
const readDelay = 200 * time.Millisecond

// waitToRead waits until a client has had the time to read its answer.
func waitToRead(ctx context.Context) {
	select {
	case <-time.After(readDelay):
	case <-ctx.Done():
	}
}

// disconnect closes the connections of a user whose credentials were revoked by its own call.
func (s *NATSServer) disconnect(ctx context.Context, user string) {
	waitToRead(ctx)
	if err := s.api.opts.Disconnector.DisconnectUser(ctx, user); err != nil {
		s.api.opts.Logger.Error("close a user's connections to NATS", "user", user, "err", err)
	}
}
