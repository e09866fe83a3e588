package im

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"imctl/bridge/picture"
	"imctl/bridge/wire"
	"imctl/kv"
)

// answer returns the answer to a login, built in pieces of about size bytes, and fails the test if a piece is much
// larger.
func (f *fixture) answer(t *testing.T, me kv.User, r kv.Roster, push bool, size int) []byte {
	t.Helper()
	a, err := f.friends.Answer(t.Context(), me, r, "token", push, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Append(t.Context(), nil, size/2); err != nil {
		t.Fatal(err)
	}
	a.Rewind()
	var all []byte
	for done := false; !done; {
		var part []byte
		if part, done, err = a.Append(t.Context(), nil, size); err != nil || len(part) == 0 {
			t.Fatalf("a piece of %d bytes, %v", len(part), err)
		}
		if len(part) > 2*size+firstPage*largestPicture {
			t.Errorf("a piece has %d bytes", len(part))
		}
		all = append(all, part...)
	}
	return all
}

const largestPicture = 70 << 10

// TestLoginAnswer: the answer in pieces is the same as the whole one, whatever the sizes of the pictures. With push it
// has addresses of images and no long texts.
func TestLoginAnswer(t *testing.T) {
	t.Parallel()
	f := setUp(t)
	const friends, requests = 70, 30
	jpeg := func(n int) string {
		return "data:image/jpeg;base64," + base64.StdEncoding.EncodeToString([]byte("\xFF\xD8\xFF"+strings.Repeat("j", n)))
	}
	ann := kv.User{ID: kv.NewID(), Account: "ann", Profile: kv.Profile{Name: "Ann", Picture: jpeg(10)}}
	users := []kv.User{ann}
	var r kv.Roster
	var list, pushed []wire.Friend
	var asking []wire.Request
	for i := range friends + requests {
		u := kv.User{ID: kv.NewID(), Account: fmt.Sprint("user", i), Profile: kv.Profile{Name: fmt.Sprint("User ", i), Picture: []string{"", "hello", strings.Repeat("x", 50<<10), jpeg(40 << 10)}[i%4]}}
		if i != 5 && i != friends+5 { // deleted meanwhile
			users = append(users, u)
		}
		if i >= friends {
			r.Requests = append(r.Requests, kv.Request{From: u.ID, Note: "hi"})
			if i != friends+5 {
				asking = append(asking, wire.Request{ID: u.ID, Name: u.Name, To: ann.ID, Note: "hi"})
			}
			continue
		}
		f.online[u.ID] = i%3 == 0
		r.Friends = append(r.Friends, kv.Friend{ID: u.ID, Alias: strings.Repeat("A", i%2)})
		if i != 5 {
			list = append(list, friendOf(u, strings.Repeat("A", i%2), i%3 == 0))
			shown := friendOf(u, strings.Repeat("A", i%2), i%3 == 0)
			shown.Picture = picture.Shown(u.ID, u.Picture)
			pushed = append(pushed, shown)
		}
	}
	for _, restored := range f.store.Users.Restore(t.Context(), users) {
		if restored.Err != nil {
			t.Fatal(restored.Err)
		}
	}
	for _, size := range []int{1, 10 << 10, 256 << 10, 100 << 20} {
		want := wire.NewLogin(ProfileOf(ann), list, asking, "token").Append(nil)
		if got := f.answer(t, ann, r, false, size); string(got) != string(want) {
			t.Errorf("pieces of %d bytes: got %d bytes, want %d", size, len(got), len(want))
		}
		me := ProfileOf(ann)
		me.Picture = picture.Shown(ann.ID, ann.Picture)
		want = wire.NewLogin(me, pushed, asking, "token").Append(nil)
		if got := f.answer(t, ann, r, true, size); string(got) != string(want) || strings.Contains(string(got), "base64") {
			t.Errorf("with push, pieces of %d bytes: got %d bytes, want %d", size, len(got), len(want))
		}
	}
}
