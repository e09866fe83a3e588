package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

// decode parses one object with encoding/json into the values of each key, in order. It returns false unless b is
// exactly one object in UTF-8. depth is its nesting, including the object itself.
func decode(b []byte) (members map[string][]json.RawMessage, depth int, ok bool) {
	if !utf8.Valid(b) || !json.Valid(b) {
		return nil, 0, false
	}
	levels := json.NewDecoder(bytes.NewReader(b))
	for level := 0; ; {
		token, err := levels.Token()
		if err == io.EOF {
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			level++
			depth = max(depth, level)
		case json.Delim('}'), json.Delim(']'):
			level--
		}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if token, _ := dec.Token(); token != json.Delim('{') {
		return nil, depth, false
	}
	members = map[string][]json.RawMessage{}
	for dec.More() {
		key, _ := dec.Token()
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, depth, false
		}
		members[key.(string)] = append(members[key.(string)], value)
	}
	return members, depth, true
}

// oneString returns the raw string of the key, or nil if the key is absent or null. It returns false if the key is
// repeated or has another type.
func oneString(members map[string][]json.RawMessage, key string) (json.RawMessage, bool) {
	values := members[key]
	switch {
	case len(values) == 0:
		return nil, true
	case len(values) > 1:
		return nil, false
	case string(values[0]) == "null":
		return nil, true
	}
	return values[0], values[0][0] == '"'
}

// meaning decodes a raw string with encoding/json, which turns an unpaired surrogate into U+FFFD.
func meaning(t testing.TB, raw []byte) string {
	t.Helper()
	if raw == nil {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return s
}

// textOf checks and decodes a JSON string. It returns false for an unpaired surrogate.
func textOf(raw []byte) (string, bool) {
	s := scanner{b: raw}
	if !s.string() || s.i != len(raw) || !utf8.Valid(raw) {
		return "", false
	}
	b, ok := RawString(raw).text()
	return string(b), ok
}

func addAll[T string | []byte](f *testing.F, seeds ...T) {
	for _, s := range seeds {
		f.Add(s)
	}
}

func FuzzParseSend(f *testing.F) {
	addAll(f,
		[]byte(`{"id":"7","toFriend":"f6","payload":"How are you?"}`),
		[]byte(`{"payload":"\u00e4\/<\ud83d\ude42","\u0069d":" ","toFriend":" f6 ","x":[{"y":-1.5e+3},null,true]}`),
		[]byte(`{"id":7,"toFriend":"f6","payload":null}`),
		[]byte(`{"id":"7","id":"8","toFriend":"f6","payload":"x"}`),
		[]byte("{\"id\":\"7\",\"toFriend\":\"\\ud800\",\"payload\":\"\xff\"}"),
		[]byte(` { "x" : { } , "id" : "" } `),
	)
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		s, code := ParseSend(frame)
		if !bytes.Equal(before, frame) {
			t.Fatal("ParseSend modified the frame")
		}
		members, depth, ok := decode(frame)
		if !ok || depth > maxDepth {
			if code != ProtocolError || s.ID != nil || s.To != nil || s.Payload != nil {
				t.Fatalf("malformed frame: code %d, %q", code, s)
			}
			return
		}
		id, idOK := oneString(members, "id")
		to, toOK := oneString(members, "toFriend")
		payload, payloadOK := oneString(members, "payload")
		if !idOK || strings.TrimSpace(meaning(t, id)) == "" {
			id = nil
		}
		if !bytes.Equal(s.ID, id) || s.IDEmpty() != (id == nil) {
			t.Fatalf("id %q, want %q", s.ID, id)
		}
		friend, isText := meaning(t, to), true
		if toOK && to != nil {
			_, isText = textOf(to)
		}
		want := Code(0)
		switch {
		case !idOK || !toOK || !payloadOK || !isText:
			want = ProtocolError
		case strings.TrimSpace(friend) == "":
			want = FriendIDEmpty
		case meaning(t, payload) == "":
			want = PayloadEmpty
		}
		if code != want {
			t.Fatalf("code %d, want %d", code, want)
		}
		if code != ProtocolError && (string(s.To) != strings.TrimSpace(friend) || !bytes.Equal(s.Payload, payload)) {
			t.Fatalf("%q, want %q and %q", s, friend, payload)
		}
	})
}

