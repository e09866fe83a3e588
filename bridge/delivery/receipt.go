package delivery

import "sync/atomic"

// Receipt is the reply that is owed for one dialogue at one sink. Settle must be called exactly once.
type Receipt struct {
	lane   *lane
	reply  string  // where NATS expects the reply
	fanout *fanout // of a user with several sinks: they owe one reply together
}

// Settle replies for the dialogue: delivered means that the frame is on a socket. The reply may leave with the next
// Member.FlushAcks.
func (r Receipt) Settle(delivered bool) {
	switch {
	case r.fanout != nil:
		r.fanout.settle(r.lane, delivered)
	case delivered:
		r.lane.acknowledge(r.reply)
	default:
		r.lane.reply(r.reply, refused)
	}
}

// fanout is one dialogue on its way to several sinks of a user. It is acknowledged when the first of them delivers it,
// and refused when none does.
type fanout struct {
	reply        string
	pending      atomic.Int32 // sinks that have not settled
	acknowledged atomic.Bool
}

func (f *fanout) settle(l *lane, delivered bool) {
	if delivered {
		if f.acknowledged.CompareAndSwap(false, true) {
			l.acknowledge(f.reply)
		}
		f.pending.Add(-1)
		return
	}
	if f.pending.Add(-1) == 0 && !f.acknowledged.Load() {
		l.reply(f.reply, refused)
	}
}

// Replies other than an acknowledgement, which is empty.
var (
	refused    = []byte(`{"code":507}`)
	notFriends = []byte(`{"code":512}`)
	// left is the refusal of a node on which the user has no session left. To a lane it means that the friend is
	// offline, unless another node or client answers otherwise. Other senders read only the code.
	left = []byte(`{"code":507,"gone":true}`)
)
