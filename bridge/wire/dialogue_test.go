package wire

import (
	"testing"
)

func TestParseSend(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, frame     string
		code            Code
		id, to, payload string // id and payload raw; "" for none
	}{
		{"whole", `{"id":"7","toFriend":"f6","payload":"How are you?"}`, 0, `"7"`, "f6", `"How are you?"`},
		{"verbatim", `{"payload":" \u00e4\/<\ud800 ","id":" \u0037 ","toFriend":"f6"}`, 0, `" \u0037 "`, "f6", `" \u00e4\/<\ud800 "`},
		{"friend is trimmed", `{"id":"7","toFriend":" \t\u0066\u0036\u3000","payload":"x"}`, 0, `"7"`, "f6", `"x"`},
		{"white payload", `{"id":"7","toFriend":"f6","payload":" "}`, 0, `"7"`, "f6", `" "`},
		{"unknown keys", `{"id":"7","ID":"8","from":"me","toFriend":"f6","tofriend":1,"payload":"x","n":[{}]}`, 0, `"7"`, "f6", `"x"`},
		{"escaped key", `{"\u0069d":"7","toFriend":"f6","payload":"x"}`, 0, `"7"`, "f6", `"x"`},

		{"no id", `{"toFriend":"f6","payload":"x"}`, 0, "", "f6", `"x"`},
		{"null id", `{"id":null,"toFriend":"f6","payload":"x"}`, 0, "", "f6", `"x"`},
		{"empty id", `{"id":"","toFriend":"f6","payload":"x"}`, 0, "", "f6", `"x"`},
		{"white id", `{"id":" \n\u00a0\u0020","toFriend":"f6","payload":"x"}`, 0, "", "f6", `"x"`},
		{"id is half a pair", `{"id":"\ud800","toFriend":"f6","payload":"x"}`, 0, `"\ud800"`, "f6", `"x"`},

		{"no friend", `{"id":"7","payload":"x"}`, FriendIDEmpty, `"7"`, "", `"x"`},
		{"null friend", `{"id":"7","toFriend":null,"payload":"x"}`, FriendIDEmpty, `"7"`, "", `"x"`},
		{"white friend", `{"id":"7","toFriend":" \n","payload":"x"}`, FriendIDEmpty, `"7"`, "", `"x"`},
		{"friend before payload", `{"id":"7"}`, FriendIDEmpty, `"7"`, "", ""},
		{"nothing", `{}`, FriendIDEmpty, "", "", ""},
		{"no payload", `{"id":"7","toFriend":"f6"}`, PayloadEmpty, `"7"`, "f6", ""},
		{"null payload", `{"id":"7","toFriend":"f6","payload":null}`, PayloadEmpty, `"7"`, "f6", ""},
		{"empty payload", `{"id":"7","toFriend":"f6","payload":""}`, PayloadEmpty, `"7"`, "f6", `""`},
		{"payload before id", `{"toFriend":"f6"}`, PayloadEmpty, "", "f6", ""},

		{"number for friend", `{"id":"7","toFriend":6,"payload":"x"}`, ProtocolError, `"7"`, "", ""},
		{"object for payload", `{"id":"7","toFriend":"f6","payload":{"t":"x"}}`, ProtocolError, `"7"`, "", ""},
		{"id after the fault", `{"toFriend":6,"payload":"x","id":"7"}`, ProtocolError, `"7"`, "", ""},
		{"number for id", `{"id":7,"toFriend":"f6","payload":"x"}`, ProtocolError, "", "", ""},
		{"two friends", `{"id":"7","toFriend":"a","toFriend":"b","payload":"x"}`, ProtocolError, `"7"`, "", ""},
		{"two ids", `{"id":"7","id":"7","toFriend":"a","payload":"x"}`, ProtocolError, "", "", ""},
		{"friend is half a pair", `{"id":"7","toFriend":"\ud800","payload":"x"}`, ProtocolError, `"7"`, "", ""},
		{"white id and a fault", `{"id":" ","toFriend":6,"payload":"x"}`, ProtocolError, "", "", ""},
		{"cut off", `{"id":"7","toFriend":"f6","payload":"x"`, ProtocolError, "", "", ""},
		{"not UTF-8", "{\"id\":\"7\",\"toFriend\":\"f6\",\"payload\":\"\xff\"}", ProtocolError, "", "", ""},
		{"an array", `["7","f6","x"]`, ProtocolError, "", "", ""},
		{"no bytes", ``, ProtocolError, "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, code := ParseSend([]byte(tt.frame))
			if code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if string(s.ID) != tt.id || string(s.To) != tt.to || string(s.Payload) != tt.payload {
				t.Errorf("id %s, to %s, payload %s; want %s, %s, %s", s.ID, s.To, s.Payload, tt.id, tt.to, tt.payload)
			}
			if s.IDEmpty() != (tt.id == "") {
				t.Errorf("IDEmpty() is %t with id %s", s.IDEmpty(), tt.id)
			}
		})
	}
}

