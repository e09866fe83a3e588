package delivery

import (
	"errors"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// A lane delivers many dialogues at once, and a few lanes have sent most of them. It acknowledges all dialogues of one
// lane in one message: the tokens of the flights, one after the other, on a subject of that lane's inbox. Any other
// sender gets one message for each dialogue.

// The reply subject of a lane's flight is the lane's inbox, which ends in laneMark, and a token.
const (
	laneMark  = ".lane."
	tokenSize = 16 // hex digits
	// batchToken replaces the token where a message acknowledges several flights, at most maxBatch of them.
	batchToken = "taken"
	maxBatch   = 1 << 10
	// maxInboxes bounds the inboxes for which an ack batch keeps buffers.
	maxInboxes = 64
)

// splitReply splits the reply subject of a lane's flight. ok is false for any other subject.
func splitReply(reply string) (inbox, token string, ok bool) {
	at := len(reply) - tokenSize
	if at <= len(laneMark) || !strings.HasSuffix(reply[:at], laneMark) {
		return "", "", false
	}
	return reply[:at], reply[at:], true
}

// ackBatch collects acknowledgements that leave together.
type ackBatch struct {
	nc    *nats.Conn
	late  *nats.Conn // takes what nc does not; nil: none
	lanes *Lanes     // that may wait for acknowledgements; nil: none

	mu        sync.Mutex // guards the fields below
	gathering bool       // between begin and end
	pending   []inboxAcks
}

// inboxAcks are the pending acknowledgements of one lane, of this node or another.
type inboxAcks struct {
	inbox   string
	subject string // takes batches
	tokens  []byte
}

// begin delays the acknowledgements until end.
func (b *ackBatch) begin() {
	b.mu.Lock()
	b.gathering = true
	b.mu.Unlock()
}

// end sends the pending acknowledgements.
func (b *ackBatch) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gathering = false
	return b.send()
}

// flush sends the pending acknowledgements, unless a call of end will do so.
func (b *ackBatch) flush() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gathering {
		return nil
	}
	return b.send()
}

// add adds an acknowledgement. It returns false if the sender is not a lane.
func (b *ackBatch) add(reply string) bool {
	inbox, token, ok := splitReply(reply)
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.pending {
		if a := &b.pending[i]; a.inbox == inbox && len(a.tokens) < maxBatch*tokenSize {
			a.tokens = append(a.tokens, token...)
			return true
		}
	}
	b.pending = append(b.pending, inboxAcks{inbox: strings.Clone(inbox), subject: inbox + batchToken, tokens: []byte(token)})
	return true
}

// send sends the pending acknowledgements. Called with mu held.
func (b *ackBatch) send() (err error) {
	for i := range b.pending {
		a := &b.pending[i]
		var failed error
		switch {
		case len(a.tokens) > 0 && b.post(a.inbox, a.subject, a.tokens):
		case len(a.tokens) == tokenSize:
			failed = b.publish(a.inbox+string(a.tokens), nil)
		case len(a.tokens) > 0:
			failed = b.publish(a.subject, a.tokens)
		}
		if failed != nil {
			err = failed
		}
		a.tokens = a.tokens[:0]
	}
	if len(b.pending) > maxInboxes {
		b.pending = nil
	}
	return err
}

// publish sends a reply. While the connection of the lane reconnects, it refuses messages, so that no dialogue is sent
// late. A reply is of use as long as the sender waits for it, so a connection that keeps messages takes it.
func (b *ackBatch) publish(to string, data []byte) error {
	err := b.nc.Publish(to, data)
	if errors.Is(err, nats.ErrReconnectBufExceeded) && b.late != nil {
		return b.late.Publish(to, data)
	}
	return err
}
