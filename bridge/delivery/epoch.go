package delivery

import (
	"encoding/hex"
	"strings"
)

// A NATS server that hung, and goes on, still has the dialogues that a lane sent it before the lane moved to another
// server. They were answered 507, and later dialogues have been delivered since. So the first byte of a flight's token
// is the epoch of its lane, which begins anew when the flights are aborted, and a lane refuses dialogues of an earlier
// epoch than the newest that it knows of the sender's lane.

const (
	epochDigits = 2         // hex digits
	slotMask    = 1<<24 - 1 // the rest of the first half of a token is the number of the slot
)

// stamp sets the epoch in the reply subject of a flight.
func (f *flights) stamp(reply []byte) {
	at := len(reply) - tokenSize
	hex.Encode(reply[at:at+epochDigits], []byte{byte(f.epoch.Load())})
}

// epochs are the newest epochs of other lanes, by inbox.
type epochs map[string]byte

// maxEpochs bounds the lanes whose epochs are known. There are a few of each node.
const maxEpochs = 4 << 10

// outdated reports whether a dialogue with this reply subject is from an earlier epoch than the newest that is known of
// its lane. It is false for senders that are no lanes.
func (e *epochs) outdated(reply string) bool {
	inbox, token, ok := splitReply(reply)
	if !ok {
		return false
	}
	var digits [epochDigits]byte
	copy(digits[:], token)
	var epoch [1]byte
	if _, err := hex.Decode(epoch[:], digits[:]); err != nil {
		return false
	}
	newest, known := (*e)[inbox]
	switch {
	case known && epoch[0] == newest:
		return false
	case known && int8(epoch[0]-newest) < 0: // epochs wrap around
		return true
	case *e == nil || !known && len(*e) >= maxEpochs:
		*e = make(epochs)
	}
	(*e)[strings.Clone(inbox)] = epoch[0]
	return false
}
