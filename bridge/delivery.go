package bridge

import (
	"sync/atomic"
)

// delivery is one dialogue on its way to the sessions that one user has on this node. Its answer is sent once: taken as
// soon as one session's socket took the frame, refused when none did.
type delivery struct {
	lane  *lane
	reply string
	left  atomic.Int32 // sessions that have not said anything yet
	taken atomic.Bool
}

var refused = []byte(`{"code":507}`)

// gone is the refusal of a node on which the user has no session left. To a lane it means that the friend is offline,
// unless another node or client answers otherwise. Other senders read only the code.
var gone = []byte(`{"code":507,"gone":true}`)
var notFriends = []byte(`{"code":512}`)

// settle records what became of the frame at one of the sessions.
func (d *delivery) settle(taken bool) {
	if taken {
		if d.taken.CompareAndSwap(false, true) {
			d.lane.taken(d.reply)
		}
		d.left.Add(-1)
		return
	}
	if d.left.Add(-1) == 0 && !d.taken.Load() {
		d.lane.answer(d.reply, refused)
	}
}
