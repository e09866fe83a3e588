package cmd

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"imctl/bridge/natstest"
)

// TestEchoBotsCatchUp: a bot that was away answers each dialogue that it has missed once, and acknowledges it. The server
// is a NATS server with the calls of a server that keeps conversations.
func TestEchoBotsCatchUp(t *testing.T) {
	t.Parallel()
	t.Run("Go", func(t *testing.T) {
		t.Parallel()
		catchesUp(t, build(t, "echo"))
	})
	t.Run("JavaScript", func(t *testing.T) {
		t.Parallel()
		catchesUp(t, "node", filepath.Join(npm(t, "../examples/echo-js"), "echo.mjs"))
	})
}

// keeper has a conversation of a bot with a friend.
type keeper struct {
	bot, friend string

	mu        sync.Mutex // guards the fields below
	dialogues []map[string]any
	got       uint64
	sent      map[string]string // what the bot has sent: ids and payloads
	calls     []string
}

// add adds a dialogue.
func (k *keeper) add(from, id, payload string, more map[string]any) map[string]any {
	d := map[string]any{"id": id, "from": from, "payload": payload, "with": k.friend, "n": uint64(len(k.dialogues) + 1), "at": "2026-03-01T10:00:00.000Z"}
	for key, value := range more {
		d[key] = value
	}
	k.dialogues = append(k.dialogues, d)
	return d
}

// answer answers a request of the bot.
func (k *keeper) answer(m *nats.Msg) any {
	var r struct {
		With, ID, Payload string
		After, Got        uint64
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		return map[string]any{"code": 403}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	call := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	switch last := uint64(len(k.dialogues)); call {
	case "talks":
		k.calls = append(k.calls, call)
		return map[string]any{"code": 200, "talks": []any{map[string]any{"with": k.friend, "last": last, "got": k.got, "entry": nil}}}
	case "dialogues":
		k.calls = append(k.calls, fmt.Sprint(call, " ", r.After))
		page := k.dialogues[r.After:min(r.After+2, last)] // short pages, so that there are several
		return map[string]any{"code": 200, "dialogues": page, "first": 1, "last": last}
	case "got":
		k.calls = append(k.calls, fmt.Sprint(call, " ", r.Got))
		k.got = max(k.got, r.Got)
		return map[string]any{"code": 200}
	}
	if payload, again := k.sent[r.ID]; again && payload != r.Payload {
		k.calls = append(k.calls, "the id "+r.ID+" for another payload")
	}
	k.sent[r.ID] = r.Payload
	return map[string]any{"code": 202, "id": r.ID}
}

func catchesUp(t *testing.T, program string, args ...string) {
	k := &keeper{bot: strings.Repeat("b", 32), friend: strings.Repeat("f", 32), sent: make(map[string]string)}
	ns := natstest.Start(t, t.TempDir(), -1)
	nc := natstest.Connect(t, ns.ClientURL())
	for _, filter := range []string{"im.call." + k.bot + ".*", "im.send." + k.bot} {
		if _, err := nc.Subscribe(filter, func(m *nats.Msg) {
			if err := m.Respond([]byte(jsonOf(k.answer(m)))); err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.FlushTimeout(waitTimeout); err != nil {
		t.Fatal(err)
	}
	k.add(k.friend, "1", "acknowledged before", nil)
	k.add(k.friend, "1", "two", nil)
	k.add(k.bot, "x", "my own", nil)
	k.add(k.friend, "2", "", map[string]any{"deleted": true})
	k.add(k.friend, "3", "+", map[string]any{"reacts": 1})
	k.add(k.friend, "4", "six", map[string]any{"re": 2})
	k.got = 1
	env := []string{"IM_NATS=" + ns.ClientURL(), "IM_ID=" + k.bot}
	want := map[string]string{"echo-2": "two", "echo-6": "six"}
	wantCalls := []string{"talks", "dialogues 1", "got 3", "dialogues 3", "got 5", "dialogues 5", "got 6"}
	state := func() (sent string, calls []string) {
		k.mu.Lock()
		defer k.mu.Unlock()
		return jsonOf(k.sent), slices.Clone(k.calls)
	}
	first := run(t, env, program, args...)
	eventually(t, "the bot to catch up", func() bool { _, calls := state(); return len(calls) >= len(wantCalls) })
	if sent, calls := state(); sent != jsonOf(want) || !slices.Equal(calls, wantCalls) {
		t.Errorf("sent %s, calls %q", sent, calls)
	}

	// The bot echoes a dialogue before it acknowledges the dialogue. If the dialogue arrives again, its echo has the same
	// id.
	for range 2 {
		frame := jsonOf(map[string]any{"id": "9", "from": k.friend, "payload": "live", "with": k.friend, "n": 7, "at": "2026-03-01T10:00:00.000Z"})
		if m, err := nc.Request("im.user."+k.bot+".dialogue", []byte(frame), waitTimeout); err != nil || len(m.Data) > 0 {
			t.Fatalf("the acknowledgement: %v", err)
		}
	}
	want["echo-7"] = "live"
	eventually(t, "the echo", func() bool { sent, _ := state(); return sent == jsonOf(want) })

	// After a restart, and nothing new, it only asks for its conversations.
	kill(first)
	k.mu.Lock()
	k.calls = nil
	k.mu.Unlock()
	run(t, env, program, args...)
	eventually(t, "the bot to ask again", func() bool { _, calls := state(); return len(calls) > 0 })
	if m, err := nc.Request("im.user."+k.bot+".dialogue", []byte(`{"id":"","from":"","payload":""}`), waitTimeout); err != nil || len(m.Data) > 0 {
		t.Fatalf("the answer to a presence check: %v", err)
	}
	if sent, calls := state(); sent != jsonOf(want) || !slices.Equal(calls, []string{"talks"}) {
		t.Errorf("after a restart: sent %s, calls %q", sent, calls)
	}
}
