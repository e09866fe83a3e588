package wire

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

var keptAtTime = time.Date(2026, 5, 4, 12, 20, 30, 120_999_999, time.FixedZone("", 2*60*60))

func keptDialogue() KeptDialogue {
	return KeptDialogue{ID: RawString(`"\u0037"`), From: []byte("f6"), Payload: RawString(`"a\/b <ä>"`), With: []byte(`6"1`), N: 17, At: keptAtTime}
}

const keptJSON = `"id":"\u0037","from":"f6","payload":"a\/b <ä>","with":"6\"1","n":17,"at":"2026-05-04T10:20:30.120Z"`

func TestKeptFrames(t *testing.T) {
	t.Parallel()
	all := keptDialogue()
	all.Re, all.Reacts, all.Edits, all.Deletes, all.Edited, all.Deleted = 1, 2, 3, 4, true, true
	entry := keptDialogue()
	talk := Talk{With: "f6", Last: 17, Got: 16, Read: 15, PeerGot: 14, PeerRead: 13, Entry: &entry}
	const talkJSON = `{"with":"f6","last":17,"got":16,"read":15,"peerGot":14,"peerRead":13,"entry":{` + keptJSON + `}}`
	login := AppendListEnd(AppendLoginMiddle(AppendListEnd(AppendLoginBegin(nil), 0), john), 0)
	login = AppendLoginEnd(AppendListEnd(AppendItem(AppendLoginTalks(login), 0, talk), 1), "2ab3")
	for name, tt := range map[string]struct {
		got  []byte
		want string
	}{
		"dialogue":   {keptDialogue().Append([]byte("x")), `x{` + keptJSON + `}`},
		"all fields": {all.Append(nil), `{` + keptJSON + `,"re":1,"reacts":2,"edits":3,"deletes":4,"edited":true,"deleted":true}`},
		"no payload": {KeptDialogue{}.Append(nil), `{"id":"","from":"","payload":"","with":"","n":0,"at":"0001-01-01T00:00:00.000Z"}`},
		"answer": {AppendKeptAnswer(nil, RawString(`"\u0037"`), 17, keptAtTime),
			`{"code":202,"message":"Dialogue Kept","ok":true,"id":"\u0037","n":17,"at":"2026-05-04T10:20:30.120Z"}`},
		"whole second": {AppendKeptAnswer(nil, RawString(`"7"`), 1, keptAtTime.Truncate(time.Second)),
			`{"code":202,"message":"Dialogue Kept","ok":true,"id":"7","n":1,"at":"2026-05-04T10:20:30.000Z"}`},
		"delivered": {AppendDelivered(nil, "f6", 17), `{"code":303,"message":"Dialogue Delivered","ok":true,"id":"f6","n":17}`},
		"read":      {AppendRead(nil, "f6", 17, false), `{"code":304,"message":"Dialogue Read","ok":true,"id":"f6","n":17}`},
		"own read":  {AppendRead(nil, "f6", 17, true), `{"code":304,"message":"Dialogue Read","ok":true,"id":"f6","n":17,"own":true}`},
		"marked":    {AppendMarked(nil, "f6", true, false, true), `{"code":306,"message":"Conversation Marked","ok":true,"id":"f6","pinned":true,"archived":false,"muted":true}`},
		"typing":    {AppendTyping(nil, "f6"), `{"code":305,"message":"Friend Typing","ok":true,"id":"f6"}`},
		"pong":      {AppendPong(nil, RawString(`"\/"`)), `{"code":200,"message":"Success","ok":true,"pong":"\/"}`},
		"talks": {Talks{talk, {With: "f7"}}.Append(nil), `{"code":200,"message":"Success","ok":true,"talks":[` + talkJSON +
			`,{"with":"f7","last":0,"got":0,"read":0,"peerGot":0,"peerRead":0,"entry":null}]}`},
		"marks": {Talk{With: "f7", Pinned: true, Archived: true, Muted: true}.Append(nil),
			`{"with":"f7","last":0,"got":0,"read":0,"peerGot":0,"peerRead":0,"entry":null,"pinned":true,"archived":true,"muted":true}`},
		"no talks": {Talks{}.Append(nil), `{"code":200,"message":"Success","ok":true,"talks":null}`},
		"login": {login, `{"code":200,"friends":null,"message":"Success","ok":true,"profile":{` + johnJSON + `},"requests":null,` +
			`"talks":[` + talkJSON + `],"token":"2ab3"}`},
		"history": {History{Dialogues: []KeptDialogue{entry, entry}, First: 1, Last: 17}.Append(nil),
			`{"code":200,"dialogues":[{` + keptJSON + `},{` + keptJSON + `}],"first":1,"last":17,"message":"Success","ok":true}`},
		"no history": {History{}.Append(nil), `{"code":200,"dialogues":null,"first":0,"last":0,"message":"Success","ok":true}`},
	} {
		if string(tt.got) != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, tt.got, tt.want)
		}
	}
}

