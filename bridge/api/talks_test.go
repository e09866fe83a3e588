package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imctl/bridge/governor"
	"imctl/bridge/talk"
	"imctl/bridge/wire"
	"imctl/kv"
)

// conversation is a conversation with a friend that has the dialogues from first to last. It notes the calls.
type conversation struct {
	first, last uint64
	err         error
	calls       []string
}

func (c *conversation) note(format string, a ...any) {
	c.calls = append(c.calls, fmt.Sprintf(format, a...))
}

func (c *conversation) Got(user, with string, n uint64)  { c.note("got %s %s %d", user, with, n) }
func (c *conversation) Read(user, with string, n uint64) { c.note("read %s %s %d", user, with, n) }

func (c *conversation) Forget(_ context.Context, user, with string) error {
	c.note("forget %s %s", user, with)
	return c.err
}

func (c *conversation) Mark(context.Context, string, string, bool, kv.MarkChange) (kv.Marks, error) {
	panic("mark reads the roster, and is tested with a server")
}

func (c *conversation) Talks(context.Context, string, []string) ([]talk.Talk, error) {
	panic("talks reads the roster, and is tested with a server")
}

func (c *conversation) History(_ context.Context, user, with string, r kv.Range) (kv.Page, error) {
	c.note("history %s %s %d %d %d", user, with, r.Before, r.After, r.Limit)
	page := kv.Page{First: c.first, Last: c.last}
	if c.last == 0 {
		return page, c.err
	}
	from, to, limit := c.first, c.last, uint64(r.Limit)
	if r.Forward {
		from = max(from, r.After+1)
		to = min(to, from+limit-1)
	} else if r.Before > 0 {
		to = min(to, r.Before-1)
	}
	if to >= from+limit {
		from = to - limit + 1
	}
	for n := from; n <= to; n++ {
		page.Dialogues = append(page.Dialogues, kv.Dialogue{N: n, From: with, ID: []byte(`"7"`), Payload: []byte(`"x"`), At: time.Unix(0, 0)})
	}
	return page, c.err
}

const me, friend = "11111111111111111111111111111111", "22222222222222222222222222222222"

// do makes a call by NATS, after its authorization.
func (c *conversation) do(t *testing.T, name, body string) (result, error) {
	t.Helper()
	call := callNamed(t, name)
	r := &request{me: kv.User{ID: me}, client: me}
	var code wire.Code
	if r.Values, code = wire.ParseBody([]byte(body), call.Fields, testLimits); code == 0 {
		code = r.Check()
	}
	if code != 0 {
		return nil, code
	}
	return call.do(t.Context(), &API{opts: Options{Talks: c}}, r)
}

func TestTalkCalls(t *testing.T) {
	t.Parallel()
	const with = `"with":"` + friend + `"`
	const pair = me + " " + friend
	for _, row := range []struct {
		name, body string
		want       string // the calls of the service
		code       wire.Code
	}{
		{"got", `{` + with + `,"got":17}`, "got " + pair + " 17", 0},
		{"got", `{` + with + `,"got":" 17 "}`, "got " + pair + " 17", 0},
		{"read", `{` + with + `,"read":9007199254740992}`, "read " + pair + " 9007199254740992", 0},
		{"forget", `{` + with + `}`, "forget " + pair, 0},
		{"dialogues", `{` + with + `}`, "history " + pair + " 0 0 50", 0},
		{"dialogues", `{` + with + `,"before":17,"limit":"200","after":null}`, "history " + pair + " 17 0 200", 0},
		{"dialogues", `{` + with + `,"before":0,"after":"","limit":1}`, "history " + pair + " 0 0 1", 0},
		{"dialogues", `{` + with + `,"after":17}`, "history " + pair + " 0 17 50", 0},

		{"got", `{"got":17}`, "", wire.FriendEmpty},
		{"got", `{` + with + `}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":0}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":-1}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":true}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":[1]}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":1.5}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":1e2}`, "", wire.ProtocolError},
		{"got", `{` + with + `,"got":9007199254740993}`, "", wire.ProtocolError},
		{"got", `{"with":7,"got":1}`, "", wire.ProtocolError},
		{"read", `{` + with + `,"read":"x"}`, "", wire.ProtocolError},
		{"forget", `{}`, "", wire.FriendEmpty},
		{"dialogues", `{"limit":1}`, "", wire.FriendEmpty},
		{"dialogues", `{` + with + `,"before":1,"after":1}`, "", wire.ProtocolError},
		{"dialogues", `{` + with + `,"before":0,"after":0}`, "", wire.ProtocolError},
		{"dialogues", `{` + with + `,"before":-1}`, "", wire.ProtocolError},
		{"dialogues", `{` + with + `,"after":"-1"}`, "", wire.ProtocolError},
		{"dialogues", `{` + with + `,"limit":0}`, "", wire.ProtocolError},
		{"dialogues", `{` + with + `,"limit":201}`, "", wire.ProtocolError},
	} {
		c := &conversation{first: 1, last: 3}
		_, err := c.do(t, row.name, row.body)
		var code wire.Code
		if errors.As(err, &code); code != row.code || strings.Join(c.calls, "; ") != row.want {
			t.Errorf("%s %s: code %d, %q; want %d, %q", row.name, row.body, code, c.calls, row.code, row.want)
		}
	}
}

