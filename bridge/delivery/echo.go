package delivery

import (
	"slices"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// A delivered dialogue is echoed to the sender's other devices, if they want notices. Sessions on this node get the
// frame directly. For devices elsewhere the lane publishes a notice, which costs a message for each dialogue, so it
// does so only if the user may have such devices.
//
// NATS cannot be asked for the subscribers of a subject. So each node relies on what it hears. A login asks all nodes
// for the user's sessions: those nodes and the asking one then know of each other's. A node hears of a NATS client when
// the client logs in, if NATS asks imctl about logins, when the client sends or calls, and when it takes the user's
// dialogues before a session begins.

// nodeHeader names the node whose sessions have the frame of a notice already.
const nodeHeader = "Imctl-Node"

// echo shows a delivered dialogue to the sender's other devices.
func (l *lane) echo(fl *flight) {
	if fl.member == nil {
		// A NATS client cannot be told from the user's other devices, so it also gets the notice.
		if err := l.notices.Notify(fl.from, echoFrame(fl)); err != nil {
			l.log.Debug("echo a dialogue", "err", err)
		}
		return
	}
	u := fl.member.user
	elsewhere := u.elsewhere.Load()
	if fl.number != 0 { // the other sinks have seen it when it was stored
		elsewhere = false
	}
	numbered := fl.number != 0 || fl.live // sinks that take part in kept conversations see it with its number
	wanted := func(other *Member) bool { return other != fl.member && other.push && (!numbered || !other.keep) }
	here := u.list()
	if !elsewhere && !slices.ContainsFunc(here, wanted) {
		return
	}
	frame := echoFrame(fl)
	for _, other := range here {
		if wanted(other) {
			other.notify(frame)
		}
	}
	if elsewhere {
		m := &nats.Msg{Subject: l.names.Notice(u.id), Header: nats.Header{nodeHeader: {l.node}}, Data: frame}
		if fl.live {
			m.Header[liveHeader] = []string{"1"}
		}
		if err := l.nc.PublishMsg(m); err != nil {
			l.log.Debug("echo a dialogue", "err", err)
		}
	}
}

// echoFrame returns a delivered dialogue as the sender's other devices see it.
func echoFrame(fl *flight) []byte {
	d, _ := wire.ParseDialogue(fl.data) // this node has composed it
	return wire.AppendEcho(make([]byte, 0, len(fl.data)+len(fl.to)+16), d.ID, fl.from, fl.to, d.Payload)
}