func TestParseKept(t *testing.T) {
	t.Parallel()
	all := keptDialogue()
	all.Re, all.Reacts, all.Edits, all.Deletes, all.Edited, all.Deleted = 1, 2, 3, 4, true, true
	empty := keptDialogue()
	empty.Payload = RawString(`""`)
	for _, d := range []KeptDialogue{keptDialogue(), all, empty} {
		frame := d.Append(nil)
		got, ok := ParseKept(frame)
		d.At = d.At.UTC().Truncate(time.Millisecond)
		if !ok || !reflect.DeepEqual(got, d) {
			t.Errorf("%s parsed as %+v, %t", frame, got, ok)
		}
		plain, ok := ParseDialogue(frame)
		if want := len(d.Payload) > 2; ok != want || ok && (string(plain.ID) != string(d.ID) || string(plain.From) != "f6" || string(plain.Payload) != string(d.Payload)) {
			t.Errorf("%s: ParseDialogue returned %+v, %t", frame, plain, ok)
		}
	}
	const whole = `{"id":"7","from":"f6","payload":"x","with":"61","n":17,"at":"2026-05-04T10:20:30.120Z","x":[1]}`
	if _, ok := ParseKept([]byte(whole)); !ok {
		t.Fatalf("%s is refused", whole)
	}
	for old, replacements := range map[string][]string{
		`"id":"7",`:         {``, `"id":7,`, `"id":null,`},
		`"from":"f6",`:      {``, `"from":"",`, `"from":"\ud800",`, `"from":6,`},
		`"payload":"x",`:    {``, `"payload":null,`, `"payload":5,`},
		`"with":"61",`:      {``, `"with":"",`, `"with":61,`},
		`"n":17,`:           {``, `"n":0,`, `"n":"17",`, `"n":-1,`, `"n":1.5,`, `"n":17,"n":17,`, `"n":null,`, `"n":17,"re":0,`, `"n":17,"edits":"1",`},
		`"at":"2026-05-04T`: {`"on":"2026-05-04T`, `"at":"2026-13-04T`, `"at":"2026-05-04t`, `"at":"2026-05-04X`, `"at":null,"x":"`},
		`.120Z"`:            {`Z"`, `.12Z"`, `.1200Z"`, `.120+00:00"`, `+02:00"`},
		`[1]}`:              {`[1]`, `[1]}}`},
	} {
		for _, replacement := range replacements {
			if frame := strings.Replace(whole, old, replacement, 1); frame == whole {
				t.Errorf("%s is not in the frame", old)
			} else if d, ok := ParseKept([]byte(frame)); ok || !reflect.DeepEqual(d, KeptDialogue{}) {
				t.Errorf("%s parsed as %+v, %t", frame, d, ok)
			}
		}
	}
}

