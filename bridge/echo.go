package bridge

import (
	"context"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// A dialogue that a friend took is shown to the sender's own other devices, if they asked for news. Those on this node
// are given the frame. Those elsewhere get it as a notice, which costs a message for each dialogue: it is sent only
// where somebody may be there to take it.
//
// NATS can't be asked who listens, so each node goes by what it has heard. A login asks all nodes for the user's
// sessions, so they and the node that asks know of each other's. A NATS client is heard of when it logs in, where NATS
// asks for that, when it sends or calls, and where it took the user's dialogues before a session began.

// headerNode names the node whose sessions have what a notice says already.
const headerNode = "Imctl-Node"

// echo shows what this session sent to the user's other devices.
func (s *session) echo(f *flight) {
	u, b := s.user, s.bridge
	elsewhere := u.elsewhere.Load()
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

// seenElsewhere notes that the user has clients other than the sessions here. It is forgotten with the last of these.
func (b *Bridge) seenElsewhere(id string) {
	if u := b.lane(id).user(id); u != nil && !u.elsewhere.Load() {
		u.elsewhere.Store(true)
	}
}

// clientBegins has all nodes note that the user logs in to NATS. The login does not wait for it.
func (b *Bridge) clientBegins(id string) {
	b.seenElsewhere(id)
	if b.service.nodes.alone.Load() {
		return
	}
	b.service.work.Go(func() {
		if _, err := b.service.nodes.tell(context.Background(), command{Op: opClient, User: id}); err != nil {
			b.log.Warn("tell the nodes of a NATS client", "user", id, "err", err)
		}
	})
}
