package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

func TestParseKeep(t *testing.T) {
	t.Parallel()
	dialogue := func(s Send) KeepFrame { return KeepFrame{Send: s} }
	whole := Send{RawString(`"7"`), []byte("f6"), RawString(`"x"`)}
	const begin = `{"id":"7","toFriend":"f6","payload":"x"`
	for _, tt := range []struct {
		frame string
		code  Code
		want  KeepFrame
	}{
		{begin + `}`, 0, dialogue(whole)},
		{begin + `,"re":null,"reacts":null,"edits":null,"deletes":null,"got":null,"with":5}`, 0, dialogue(whole)},
		{begin + `,"re":1}`, 0, KeepFrame{Send: whole, Re: 1}},
		{begin + `,"re":9007199254740992,"reacts":17}`, 0, KeepFrame{Send: whole, Re: MaxNumber, Reacts: 17}},
		{begin + `,"edits":17}`, 0, KeepFrame{Send: whole, Edits: 17}},
		{begin + `,"deletes":17}`, 0, KeepFrame{Send: whole, Deletes: 17}},
		{`{"id":"7","toFriend":"f6","deletes":17}`, 0, KeepFrame{Send: Send{whole.ID, whole.To, nil}, Deletes: 17}},
		{`{"id":"7","toFriend":"f6","payload":"","deletes":17}`, 0, KeepFrame{Send: Send{whole.ID, whole.To, RawString(`""`)}, Deletes: 17}},
		{`{"toFriend":"f6","payload":"x","re":2}`, 0, KeepFrame{Send: Send{nil, whole.To, whole.Payload}, Re: 2}},

		{`{"id":"7","payload":"x","re":2}`, FriendIDEmpty, KeepFrame{Send: Send{whole.ID, nil, whole.Payload}, Re: 2}},
		{`{"id":"7","deletes":2}`, FriendIDEmpty, KeepFrame{Send: Send{ID: whole.ID}, Deletes: 2}},
		{`{"id":"7","toFriend":"f6","edits":2}`, PayloadEmpty, KeepFrame{Send: Send{whole.ID, whole.To, nil}, Edits: 2}},
		{`{"id":"7","toFriend":"f6","payload":"","reacts":2}`, PayloadEmpty, KeepFrame{Send: Send{whole.ID, whole.To, RawString(`""`)}, Reacts: 2}},

		{begin + `,"re":0}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":-1}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":1.0}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":1e2}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":"1"}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":true}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":9007199254740993}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":18446744073709551617}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":1,"re":1}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"re":0,"edits":1}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"reacts":1,"edits":2}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{begin + `,"edits":1,"deletes":2}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{`{"id":"7","toFriend":"f6","payload":5,"deletes":2}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{`{"id":"7","re":0}`, ProtocolError, dialogue(Send{ID: whole.ID})},
		{`["7"]`, ProtocolError, KeepFrame{}},
		{``, ProtocolError, KeepFrame{}},

		{`{"got":17,"with":"f6"}`, 0, KeepFrame{Kind: KeepGot, With: []byte("f6"), N: 17}},
		{`{"with":" \u0066\u0036 ","got":1,"id":"7","read":null}`, 0, KeepFrame{Kind: KeepGot, With: []byte("f6"), N: 1}},
		{`{"read":17,"with":"f6"}`, 0, KeepFrame{Kind: KeepRead, With: []byte("f6"), N: 17}},
		{`{"typing":true,"with":"f6"}`, 0, KeepFrame{Kind: KeepTyping, With: []byte("f6")}},
		{`{"ping":"x\u0000"}`, 0, KeepFrame{Kind: KeepPing, Ping: RawString(`"x\u0000"`)}},
		{`{"ping":"","with":7}`, 0, KeepFrame{Kind: KeepPing, Ping: RawString(`""`)}},

		{`{"got":0,"with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":"17","with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17.5,"with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17,"with":null}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17,"with":""}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17,"with":" "}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17,"with":6}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17,"with":"\ud800"}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"got":17,"with":"a","with":"a"}`, ProtocolError, KeepFrame{Kind: KeepGot}},
		{`{"read":0,"with":"f6","id":"7"}`, ProtocolError, KeepFrame{Kind: KeepRead, Send: Send{ID: whole.ID}}},
		{`{"got":17,"read":17,"with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepRead}},
		{`{"typing":true}`, ProtocolError, KeepFrame{Kind: KeepTyping}},
		{`{"typing":false,"with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepTyping}},
		{`{"typing":"true","with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepTyping}},
		{`{"ping":1}`, ProtocolError, KeepFrame{Kind: KeepPing}},
		{`{"ping":true,"typing":true}`, ProtocolError, KeepFrame{Kind: KeepPing}},
		{begin + `,"got":17,"with":"f6"}`, ProtocolError, KeepFrame{Kind: KeepGot, Send: Send{ID: whole.ID}}},
		{begin + `,"ping":"x"}`, ProtocolError, KeepFrame{Kind: KeepPing, Send: Send{ID: whole.ID}}},
	} {
		got, code := ParseKeep([]byte(tt.frame))
		if code != tt.code || !sameFrame(got, tt.want) {
			t.Errorf("%s:\n%+v, %d; want\n%+v, %d", tt.frame, got, code, tt.want, tt.code)
		}
	}
}

// sameFrame compares frames. nil and empty are different.
func sameFrame(a, b KeepFrame) bool {
	same := func(x, y []byte) bool { return bytes.Equal(x, y) && (x == nil) == (y == nil) }
	return a.Kind == b.Kind && same(a.ID, b.ID) && same(a.To, b.To) && same(a.Payload, b.Payload) && same(a.With, b.With) &&
		same(a.Ping, b.Ping) && a.N == b.N && a.Re == b.Re && a.Reacts == b.Reacts && a.Edits == b.Edits && a.Deletes == b.Deletes
}

// FuzzParseKeep compares ParseKeep with encoding/json, and with ParseSend for frames without the further keys.
func FuzzParseKeep(f *testing.F) {
	addAll(f,
		[]byte(`{"id":"7","toFriend":"f6","payload":"How are you?","re":3,"edits":9007199254740992}`),
		[]byte(`{"id":"7","toFriend":"f6","deletes":1}`), []byte(`{"id":"7","toFriend":"f6","payload":"","deletes":01}`),
		[]byte(`{"got":17,"with":"f6"}`), []byte(`{"read":1e1,"with":" "}`), []byte(`{"typing":true,"with":"f6"}`),
		[]byte(`{"ping":"x"}`), []byte(`{"ping":"x","got":null}`), []byte(`{"got":1,"got":2,"with":"f6"}`), []byte(`{"re":0}`),
	)
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		got, code := ParseKeep(frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("ParseKeep modified the frame")
		}
		members, depth, ok := decode(frame)
		if !ok || depth > maxDepth {
			if code != ProtocolError || !sameFrame(got, KeepFrame{}) {
				t.Fatalf("malformed frame: code %d, %+v", code, got)
			}
			return
		}
		further := false
		for _, key := range keepKeys[keepRe:] {
			further = further || members[key] != nil
		}
		if !further {
			send, want := ParseSend(frame)
			if code != want || !sameFrame(got, KeepFrame{Send: send}) {
				t.Fatalf("%+v, %d; ParseSend: %+v, %d", got, code, send, want)
			}
			return
		}
		if code == ProtocolError {
			return
		}
		number := func(key string) uint64 {
			switch values := members[key]; {
			case len(values) == 0 || len(values) == 1 && string(values[0]) == "null":
				return 0
			case len(values) == 1:
				if n, err := strconv.ParseUint(string(values[0]), 10, 64); err == nil && n >= 1 && n <= MaxNumber {
					return n
				}
			}
			t.Fatalf("accepted %s %s", key, members[key])
			return 0
		}
		isSet := func(key string) bool { return len(members[key]) > 0 && string(members[key][0]) != "null" }
		kinds := 0
		for _, key := range []string{"got", "read", "typing", "ping"} {
			if isSet(key) {
				kinds++
			}
		}
		changes := 0
		for _, key := range []string{"reacts", "edits", "deletes"} {
			if isSet(key) {
				changes++
			}
		}
		want := KeepFrame{Kind: got.Kind, Send: got.Send, With: got.With, Ping: got.Ping}
		switch {
		case kinds > 1 || kinds == 1 && (isSet("payload") || code != 0) || kinds == 0 && changes > 1:
			t.Fatalf("accepted as kind %d with code %d", got.Kind, code)
		case got.Kind == KeepDialogue:
			want.Re, want.Reacts, want.Edits, want.Deletes = number("re"), number("reacts"), number("edits"), number("deletes")
			if kinds != 0 || code == PayloadEmpty && want.Deletes != 0 || code == 0 && len(got.Payload) <= 2 && want.Deletes == 0 {
				t.Fatalf("code %d for %+v", code, got)
			}
		case got.Kind == KeepGot:
			want.N = number("got")
		case got.Kind == KeepRead:
			want.N = number("read")
		case got.Kind == KeepTyping && string(members["typing"][0]) != "true", got.Kind == KeepPing && !bytes.Equal(got.Ping, members["ping"][0]):
			t.Fatalf("accepted %s", frame)
		}
		if !sameFrame(got, want) {
			t.Fatalf("%+v, want %+v", got, want)
		}
		if got.Kind == KeepGot || got.Kind == KeepRead || got.Kind == KeepTyping {
			var with string
			if len(members["with"]) != 1 || json.Unmarshal(members["with"][0], &with) != nil || strings.TrimSpace(with) != string(got.With) || with == "" {
				t.Fatalf("with %q, want %s", got.With, members["with"])
			}
		}
	})
}
