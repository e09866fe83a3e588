package bridge

import (
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Most dialogues are answered by "taken", and a lane takes many at once, which a few lanes have sent. What it has to
// answer to one of these goes as one message: the tokens of the flights, one behind the other, on a subject of the
// inbox of their own. Whoever else asked has a message for each.

// Reply subjects of a lane's flights are its inbox, and with that laneMark, and a token.
const (
	laneMark  = ".lane."
	tokenSize = 16 // hex digits
	// manyToken stands where many flights are answered.
	manyToken = "taken"
	// manyMost bounds how many.
	manyMost = 1 << 10
	// askersMost bounds how many lanes are remembered.
	askersMost = 64
)

// inboxOf parts a reply subject of a lane's flight; ok is false for one of somebody else.
func inboxOf(reply string) (inbox, token string, ok bool) {
	at := len(reply) - tokenSize
	if at <= len(laneMark) || !strings.HasSuffix(reply[:at], laneMark) {
		return "", "", false
	}
	return reply[:at], reply[at:], true
}

// takings are the answers that wait to leave together.
type takings struct {
	nc *nats.Conn

	mu        sync.Mutex // guards what follows
	gathering bool       // the lane sends what waits before it rests
	askers    []asking
}

// asking is a lane that asked, here or at another node.
type asking struct {
	inbox  string
	many   string // where it takes many answers
	tokens []byte // what waits for it
}

// begin has what is added from now on wait for end.
func (t *takings) begin() {
	t.mu.Lock()
	t.gathering = true
	t.mu.Unlock()
}

// end sends what waits.
func (t *takings) end() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gathering = false
	return t.send()
}

// flush sends what waits, unless the lane is about to.
func (t *takings) flush() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gathering {
		return nil
	}
	return t.send()
}

// add adds an answer, and reports false if it is not for a lane.
func (t *takings) add(reply string) bool {
	inbox, token, ok := inboxOf(reply)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.askers {
		if a := &t.askers[i]; a.inbox == inbox && len(a.tokens) < manyMost*tokenSize {
			a.tokens = append(a.tokens, token...)
			return true
		}
	}
	t.askers = append(t.askers, asking{inbox: strings.Clone(inbox), many: inbox + manyToken, tokens: []byte(token)})
	return true
}

// send sends what waits. Called with mu held.
func (t *takings) send() (err error) {
	for i := range t.askers {
		a := &t.askers[i]
		var failed error
		switch {
		case len(a.tokens) == tokenSize:
			failed = t.nc.Publish(a.inbox+string(a.tokens), nil)
		case len(a.tokens) > 0:
			failed = t.nc.Publish(a.many, a.tokens)
		}
		if failed != nil {
			err = failed
		}
		a.tokens = a.tokens[:0]
	}
	if len(t.askers) > askersMost {
		t.askers = nil
	}
	return err
}
