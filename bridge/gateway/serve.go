package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/answer"
	"imctl/bridge/governor"
	"imctl/bridge/recovery"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

const (
	concurrentCalls = 16 // of all gateways; more wait
	callTimeout     = 20 * time.Second
	maxBody         = 1 << 20
	maxPage         = 1000 // users that one call names or returns
)

// call is one call on its way.
type call struct {
	gateway kv.Attachment
	words   []string // of the subject, after the name of the call
	body    []byte
}

// Serve starts to serve gateways on nc.
func (s *Service) Serve(nc *nats.Conn) error {
	p := s.opts.Prefix
	shared := map[string]func(context.Context, call) (Result, error){"register": s.register, "users": s.users, "open": s.open}
	for name, do := range shared {
		sub, err := nc.QueueSubscribe(p.Gateway("*", name), subject.QueueGroup, s.receive(do))
		if err != nil {
			return fmt.Errorf("serve gateways: %w", err)
		}
		s.subs = append(s.subs, sub)
	}
	// A session is on one node, whose id is a part of the subject.
	for name, do := range map[string]func(context.Context, call) (Result, error){"online": s.online, "offline": s.offline} {
		sub, err := nc.Subscribe(p.Gateway("*", name, s.opts.Node, "*"), s.receive(do))
		if err != nil {
			return fmt.Errorf("serve gateways: %w", err)
		}
		s.subs = append(s.subs, sub)
	}
	return nil
}

// cost returns as how many calls a call counts. A list reads up to 1,000 users, and a session has a connection to NATS.
func cost(name string, size int) int {
	switch name {
	case "users", "open":
		return 100
	case "online", "offline":
		return governor.CostOfIDs(size)
	}
	return 1
}

// receive returns the handler of the requests of a call. A call over the gateway's rate is answered here: it must not
// wait for a place, and keep others waiting, to be refused then.
func (s *Service) receive(do func(context.Context, call) (Result, error)) nats.MsgHandler {
	return func(m *nats.Msg) {
		name, words := s.opts.Prefix.ParseGateway(m.Subject)
		// As for users, the reply must not reach a subject on which the gateway may not publish.
		if !s.opts.Prefix.InAttachmentInbox(m.Reply, name) {
			s.opts.Logger.Debug("the reply subject of a gateway is outside its inbox", "gateway", name)
			return
		}
		refused := func(err error) {
			m.Data = nil // the answer may be held back
			s.refusals.Answer(name, func() { s.answer(m, name, Result{}, err) })
		}
		if err := s.AllowCall(name, cost(words[0], len(m.Data))); err != nil {
			refused(err)
			return
		}
		s.calls.Run(name, words[0] == "users", len(m.Data), func() {
			defer recovery.Log(s.opts.Logger, "call of a gateway")
			s.serve(m, name, words, do)
		}, refused)
	}
}

func (s *Service) serve(m *nats.Msg, name string, words []string, do func(context.Context, call) (Result, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	var result Result
	err := s.opts.Gate.Pass(func() (err error) {
		if len(m.Data) > maxBody {
			return answer.ErrTooLarge
		}
		c := call{words: words[1:], body: m.Data}
		if c.gateway, err = s.gateway(ctx, name); err != nil {
			return err
		}
		result, err = do(ctx, c)
		return err
	})
	s.answer(m, name, result, err)
}

// answer answers a call of a gateway with the result, or with the code for err.
func (s *Service) answer(m *nats.Msg, gateway string, result Result, err error) {
	result.Code = wire.Success
	if err != nil {
		result.Code = answer.CodeOf(s.opts.Logger, "call of a gateway", err)
	}
	result.Message, result.OK = result.Code.Message(), result.Code.OK()
	body, failed := json.Marshal(result)
	if failed == nil {
		failed = answer.Respond(m, body, err)
	}
	if failed != nil {
		s.opts.Logger.Error("answer a gateway", "gateway", gateway, "err", failed)
	}
}
