package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"imctl/bridge/wire"
)

// maxQueued is how many kept dialogues wait for [Client.Dialogues]. Later ones are read from the server instead.
const maxQueued = 1024

// A Dialogue is a message from a user to a friend. To send one, set To and Payload, and the numbers of other dialogues
// that it refers to.
type Dialogue struct {
	ID      string `json:"id"` // set by the sender; empty, while sending: a random one
	To      string `json:"toFriend,omitempty"`
	From    string `json:"from,omitempty"`
	Payload string `json:"payload"`
	With    string `json:"with,omitempty"` // the other user of the conversation

	// N numbers the dialogues of a conversation from 1, and At is when the server stored it. Both are zero on a server
	// that keeps no conversations.
	N  uint64    `json:"n,omitempty"`
	At time.Time `json:"at,omitzero"`

	// Numbers of dialogues that this one replies to, reacts to, replaces or deletes.
	Re      uint64 `json:"re,omitempty"`
	Reacts  uint64 `json:"reacts,omitempty"`
	Edits   uint64 `json:"edits,omitempty"`
	Deletes uint64 `json:"deletes,omitempty"`

	Edited  bool `json:"edited,omitempty"`  // a later dialogue has replaced the payload
	Deleted bool `json:"deleted,omitempty"` // a later dialogue has deleted this one
}

// Key returns a text that is unique in the conversation: the number of d, or its id if it has none. The id of an answer
// to d should contain it: the server then stores the answer once, however often it is sent.
func (d Dialogue) Key() string {
	if d.N == 0 {
		return d.ID
	}
	return strconv.FormatUint(d.N, 10)
}

// IsChange reports whether d only changes another dialogue.
func (d Dialogue) IsChange() bool { return d.Reacts != 0 || d.Edits != 0 || d.Deletes != 0 }

// Dialogues returns the dialogues of all friends, those of one friend in order and each once. They begin with those that no
// client of the user has acknowledged. Deleted ones are left out. The loop ends with ctx, or with the client: see [Client.Err].
//
// A dialogue is acknowledged when the loop asks for the next one. The one at which the loop ends is not: the next loop, or
// the next program, gets it again. On a server that keeps no conversations a dialogue is acknowledged before.
func (c *Client) Dialogues(ctx context.Context) iter.Seq[Dialogue] {
	return func(yield func(Dialogue) bool) {
		c.loop.Lock()
		defer c.loop.Unlock()
		for goesOn := c.heal(ctx, yield); goesOn && ctx.Err() == nil && c.Err() == nil; {
			if e, ok := c.next(); ok {
				goesOn = c.handle(ctx, e, yield)
				continue
			}
			select {
			case <-ctx.Done():
			case <-c.closed:
			case <-c.wake:
			}
		}
	}
}

// talk is a conversation, as far as the client knows it.
type talk struct {
	have uint64          // number of the last dialogue that was handled, without a gap before it
	last uint64          // number of the newest dialogue
	own  map[uint64]bool // numbers above have of dialogues that the user sent
}

// move moves have to at least n, and past dialogues of the user.
func (t *talk) move(n uint64) {
	for t.have < n || t.own[t.have+1] {
		t.have++
		delete(t.own, t.have)
	}
	t.last = max(t.last, t.have)
}

// event is what the loop of Dialogues handles: a login, dialogues that found no room in the queue, a notice or a dialogue.
type event struct {
	login    bool
	missed   bool
	notice   *Notice
	dialogue Dialogue
	ack      func() error
}

func (c *Client) receive(m *nats.Msg) {
	var d Dialogue
	if err := json.Unmarshal(m.Data, &d); err != nil || d.From == "" { // a presence check
		acknowledge(func() error { return m.Respond(nil) })
		return
	}
	c.push(event{dialogue: d, ack: func() error { return m.Respond(nil) }})
}

// receiveNotice takes news, and dialogues that other devices of the user have sent.
func (c *Client) receiveNotice(m *nats.Msg) {
	var f struct {
		Notice
		With string
	}
	switch err := json.Unmarshal(m.Data, &f); {
	case err != nil: // of a newer server
	case f.Code != 0:
		c.push(event{notice: &f.Notice})
	case f.N != 0:
		c.skip(Dialogue{With: f.With, N: f.N})
	}
}

// acknowledge calls ack. A failure means that the connection is lost: after the next login the client gets the dialogue
// again, and ignores it.
func acknowledge(ack func() error) { _ = ack() }

