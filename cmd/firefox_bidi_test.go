package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// bidi is a client of WebDriver BiDi, the protocol of the W3C that drives Firefox: commands and events as JSON on one
// WebSocket.
type bidi struct {
	conn *websocket.Conn

	mu      sync.Mutex // guards what follows, and writes to conn
	last    int64
	waiting map[int64]chan bidiMessage
	events  map[string]func(method string, params json.RawMessage) // by browsing context
	err     error                                                  // why the connection ended
}

// bidiMessage is a command's result or error, or an event.
type bidiMessage struct {
	ID      int64           `json:"id"`
	Type    string          `json:"type"`
	Result  json.RawMessage `json:"result"`
	Error   string          `json:"error"`
	Message string          `json:"message"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// dialBidi connects to a browser at ws://host:port and starts a session with these capabilities.
func dialBidi(ctx context.Context, url string, capabilities map[string]any) (*bidi, error) {
	conn, _, err := websocket.DefaultDialer.DialContext(ctx, url+"/session", nil)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	c := &bidi{conn: conn, waiting: map[int64]chan bidiMessage{}, events: map[string]func(string, json.RawMessage){}}
	go c.read()
	_, err = c.call(ctx, "session.new", map[string]any{"capabilities": map[string]any{"alwaysMatch": capabilities}})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// read hands results to the callers of call and events to the handlers, until the connection ends.
func (c *bidi) read() {
	for {
		var m bidiMessage
		err := c.conn.ReadJSON(&m)
		c.mu.Lock()
		if err != nil {
			c.err = fmt.Errorf("the connection to the browser ended: %w", err)
			for id, to := range c.waiting {
				close(to)
				delete(c.waiting, id)
			}
			c.mu.Unlock()
			return
		}
		to, handle := c.waiting[m.ID], c.handler(m)
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		switch {
		case handle != nil:
			handle(m.Method, m.Params)
		case to != nil:
			to <- m // has room for one
		}
	}
}

// handler returns the handler of an event, nil for other messages. The caller holds c.mu.
func (c *bidi) handler(m bidiMessage) func(string, json.RawMessage) {
	var of struct {
		Context string
		Source  struct{ Context string }
	}
	if m.Type != "event" || json.Unmarshal(m.Params, &of) != nil {
		return nil
	}
	return c.events[of.Context+of.Source.Context]
}

// on sets the handler of the events of a browsing context, which read calls one after the other. nil removes it.
func (c *bidi) on(browsing string, handle func(method string, params json.RawMessage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if handle == nil {
		delete(c.events, browsing)
		return
	}
	c.events[browsing] = handle
}

// call makes a command and returns its result. An error of the browser contains its code.
func (c *bidi) call(ctx context.Context, method string, params any) (json.RawMessage, error) {
	answer := make(chan bidiMessage, 1)
	c.mu.Lock()
	err := c.err
	var id int64
	if err == nil {
		c.last++
		id = c.last
		c.waiting[id] = answer
		err = c.conn.WriteJSON(map[string]any{"id": id, "method": method, "params": params})
	}
	c.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m, ok := <-answer:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, fmt.Errorf("%s: %w", method, c.err)
		}
		if m.Type == "error" {
			return nil, fmt.Errorf("%s: %s: %s", method, m.Error, m.Message)
		}
		return m.Result, nil
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}

// evaluate evaluates an expression in a browsing context, awaits it if it is a promise, and returns its value as JSON.
func (c *bidi) evaluate(ctx context.Context, browsing, expression string) (json.RawMessage, error) {
	result, err := c.call(ctx, "script.evaluate", map[string]any{
		"expression": "(async () => JSON.stringify(await (" + strings.TrimRight(expression, "; \n\t") + "\n)))()", "awaitPromise": true,
		"target": map[string]any{"context": browsing},
	})
	if err != nil {
		return nil, err
	}
	var r struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, err
	}
	if r.Type == "exception" {
		return nil, errors.New(r.ExceptionDetails.Text)
	}
	return json.RawMessage(r.Result.Value), nil
}
