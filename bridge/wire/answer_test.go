package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
)

var (
	tom   = Profile{ID: "f6", ProfileFields: ProfileFields{Name: "Tom", Picture: "img/base64:0101", Sex: "male", Birthday: "1937-07-07", Sign: "<b>&\"\u2028\x01"}}
	john  = Profile{ID: "61", ProfileFields: ProfileFields{Name: "Funny John"}}
	sunny = Friend{Profile: tom, Online: true}
	alex  = Request{ID: "f7", Name: "Alex", To: "61", Note: "Hello John,\nthis is Alex"}
)

const (
	tomJSON  = `"id":"f6","name":"Tom","picture":"img/base64:0101","sex":"male","birthday":"1937-07-07","sign":"<b>&\"\u2028\u0001"`
	johnJSON = `"id":"61","name":"Funny John","picture":"","sex":"","birthday":"","sign":""`
	alexJSON = `{"id":"f7","name":"Alex","to":"61","note":"Hello John,\nthis is Alex"}`
)

func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"login", NewLogin(john, []Friend{sunny, {Profile: john}}, []Request{alex, alex}, "2ab3").Append(nil),
			`{"code":200,"friends":[{` + tomJSON + `,"online":true},{` + johnJSON + `,"online":false}],"message":"Success","ok":true,` +
				`"profile":{` + johnJSON + `},"requests":[` + alexJSON + `,` + alexJSON + `],"token":"2ab3"}`},
		{"login without friends", NewLogin(john, []Friend{}, nil, "2ab3").Append(nil),
			`{"code":200,"friends":null,"message":"Success","ok":true,"profile":{` + johnJSON + `},"requests":null,"token":"2ab3"}`},
		{"found", NewFound([]Profile{tom, john}).Append(nil),
			`{"code":200,"found":[{` + tomJSON + `},{` + johnJSON + `}],"message":"Success","ok":true}`},
		{"found without a match", NewFound([]Profile{}).Append(nil), `{"code":200,"found":null,"message":"Success","ok":true}`},
		{"offline", AppendPresence(nil, "f6", false), `{"code":300,"message":"Friend Offline","ok":true,"id":"f6"}`},
		{"online", AppendPresence(nil, "f6", true), `{"code":302,"message":"Friend Online","ok":true,"id":"f6"}`},
		{"refresh", AppendRefresh(nil, tom), `{"code":301,"message":"Refresh Friend's Profile","ok":true,` + tomJSON + `}`},
		{"apply", AppendApply(nil, alex), `{"code":520,"message":"Apply For a Friend","ok":true,"request":` + alexJSON + `}`},
		{"added", AppendAdded(nil, sunny), `{"code":524,"message":"Friend Added","ok":true,"friend":{` + tomJSON + `,"online":true}}`},
		{"removed", AppendRemoved(nil, "f6"), `{"code":525,"message":"Friend Removed","ok":true,"id":"f6"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if string(tt.got) != tt.want {
				t.Errorf("got  %s\nwant %s", tt.got, tt.want)
			}
		})
	}
}

// TestAnswersMatchEncodingJSON compares the Append methods with encoding/json.
func TestAnswersMatchEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, v := range []interface{ Append([]byte) []byte }{
		tom, sunny, alex,
		NewLogin(john, []Friend{sunny, sunny}, []Request{alex}, "2ab3"),
		NewLogin(john, nil, nil, "2ab3"),
		NewFound([]Profile{tom}), NewFound(nil),
	} {
		if got, want := v.Append(nil), viaJSON(t, v); !bytes.Equal(got, want) {
			t.Errorf("%T:\n%s\nencoding/json:\n%s", v, got, want)
		}
	}
}

func viaJSON(t testing.TB, v any) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

func TestFrameUnmarshalsEveryFrame(t *testing.T) {
	t.Parallel()
	head := func(f Frame) Frame { f.Message, f.OK = f.Code.Message(), f.Code.OK(); return f }
	for _, tt := range []struct {
		in   []byte
		want Frame
	}{
		{AppendReply(nil, PeerOffline, RawString(`"7"`)), head(Frame{Code: 508, Profile: Profile{ID: "7"}})},
		{AppendPresence(nil, "f6", true), head(Frame{Code: 302, Profile: Profile{ID: "f6"}})},
		{AppendRefresh(nil, tom), head(Frame{Code: 301, Profile: tom})},
		{AppendApply(nil, alex), head(Frame{Code: 520, Request: &alex})},
		{AppendAdded(nil, sunny), head(Frame{Code: 524, Friend: &sunny})},
		{AppendRemoved(nil, "f6"), head(Frame{Code: 525, Profile: Profile{ID: "f6"}})},
		{AppendEcho(nil, RawString(`"7"`), "f6", "61", RawString(`"x"`)),
			Frame{Profile: Profile{ID: "7"}, From: "f6", ToFriend: "61", Payload: "x"}},
	} {
		var got Frame
		if err := json.Unmarshal(tt.in, &got); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v; want %+v", tt.in, got, err, tt.want)
		}
	}
}