// TestParsedFieldsAreClipped checks that appending to a parsed field does not overwrite its frame.
func TestParsedFieldsAreClipped(t *testing.T) {
	t.Parallel()
	const text = `{"id":"7","toFriend":"f6  ","payload":"x"}`
	frame := []byte(text)
	s, _ := ParseSend(frame)
	_ = append(s.ID, '!')
	_ = append(s.To, '!')
	_ = append(s.Payload, '!')
	if got := string(frame); got != text {
		t.Errorf("append changed the frame to %s", got)
	}
	dialogue := []byte(`{"id":"7","from":"f6","payload":"x"}`)
	d, _ := ParseDialogue(dialogue)
	_ = append(d.From, '!')
	if got := string(dialogue); got != `{"id":"7","from":"f6","payload":"x"}` {
		t.Errorf("append changed the dialogue to %s", got)
	}
}

func TestAppendDialogue(t *testing.T) {
	t.Parallel()
	id, payload := RawString(`"\u0037"`), RawString(`"a\/b <ä>"`)
	if got, want := string(AppendDialogue([]byte("x"), id, "f6", payload)), `x{"id":"\u0037","from":"f6","payload":"a\/b <ä>"}`; got != want {
		t.Errorf("dialogue %s, want %s", got, want)
	}
	if got, want := string(AppendEcho(nil, id, "f6", `6"1`, payload)), `{"id":"\u0037","from":"f6","toFriend":"6\"1","payload":"a\/b <ä>"}`; got != want {
		t.Errorf("echo %s, want %s", got, want)
	}
	if got, want := string(AppendDialogue(nil, nil, "", nil)), `{"id":"","from":"","payload":""}`; got != want {
		t.Errorf("dialogue without fields: %s, want %s", got, want)
	}
}

func TestParseDialogue(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		`{"id":"7","from":"f6","payload":"x"}`:               true,
		`{"payload":"x","from":"\u00666","id":"","extra":1}`: true,
		`{"from":"f6","payload":"x"}`:                        false,
		`{"id":"7","payload":"x"}`:                           false,
		`{"id":"7","from":"","payload":"x"}`:                 false,
		`{"id":"7","from":"\udc00","payload":"x"}`:           false,
		`{"id":"7","from":"f6"}`:                             false,
		`{"id":"7","from":"f6","payload":""}`:                false,
		`{"id":7,"from":"f6","payload":"x"}`:                 false,
		`{"id":"7","id":"7","from":"f6","payload":"x"}`:      false,
		`{"id":"7","from":"f6","payload":"x"`:                false,
		``:                                                   false,
	} {
		d, ok := ParseDialogue([]byte(in))
		if ok != want {
			t.Errorf("%s: %t, want %t", in, ok, want)
		}
		if ok && (string(d.From) != "f6" || string(d.Payload) != `"x"` || d.ID == nil) {
			t.Errorf("%s: parsed as %s, %s, %s", in, d.ID, d.From, d.Payload)
		}
	}
}

func TestParseReply(t *testing.T) {
	t.Parallel()
	for _, info := range All() {
		for _, id := range []RawString{nil, RawString(`"\u0037 7"`)} {
			r, ok := ParseReply(AppendReply(nil, info.Code, id))
			if !ok || r.Code != info.Code || string(r.ID) != string(id) || (r.ID == nil) != (id == nil) {
				t.Errorf("answer %d with id %s parsed as %d, %s, %t", info.Code, id, r.Code, r.ID, ok)
			}
		}
	}
	for _, in := range []string{
		``, `{}`, `200`, `{"code":null}`, `{"code":"200"}`, `{"code":-20}`, `{"code":2e2}`, `{"code":2.0}`, `{"code":2000}`,
		`{"code":200,"code":200}`, `{"code":200,"id":7}`, `{"Code":200}`, `{"code":[200]}`, `{"code":{}}`,
	} {
		if r, ok := ParseReply([]byte(in)); ok {
			t.Errorf("%s parsed as answer %d, want false", in, r.Code)
		}
	}
}

func TestParseTaken(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Code{
		``:                                 Success,
		" \n":                              Success,
		`{"code":200}`:                     Success,
		`{"code":200,"message":"Success"}`: Success,
		`{"code":512}`:                     NotFriends,
		`{"code":507}`:                     SendFailed,
		`{"code":508}`:                     SendFailed,
		`{"code":0}`:                       SendFailed,
		`{"code":"200"}`:                   SendFailed,
		`{"ok":true}`:                      SendFailed,
		`+OK`:                              SendFailed,
		`null`:                             SendFailed,
	} {
		if got := ParseTaken([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}
