package wire

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// kindOf is the rule of docs/client.md by which a client tells the frames of the server apart.
func kindOf(t *testing.T, frame []byte) string {
	t.Helper()
	var f struct {
		Code *int
		OK   bool
	}
	if err := json.Unmarshal(frame, &f); err != nil {
		t.Fatalf("%s: %v", frame, err)
	}
	switch {
	case f.Code == nil:
		return "dialogue"
	case f.OK && *f.Code != 200 && *f.Code != 202:
		return "news"
	}
	return "answer"
}

// TestFramesAreToldApart: one rule tells all frames apart that docs/asyncapi.yaml has, and all codes.
func TestFramesAreToldApart(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type ref struct {
		Ref string `yaml:"$ref"`
	}
	type operation struct {
		Action   string
		Channel  ref
		Messages []ref
		Reply    *struct{ Messages []ref }
	}
	var doc struct {
		Operations map[string]operation
		Components struct {
			Messages map[string]struct {
				Examples []struct{ Payload any }
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	wants := map[string]string{"deliver": "dialogue", "tell": "news", "endSession": "answer"}
	seen := make(map[string]int)
	check := func(messages []ref, want string) {
		for _, m := range messages {
			name := m.Ref[strings.LastIndexByte(m.Ref, '/')+1:]
			examples := doc.Components.Messages[name].Examples
			if len(examples) == 0 {
				t.Errorf("%s has no example", name)
			}
			for _, e := range examples {
				frame, err := json.Marshal(e.Payload)
				if err != nil {
					t.Fatal(err)
				}
				seen[want]++
				if got := kindOf(t, frame); got != want {
					t.Errorf("%s %s: the rule says %s, want %s", name, frame, got, want)
				}
			}
		}
	}
	for name, o := range doc.Operations {
		switch {
		case o.Channel.Ref != "#/channels/tunnel" || name == "answerLogin":
		case o.Action == "receive" && o.Reply != nil:
			check(o.Reply.Messages, "answer")
		case o.Action == "send" && wants[name] == "":
			t.Errorf("the operation %s is new: what are its frames?", name)
		case o.Action == "send":
			check(o.Messages, wants[name])
		}
	}
	if seen["dialogue"] < 3 || seen["news"] < 10 || seen["answer"] < 4 {
		t.Errorf("examples: %v", seen)
	}
	for _, c := range All() {
		want := "answer"
		if strings.HasPrefix(c.Meaning, "News ") {
			want = "news"
		}
		if got := kindOf(t, AppendReply(nil, c.Code, nil)); got != want {
			t.Errorf("code %d: the rule says %s, want %s", c.Code, got, want)
		}
	}
}

// TestSizesOfFrames: docs/client.md has sizes that a client can rely on, whatever users enter.
func TestSizesOfFrames(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("f", 32)
	// The characters that take most bytes in a frame: those of four bytes, and those that JSON escapes.
	wide := func(n int) string { return strings.Repeat("𝒳", n) }
	const inline = 1024 // bytes of a picture that is no image
	friend := Friend{Profile: Profile{ID: id, ProfileFields: ProfileFields{Name: wide(MaxName), Picture: strings.Repeat(`"`, inline), Sex: wide(MaxSex),
		Birthday: wide(MaxBirthday), Sign: wide(MaxSign)}}, Online: true}
	if n := len(friend.Append(nil)); n >= 5<<10 {
		t.Errorf("a friend has %d bytes", n)
	}
	file, err := json.Marshal(map[string]any{"id": strings.Repeat("f", MaxFileID), "name": strings.Repeat("<", MaxFileName), "type": strings.Repeat("x", MaxFileType), "size": int64(MaxNumber),
		"width": 1 << 20, "height": 1 << 20, "seconds": 1048575.999})
	if err != nil {
		t.Fatal(err)
	}
	const large = 60_000
	payload := `"` + strings.Repeat("x", large) + `"`
	sent := `{"id":"7","toFriend":"` + id + `","payload":` + payload + `}`
	d := KeptDialogue{ID: RawString(`"7"`), From: []byte(id), Payload: RawString(payload), With: []byte(id), N: MaxNumber, At: time.Now(),
		Re: MaxNumber, Deletes: MaxNumber, Edited: true, Deleted: true, File: file}
	if n := len(d.AppendEcho(nil)) - len(sent); n >= 4<<10 {
		t.Errorf("a dialogue has %d bytes more than the frame that sent it", n)
	}
}
