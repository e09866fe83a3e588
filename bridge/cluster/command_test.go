package cluster

import (
	"reflect"
	"testing"
	"time"
)

// TestCommandsOnTheWire: commands have the JSON that nodes of other versions read, and survive the way there.
func TestCommandsOnTheWire(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, row := range []struct {
		command Command
		json    string
	}{
		{RosterChanged{User: "a", Other: "b", Friend: true, Revision: 7}, `{"op":"roster","user":"a","other":"b","friend":true,"revision":7}`},
		{RosterChanged{User: "a", Other: "b", Revision: 8}, `{"op":"roster","user":"a","other":"b","revision":8}`},
		{Befriended{Friends: []Friendship{{User: "a", Other: "b", Alias: "B", Revision: 7}, {User: "b", Other: "a", Revision: 9}}},
			`{"op":"friends","friends":[{"user":"a","other":"b","alias":"B","revision":7},{"user":"b","other":"a","revision":9}]}`},
		{ProfileChanged{User: "a"}, `{"op":"profile","user":"a"}`},
		{CloseSessions{User: "a", Code: 1008, Reason: "r"}, `{"op":"close","user":"a","code":1008,"reason":"r"}`},
		{CloseSessions{User: "a", IDs: []string{"s"}, Token: "t", KeepToken: "k", Frame: []byte("{}"), Code: 1000, Reason: "r"},
			`{"op":"close","user":"a","sessions":["s"],"token_hash":"t","keep_token_hash":"k","frame":"e30=","code":1000,"reason":"r"}`},
		{ListSessions{}, `{"op":"sessions"}`},
		{ListSessions{User: "a", Limit: 2, After: Cursor{Since: at, ID: "s"}, Node: "n", Joins: "j"},
			`{"op":"sessions","user":"a","limit":2,"after":{"since":"2026-01-02T03:04:05.000000006Z","id":"s"},"node":"n","joins":"j"}`},
		{ClientConnected{User: "a"}, `{"op":"client","user":"a"}`},
		{NodeStarted{}, `{"op":"hello"}`},
		{NodeStarted{Back: true}, `{"op":"hello","back":true}`},
		{Disconnect{Name: "user:a"}, `{"op":"kick","name":"user:a"}`},
		{GatewayOpened{Gateway: "g", Revision: 7}, `{"op":"gateway_opened","gateway":"g","revision":7}`},
		{GatewayChanged{Gateway: "g"}, `{"op":"gateway_changed","gateway":"g"}`},
		{NodeStarted{From: "n"}, `{"op":"hello","from":"n"}`},
		{nodeLost{}, `{"op":"gone"}`},
		{nodeLost{Node: "n"}, `{"op":"gone","node":"n"}`},
		{ping{}, `{"op":"ping"}`},
		{ping{From: "n"}, `{"op":"ping","from":"n"}`},
		{consumerAttached{}, `{"op":"log"}`},
		{ModeratorChanged{Name: "filter", Removed: true}, `{"op":"moderator","name":"filter","removed":true}`},
		{checkState{}, `{"op":"state"}`},
		{status{}, `{"op":"status"}`},
	} {
		got, err := encode(row.command)
		if err != nil || string(got) != row.json {
			t.Errorf("%#v: %s, %v, want %s", row.command, got, err, row.json)
		}
		if back, err := decode(got); err != nil || !reflect.DeepEqual(back, row.command) {
			t.Errorf("%s is %#v, %v, want %#v", got, back, err, row.command)
		}
	}
	if c, err := decode([]byte(`{"op":"later","user":"a"}`)); err != nil || c != unknown("later") {
		t.Errorf("a command of a later version is %#v, %v", c, err)
	}
	if c, err := decode([]byte(`{"op":7}`)); err == nil {
		t.Errorf("malformed JSON is %#v", c)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	all := func() []Session {
		return []Session{{ID: "c", Since: at.Add(time.Second)}, {ID: "b", Since: at}, {ID: "a", Since: at}}
	}
	for _, row := range []struct {
		after Cursor
		limit int
		want  string
		more  bool
	}{
		{Cursor{}, 0, "abc", false}, {Cursor{}, 2, "ab", true}, {Cursor{at, "a"}, 0, "bc", false}, {Cursor{at, "b"}, 5, "c", false},
		{Cursor{at.Add(time.Second), "c"}, 1, "", false}, {Cursor{at.Add(-time.Second), "z"}, 1, "a", true},
	} {
		got := ""
		page, more := Page(all(), row.after, row.limit, Session.Cursor)
		for _, s := range page {
			got += s.ID
		}
		if got != row.want || more != row.more {
			t.Errorf("after %v, at most %d: %q, more %t, want %q, more %t", row.after, row.limit, got, more, row.want, row.more)
		}
	}
}
