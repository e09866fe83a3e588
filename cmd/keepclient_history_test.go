package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// heal reads what is missing up to the newest dialogue that the device knows of.
func (d *keepDevice) heal() error {
	for d.upTo < d.newest {
		upTo := d.upTo
		page, err := d.history("after", strconv.FormatUint(upTo, 10), "limit", strconv.Itoa(1+d.rand.IntN(200)))
		if err != nil {
			return err
		}
		if len(page.Dialogues) == 0 || page.Dialogues[0].N != upTo+1 {
			return fmt.Errorf("history after %d begins with %+v, up to %d", upTo, page.Dialogues[:min(1, len(page.Dialogues))], page.Last)
		}
		for i, e := range page.Dialogues {
			if e.N != upTo+1+uint64(i) {
				return fmt.Errorf("history after %d: dialogue %d in place %d", upTo, e.N, i)
			}
			if err := d.add(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSome reads a random part of the history, which must be what the device has.
func (d *keepDevice) readSome() error {
	before := 1 + d.rand.Uint64N(d.newest+1)
	page, err := d.history("before", strconv.FormatUint(before, 10), "limit", strconv.Itoa(1+d.rand.IntN(20)))
	if err != nil {
		return err
	}
	for i, e := range page.Dialogues {
		if e.N != before-uint64(len(page.Dialogues)-i) {
			return fmt.Errorf("history before %d: dialogue %d in place %d of %d", before, e.N, i, len(page.Dialogues))
		}
		if err := d.add(e); err != nil {
			return err
		}
	}
	return nil
}

// history reads a part of the conversation. It returns errAway if the server is away or has lost the token.
func (d *keepDevice) history(pairs ...string) (keepPage, error) {
	pairs = append(pairs, "id", d.p.id, "token", d.token, "with", d.p.friend.id)
	r, err := d.p.w.try(d.t.Context(), d.node, http.MethodGet, "/im/dialogues?"+query(pairs...), "")
	if err != nil {
		return keepPage{}, errAway
	}
	var page keepPage
	if err := json.Unmarshal([]byte(r.body), &page); err != nil {
		return keepPage{}, fmt.Errorf("history: %s: %w", r.body, err)
	}
	switch page.Code {
	case 200:
		return page, nil
	case 500, 515: // a killed server may have lost the token
		return keepPage{}, errAway
	}
	return keepPage{}, fmt.Errorf("history: %s", r.body)
}

// keepPatience bounds the time of a device.
const keepPatience = 20 * time.Minute

// counter counts events, and lets a test wait for a number of them.
type counter struct {
	n    atomic.Int64
	next atomic.Pointer[target]
}

type target struct {
	at      int64
	reached chan struct{}
}

// add counts an event.
func (c *counter) add() {
	n := c.n.Add(1)
	if t := c.next.Load(); t != nil && n >= t.at && c.next.CompareAndSwap(t, nil) {
		close(t.reached)
	}
}

// after returns a channel that is closed after n more events. Only one test waits at a time.
func (c *counter) after(n int) <-chan struct{} {
	t := &target{c.n.Load() + int64(n), make(chan struct{})}
	c.next.Store(t)
	return t.reached
}

// nextKeep reads one frame.
func (c *tunnel) nextKeep(t testing.TB) keepFrame {
	t.Helper()
	text := c.next(t)
	var f keepFrame
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("frame %s: %v", text, err)
	}
	return f
}

// nextKept reads frames up to the answer to a dialogue.
func (c *tunnel) nextKept(t testing.TB, id string) keepFrame {
	t.Helper()
	for {
		if f := c.nextKeep(t); f.Code != 0 && f.From == "" && f.ID == id {
			return f
		}
	}
}

// nextDialogue reads frames up to a dialogue.
func (c *tunnel) nextDialogue(t testing.TB) keepEntry {
	t.Helper()
	for {
		if f := c.nextKeep(t); f.Code == 0 && f.From != "" {
			return f.keepEntry
		}
	}
}