func TestKeptNotices(t *testing.T) {
	t.Parallel()
	for frame, want := range map[string]Notice{
		string(AppendDelivered(nil, "f6", 17)):   {Code: DialogueDelivered, ID: "f6", N: 17},
		string(AppendRead(nil, "f6", 17, false)): {Code: DialogueRead, ID: "f6", N: 17},
		string(AppendRead(nil, "f6", 17, true)):  {Code: DialogueRead, ID: "f6", N: 17, Own: true},
		string(AppendTyping(nil, "f6")):          {Code: FriendTyping, ID: "f6"},

		string(AppendMarked(nil, "f6", true, false, false)): {Code: Marked, ID: "f6"},
	} {
		if got, ok := ParseNotice([]byte(frame)); !ok || got != want {
			t.Errorf("%s: %+v, %t", frame, got, ok)
		}
	}
	for _, frame := range [][]byte{
		keptDialogue().Append(nil), AppendKeptAnswer(nil, RawString(`"7"`), 17, keptAtTime), AppendPong(nil, RawString(`"x"`)),
		AppendReply(nil, DialogueRead, RawString(`"f6"`)),
	} {
		if got, ok := ParseNotice(frame); ok {
			t.Errorf("%s is a notice: %+v", frame, got)
		}
	}
	notices := []Notice{
		{Code: DialogueDelivered, ID: "f6", N: 17}, {Code: DialogueDelivered, ID: "f6", N: 18}, {Code: DialogueDelivered, ID: "f7", N: 17},
		{Code: DialogueRead, ID: "f6", N: 17}, {Code: DialogueRead, ID: "f6", N: 18}, {Code: DialogueRead, ID: "f6", N: 18, Own: true},
		{Code: FriendTyping, ID: "f6"}, {Code: FriendTyping, ID: "f7"}, {Code: FriendOnline, ID: "f6"}, {Code: FriendRemoved, ID: "f6"},
		{Code: Marked, ID: "f6"}, {Code: Marked, ID: "f7"},
	}
	for i, next := range notices {
		for j, earlier := range notices {
			want := i == j || i == 1 && j == 0 || i == 4 && j == 3
			if got := next.Supersedes(earlier); got != want {
				t.Errorf("%+v supersedes %+v: %t, want %t", next, earlier, got, want)
			}
		}
	}
}

func TestFrameUnmarshalsKeptFrames(t *testing.T) {
	t.Parallel()
	d := keptDialogue()
	d.Re, d.Edited = 3, true
	for _, tt := range []struct {
		in   []byte
		want Frame
	}{
		{d.Append(nil), Frame{Profile: Profile{ID: "7"}, From: "f6", Payload: "a/b <ä>", With: `6"1`, N: 17, At: keptAtTime.UTC().Truncate(time.Millisecond),
			Re: 3, Edited: true}},
		{AppendKeptAnswer(nil, RawString(`"7"`), 17, keptAtTime), Frame{Code: 202, Message: "Dialogue Kept", OK: true, Profile: Profile{ID: "7"}, N: 17,
			At: keptAtTime.UTC().Truncate(time.Millisecond)}},
		{AppendRead(nil, "f6", 17, true), Frame{Code: 304, Message: "Dialogue Read", OK: true, Profile: Profile{ID: "f6"}, N: 17, Own: true}},
		{AppendPong(nil, RawString(`"x"`)), Frame{Code: 200, Message: "Success", OK: true, Pong: "x"}},
	} {
		var got Frame
		if err := json.Unmarshal(tt.in, &got); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}

func FuzzParseKept(f *testing.F) {
	addAll(f,
		keptDialogue().Append(nil), []byte(`{"id":"7","from":"f6","payload":"x"}`),
		[]byte(`{"at":"2026-05-04T10:20:30.120Z","n":1,"with":"\u0066","payload":"","from":"f6","id":"","deletes":3,"deleted":true}`),
		[]byte(`{"id":"7","from":"f6","payload":"x","with":"61","n":17,"at":"2026-02-30T10:20:30.120Z"}`),
	)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseKept(b)
		if !ok {
			if !reflect.DeepEqual(d, KeptDialogue{}) {
				t.Fatalf("refused, with %+v", d)
			}
			return
		}
		// What is accepted means the same to encoding/json, and survives a round trip.
		var want Frame
		members, _, valid := decode(b)
		if !valid || json.Unmarshal([]byte(`{"n":`+string(members["n"][0])+`,"at":`+string(members["at"][0])+`}`), &want) != nil {
			t.Fatalf("accepted %s", b)
		}
		if d.N != want.N || !d.At.Equal(want.At) || meaning(t, members["from"][0]) != string(d.From) || meaning(t, members["with"][0]) != string(d.With) {
			t.Fatalf("%s parsed as %+v", b, d)
		}
		again, ok := ParseKept(d.Append(nil))
		if !ok || !reflect.DeepEqual(again, d) {
			t.Fatalf("%+v, %t after a round trip of %+v", again, ok, d)
		}
	})
}