func (c *Client) push(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := e.dialogue; d.N != 0 {
		t := c.talk(d.With)
		t.last = max(t.last, d.N)
	}
	if e.dialogue.N != 0 && len(c.queue) >= maxQueued {
		c.missed = true
		return
	}
	c.queue = append(c.queue, e)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Client) next() (e event, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		e.missed, c.queue, c.missed = c.missed, nil, false
		return e, e.missed
	}
	e, c.queue = c.queue[0], c.queue[1:]
	return e, true
}

// talk returns the conversation with a friend. The caller holds c.mu.
func (c *Client) talk(with string) *talk {
	if c.talks[with] == nil {
		c.talks[with] = &talk{own: make(map[uint64]bool)}
	}
	return c.talks[with]
}

// skip notes that a dialogue is one of the user, and no gap.
func (c *Client) skip(d Dialogue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.talk(d.With); d.N > t.have {
		t.own[d.N] = true
		t.last = max(t.last, d.N)
		t.move(0)
	}
}

// advance notes that the dialogues up to n were handled.
func (c *Client) advance(with string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talk(with).move(n)
}

// position returns the number of the last dialogue that was handled, and of the newest one.
func (c *Client) position(with string) (have, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.talk(with)
	return t.have, t.last
}

func (c *Client) keeps() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

// handle handles an event. It returns false if the loop ends.
func (c *Client) handle(ctx context.Context, e event, yield func(Dialogue) bool) bool {
	d := e.dialogue
	switch have, _ := c.position(d.With); {
	case e.login:
		return c.enter(ctx) && c.heal(ctx, yield)
	case e.missed:
		return c.heal(ctx, yield)
	case e.notice != nil:
		if c.config.Notice != nil {
			c.config.Notice(ctx, *e.notice)
		}
		return true
	case d.N == 0: // not kept
		acknowledge(e.ack)
		d.With = cmp.Or(d.With, d.From)
		return yield(d)
	case d.N > have+1 && !c.healTalk(ctx, d.With, yield), d.N == have+1 && !yield(d):
		return false
	case d.N == have+1:
		c.advance(d.With, d.N)
	}
	acknowledge(e.ack)
	return true
}

// enter learns the conversations after a login. It returns false if the loop ends.
func (c *Client) enter(ctx context.Context) bool {
	for attempt := 0; ; attempt++ {
		var all struct {
			Talks []struct {
				With      string
				Last, Got uint64
			}
		}
		err := c.Call(ctx, "talks", nil, &all)
		if err != nil && !errors.Is(err, wire.ProtocolError) { // which a server answers that keeps none
			if !c.pause(ctx, attempt) {
				return false
			}
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.kept = err == nil
		for _, one := range all.Talks {
			t := c.talk(one.With)
			if t.have > one.Last { // the server was restored from a backup
				*t = talk{own: make(map[uint64]bool)}
			}
			t.last = one.Last
			t.move(one.Got)
		}
		return true
	}
}

// heal reads what is missing of all conversations. It returns false if the loop ends.
func (c *Client) heal(ctx context.Context, yield func(Dialogue) bool) bool {
	c.mu.Lock()
	var missing []string
	for with, t := range c.talks {
		if t.have < t.last {
			missing = append(missing, with)
		}
	}
	c.mu.Unlock()
	return !slices.ContainsFunc(missing, func(with string) bool { return !c.healTalk(ctx, with, yield) })
}

// healTalk reads what is missing of a conversation.
func (c *Client) healTalk(ctx context.Context, with string, yield func(Dialogue) bool) bool {
	for attempt := 0; ; attempt++ {
		have, last := c.position(with)
		if have >= last {
			return true
		}
		var page struct{ Dialogues []Dialogue }
		err := c.Call(ctx, "dialogues", map[string]any{"with": with, "after": have}, &page)
		if err == nil {
			goesOn := c.handlePage(with, page.Dialogues, last, yield)
			if got, _ := c.position(with); got > have {
				err = c.Call(ctx, "got", map[string]any{"with": with, "got": got}, nil)
			}
			if !goesOn {
				return false
			}
		}
		if err == nil {
			attempt = -1
		} else if !c.pause(ctx, attempt) {
			return false
		}
	}
}

// handlePage handles a page of a conversation. An empty one means that the user may not read the dialogues up to last.
func (c *Client) handlePage(with string, page []Dialogue, last uint64, yield func(Dialogue) bool) bool {
	for _, d := range page {
		if d.From != c.id && !d.Deleted && !yield(d) {
			return false
		}
		c.advance(with, d.N)
	}
	if len(page) == 0 {
		c.advance(with, last)
	}
	return true
}