func FuzzAppendDialogue(f *testing.F) {
	f.Add([]byte(`{"id":"7","toFriend":"f6","payload":"How are you?"}`), "61")
	f.Add([]byte(`{"id":"\u0000\ud800","toFriend":"\"\\","payload":"\/<&>\u2028"}`), "6\"1\xff\n\u2028")
	f.Fuzz(func(t *testing.T, frame []byte, from string) {
		s, code := ParseSend(frame)
		if code != 0 {
			return
		}
		from = strings.ToValidUTF8(from, "\ufffd")
		got := AppendDialogue(nil, s.ID, from, s.Payload)
		var sent, arrived struct{ ID, From, Payload, ToFriend string }
		if json.Unmarshal(got, &arrived) != nil {
			t.Fatalf("not JSON: %s", got)
		}
		sent.ID, sent.From, sent.Payload = meaning(t, s.ID), from, meaning(t, s.Payload)
		if arrived != sent {
			t.Fatalf("received %+v, sent %+v", arrived, sent)
		}
		d, ok := ParseDialogue(got)
		if ok != (from != "") {
			t.Fatalf("ParseDialogue returned %t for %s", ok, got)
		}
		if ok && (string(d.From) != from || !bytes.Equal(d.Payload, s.Payload) || s.ID != nil && !bytes.Equal(d.ID, s.ID)) {
			t.Fatalf("%s parsed as %q", got, d)
		}
		echo := AppendEcho(nil, s.ID, from, string(s.To), s.Payload)
		sent.ToFriend = string(s.To)
		if json.Unmarshal(echo, &arrived) != nil || arrived != sent {
			t.Fatalf("echo %s", echo)
		}
	})
}

func FuzzParseDialogue(f *testing.F) {
	addAll(f,
		[]byte(`{"id":"7","from":"f6","payload":"x"}`),
		[]byte(`{"payload":"\ud800","from":"\u0066","id":"","x":0}`),
		[]byte(`{"id":"7","from":"\ud800","payload":"x"}`),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseDialogue(b)
		members, depth, valid := decode(b)
		id, idOK := oneString(members, "id")
		from, fromOK := oneString(members, "from")
		payload, payloadOK := oneString(members, "payload")
		want := valid && depth <= maxDepth && idOK && fromOK && payloadOK && id != nil && meaning(t, payload) != ""
		text, isText := textOf(from)
		if want = want && isText && text != ""; ok != want {
			t.Fatalf("%t, want %t", ok, want)
		}
		if ok && (!bytes.Equal(d.ID, id) || string(d.From) != text || !bytes.Equal(d.Payload, payload)) {
			t.Fatalf("%q", d)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	addAll(f,
		[]byte(`{"code":200,"message":"Success","ok":true,"id":"7"}`),
		[]byte(`{"code":512}`), []byte(`{"code":-1}`), []byte(`{"code":1e2}`), []byte(``), []byte("\n"),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := ParseReply(b)
		if taken := ParseTaken(b); taken != SendFailed && taken != Success && taken != NotFriends ||
			ok && taken != r.Code && taken != SendFailed || !ok && len(bytes.TrimSpace(b)) > 0 && taken != SendFailed {
			t.Fatalf("ParseTaken returned %d for code %d", taken, r.Code)
		}
		members, depth, valid := decode(b)
		if !ok {
			return
		}
		id, idOK := oneString(members, "id")
		var code int
		if !valid || depth > maxDepth || len(members["code"]) != 1 || json.Unmarshal(members["code"][0], &code) != nil {
			t.Fatalf("invalid answer parsed as code %d", r.Code)
		}
		if code != int(r.Code) || code < 0 || code > 999 || !idOK || !bytes.Equal(r.ID, id) {
			t.Fatalf("%d, %q; want %d, %q", r.Code, r.ID, code, id)
		}
	})
}

func FuzzText(f *testing.F) {
	addAll(f, `""`, `"\ud83d\ude42"`, `"\ud83d"`, "\"\xff\"", `"\u2028\/"`, `null`)
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendString(nil, s)
		if want := viaJSON(t, s); !bytes.Equal(quoted, want) {
			t.Fatalf("quoted %s, encoding/json %s", quoted, want)
		}
		if got, ok := textOf(quoted); !ok || got != string([]rune(s)) {
			t.Fatalf("%q decoded as %q, %t", s, got, ok)
		}
		got, ok := textOf([]byte(s))
		var want string
		trimmed := strings.TrimSpace(s) == s
		isString := utf8.ValidString(s) && trimmed && strings.HasPrefix(s, `"`) && json.Unmarshal([]byte(s), &want) == nil
		if ok && (!isString || got != want) || !ok && isString && !strings.Contains(want, "\ufffd") {
			t.Fatalf("text %q, %t; want %q, %t", got, ok, want, isString)
		}
	})
}