// TestNoConversation: ids that belong to no user, or to the caller, do not reach the service, where they would become
// parts of subjects.
func TestNoConversation(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"nobody", ">", "*." + friend, strings.ToUpper(me), me} {
		for name, want := range map[string]string{
			"dialogues": `{"code":200,"dialogues":null,"first":0,"last":0,"message":"Success","ok":true}`, "forget": "", "got": "", "read": "",
		} {
			c := &conversation{first: 1, last: 3}
			got, err := c.do(t, name, marshal(t, map[string]any{"with": with, "got": 1, "read": 1}))
			body := ""
			if got != nil {
				body = string(got.Append(nil))
			}
			if err != nil || len(c.calls) > 0 || body != want {
				t.Errorf("%s with %s: %s, %v, calls %q", name, with, body, err, c.calls)
			}
		}
	}
}

// TestOldestDialogues: after 0 come the oldest dialogues, whatever their numbers are.
func TestOldestDialogues(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ first, last, from, to uint64 }{
		{1, 500, 1, 50}, {1, 3, 1, 3}, {2, 500, 2, 51}, {40, 500, 40, 89}, {300, 500, 300, 349}, {500, 500, 500, 500}, {0, 0, 1, 0},
	} {
		c := &conversation{first: row.first, last: row.last}
		got, err := c.do(t, "dialogues", `{"with":"`+friend+`","after":0}`)
		if err != nil {
			t.Fatal(err)
		}
		var want, numbers []uint64
		for n := row.from; n <= row.to; n++ {
			want = append(want, n)
		}
		h := got.(wire.History)
		for _, d := range h.Dialogues {
			numbers = append(numbers, d.N)
		}
		if !slices.Equal(numbers, want) || h.First != row.first || h.Last != row.last {
			t.Errorf("%d to %d: got %v, first %d, last %d", row.first, row.last, numbers, h.First, h.Last)
		}
	}
	c := &conversation{first: 5, last: 9, err: errors.New("broken")}
	if _, err := c.do(t, "dialogues", `{"with":"`+friend+`","after":0}`); !errors.Is(err, c.err) {
		t.Errorf("a failed read: %v", err)
	}
	if _, err := c.do(t, "forget", `{"with":"`+friend+`"}`); !errors.Is(err, c.err) {
		t.Errorf("a failed forget: %v", err)
	}
}

func TestHistoryAnswer(t *testing.T) {
	t.Parallel()
	c := &conversation{first: 2, last: 2}
	got, err := c.do(t, "dialogues", `{"with":"`+friend+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"code":200,"dialogues":[{"id":"7","from":"` + friend + `","payload":"x","with":"` + friend + `","n":2,"at":"1970-01-01T00:00:00.000Z"}],` +
		`"first":2,"last":2,"message":"Success","ok":true}`
	if body := string(got.Append(nil)); body != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}

// TestTalksAreOptional: a server without kept conversations has no calls for them. A server with kept conversations has
// no HTTP path for the calls that are for NATS clients only.
func TestTalksAreOptional(t *testing.T) {
	t.Parallel()
	for _, talks := range []Talks{nil, &conversation{}} {
		limits := governor.New(governor.Options{}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
		t.Cleanup(limits.Close)
		a := New(Options{Talks: talks, Governor: limits, Registry: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
			Tunnel: http.NotFoundHandler(), Away: func() bool { return false }})
		var names []string
		for _, c := range a.calls {
			if c.NeedsTalks {
				names = append(names, c.Name)
			}
		}
		status, want := http.StatusNotFound, []string(nil)
		if talks != nil {
			status, want = http.StatusOK, []string{"dialogues", "forget", "talks", "got", "read", "mark"}
		}
		if !reflect.DeepEqual(names, want) {
			t.Errorf("calls %v, want %v", names, want)
		}
		h := a.Handler()
		for path, status := range map[string]int{"/im/dialogues": status, "/im/dialogues/remove": status, "/im/dialogues/mark": status, "/im/talks": http.StatusNotFound, "/im/dialogues/got": http.StatusNotFound} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPut, (&url.URL{Path: path}).String(), nil))
			if w.Code != status {
				t.Errorf("%s: status %d, want %d", path, w.Code, status)
			}
		}
	}
}

// TestTalkBudgets: reads of conversations have a budget of their own, and to forget one is a change of a friendship.
func TestTalkBudgets(t *testing.T) {
	t.Parallel()
	once := governor.Rate{Events: 1, Per: time.Hour}
	g := governor.New(governor.Options{History: once, FriendChanges: once}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	for _, row := range []struct {
		call, user string
		limited    bool
	}{
		{"dialogues", me, false}, {"dialogues", me, true}, {"talks", me, true}, {"dialogues", friend, false},
		{"forget", me, false}, {"forget", me, true}, {"remove", me, true}, {"forget", friend, false},
	} {
		err := callNamed(t, row.call).Limit(g, &request{me: kv.User{ID: row.user}})
		if errors.Is(err, governor.ErrLimited) != row.limited {
			t.Errorf("%s of %.1s: %v, limited %t", row.call, row.user, err, row.limited)
		}
	}
}
