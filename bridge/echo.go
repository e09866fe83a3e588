package bridge

import (
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// A dialogue that a friend took is shown to the sender's own other devices, if they asked for news. Those on this node
// are given the frame. Those elsewhere get it as a notice, which costs a message for each dialogue: it is sent only
// where somebody may be there to take it.
//
// NATS can't be asked who listens, so it goes by what is known. Other nodes are. A NATS client of a user's is since it
// logged in, where this node is asked for that, or since its first send or call, or since it took the user's dialogues
// before a session began.

// headerNode names the node whose sessions have what a notice says already.
const headerNode = "Imctl-Node"

// echo shows what this session sent to the user's other devices.
func (s *session) echo(f *flight) {
	u, b := s.user, s.bridge
	elsewhere := u.byNATS.Load() || !b.service.nodes.alone.Load()
	wanted := func(other *session) bool { return other != s && other.push }
	here := u.list()
	if !elsewhere && !slices.ContainsFunc(here, wanted) {
		return
	}
	frame := b.echoFrame(u.id, f)
	for _, other := range here {
		if wanted(other) {
			other.notify(frame)
		}
	}
	if elsewhere {
		m := &nats.Msg{Subject: u.lane.prefix + u.id + "." + leafNotice, Header: nats.Header{headerNode: {b.node.ID}}, Data: frame}
		if err := u.lane.nc.PublishMsg(m); err != nil {
			b.log.Debug("echo a dialogue", "err", err)
		}
	}
}

// echo shows what a NATS client sent to all devices of its user. Itself is among them: nothing tells it from others.
func (s *natsSender) echo(f *flight) {
	id := s.a.sender(s.m)
	if err := s.a.b.service.show(id, s.a.b.echoFrame(id, f)); err != nil {
		s.a.b.log.Debug("echo a dialogue", "err", err)
	}
}

// echoFrame is a dialogue that was taken, as the sender's other devices see it.
func (b *Bridge) echoFrame(from string, f *flight) []byte {
	d, _ := wire.ParseDialogue(f.data) // it is this node's own
	to := strings.TrimSuffix(strings.TrimPrefix(f.subject, b.o.Prefix+".user."), "."+leafDialogue)
	return wire.AppendEcho(make([]byte, 0, len(f.data)+len(to)+16), d.ID, from, to, d.Payload)
}

// seenByNATS notes that the user is a client of NATS too. It is forgotten with the last session here.
func (b *Bridge) seenByNATS(id string) {
	if u := b.lane(id).user(id); u != nil && !u.byNATS.Load() {
		u.byNATS.Store(true)
	}
}
