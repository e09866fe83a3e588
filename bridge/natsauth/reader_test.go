package natsauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"imctl/bridge/bridgetest"
	"imctl/bridge/subject"
	"imctl/kv"
)

// read is the answer to a call of a reader.
type read struct {
	Code  int
	Users []map[string]any
	Next  string
	User  map[string]any

	Friends  []struct{ ID, Alias string }
	Requests []struct{ From string }
	Blocked  []string
	Online   []string
	Last     uint64
}

// ask makes a call of a reader or a service.
func ask(t testing.TB, c *bridgetest.Client, name, call, request string) (r read) {
	t.Helper()
	body := c.Ask(t, "im.read."+name+"."+call, request)
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%s: %s: %v", call, body, err)
	}
	for _, secret := range []string{"argon2", "@example.org", "hash", `"mail"`} {
		if strings.Contains(body, secret) {
			t.Errorf("%s: the answer has %s: %s", call, secret, body)
		}
	}
	return r
}

// TestReads makes the calls that read, as a reader and as a service.
func TestReads(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	a, b := s.RegisterFriends(t)
	asks, blocked := s.Register(t), s.Register(t)
	for path, by := range map[string]bridgetest.User{"/im/friends/request": asks} {
		if got := call(t, s, by, "GET", path, map[string]string{"to": a.ID, "note": "hello"}); got != replyBody(200) {
			t.Fatal(got)
		}
	}
	if got := call(t, s, a, "GET", "/im/friends/block", map[string]string{"to": blocked.ID}); got != replyBody(200) {
		t.Fatal(got)
	}
	s.Login(t, b)
	clients := map[string]*bridgetest.Client{
		"directory": s.AsAttachment(t, s.AddAttachment(t, "directory", kv.RoleReader, "")),
		"alerts":    s.AsAttachment(t, s.AddService(t, "alerts", s.Register(t), false)),
	}
	everyone := 5
	for name, c := range clients {
		seen := make(map[string]bool)
		for after, pages := "", 0; ; pages++ {
			r := ask(t, c, name, "users", fmt.Sprintf(`{"after":%q,"limit":2}`, after))
			for _, u := range r.Users {
				seen[u["id"].(string)] = true
			}
			if after = r.Next; after == "" || pages > everyone {
				break
			}
		}
		if len(seen) != everyone || !seen[a.ID] {
			t.Errorf("%s: the pages have %d users", name, len(seen))
		}
		for _, request := range []string{fmt.Sprintf(`{"id":%q}`, a.ID), fmt.Sprintf(`{"account":%q}`, a.Account)} {
			if r := ask(t, c, name, "user", request); r.User["account"] != a.Account || r.User["disabled"] != false || len(r.User) != 9 {
				t.Errorf("%s: user %s: %+v", name, request, r)
			}
		}
		r := ask(t, c, name, "friends", fmt.Sprintf(`{"id":%q}`, a.ID))
		if len(r.Friends) != 1 || r.Friends[0].ID != b.ID || r.Next != "" || len(r.Requests) != 1 || r.Requests[0].From != asks.ID || !slices.Equal(r.Blocked, []string{blocked.ID}) {
			t.Errorf("%s: friends: %+v", name, r)
		}
		if r := ask(t, c, name, "presence", fmt.Sprintf(`{"ids":[%q,%q]}`, a.ID, b.ID)); !slices.Equal(r.Online, []string{b.ID}) {
			t.Errorf("%s: online are %v", name, r.Online)
		}
		if r := ask(t, c, name, "log", ""); r.Code != 200 {
			t.Errorf("%s: log: %+v", name, r)
		}
		for call, request := range map[string]string{
			"user": `{}`, "users": `{"limit":101}`, "presence": `{"ids":["*"]}`, "log": `[]`, "none": `{}`, "befriend": `{}`,
		} {
			if r := ask(t, c, name, call, request); r.Code != 403 {
				t.Errorf("%s: %s %s: code %d, want 403", name, call, request, r.Code)
			}
		}
		if r := ask(t, c, name, "user", fmt.Sprintf(`{"id":%q}`, kv.NewID())); r.Code != 523 {
			t.Errorf("%s: unknown user: code %d", name, r.Code)
		}
	}
}

// TestReadElsewhere checks that an answer to a call that reads goes to its caller alone: neither a reader, which is in
// another account, nor a service can have it published on a subject of others.
func TestReadElsewhere(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	victim, self := s.Register(t), s.Register(t)
	s.AddAttachment(t, "archive", kv.RoleConsumer, "user.>")
	js, err := jetstream.New(s.NC)
	if err != nil {
		t.Fatal(err)
	}
	s.Register(t) // an entry for the archive
	archive, err := js.Consumer(t.Context(), "IM_LOG", "archive")
	if err != nil {
		t.Fatal(err)
	}
	seen, err := s.NC.SubscribeSync("im.user." + victim.ID + ".>")
	if err == nil {
		err = s.NC.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	reader := s.AsAttachment(t, s.AddAttachment(t, "directory", kv.RoleReader, ""))
	service := s.AsAttachment(t, s.AddService(t, "alerts", self, true))
	for name, c := range map[string]*bridgetest.Client{"directory": reader, "alerts": service} {
		for _, reply := range []string{"im.user." + victim.ID + ".notice", subject.Inbox(victim.ID) + ".x", "$JS.API.STREAM.DELETE.KV_im_users",
			"$JS.API.CONSUMER.MSG.NEXT.IM_LOG.archive", "$KV.im_users.user." + victim.ID, "im.service." + name + ".befriend"} {
			for _, call := range []string{"users", "none"} {
				if err := c.PublishRequest("im.read."+name+"."+call, reply, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r := ask(t, c, name, "log", ""); r.Code != 200 { // requests of one connection are received in order
			t.Errorf("%s: %+v", name, r)
		}
	}
	// NATS refuses these replies by itself.
	for _, reply := range []string{"_R_.abcdef.x", "$JS.ACK.IM_LOG.archive.1.1.1.1.0"} {
		if err := reader.PublishRequest("im.read.directory.users", reply, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-reader.Errs:
			if !errors.Is(err, nats.ErrPermissionViolation) && !strings.Contains(strings.ToLower(err.Error()), "reply") {
				t.Errorf("reply %s: %v", reply, err)
			}
		case <-time.After(bridgetest.WaitTimeout):
			t.Errorf("reply %s: it is not refused", reply)
		}
	}
	if err := s.NC.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := seen.Pending(); err != nil || n != 0 {
		t.Errorf("%d messages reached another user, %v", n, err)
	}
	if info, err := archive.Info(t.Context()); err != nil || info.NumPending != 1 || info.Delivered.Consumer != 0 {
		t.Errorf("the archive's state is %+v, %v", info, err)
	}
	if _, err := s.Store.Users.Get(t.Context(), victim.ID); err != nil {
		t.Error(err)
	}
}

// TestReaderFollows checks that a reader gets what happens after it was added to users, friendships and presence, in
// order, and neither dialogues nor sessions, with a standard pull consumer.
func TestReaderFollows(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	reader := s.AsAttachment(t, s.AddAttachment(t, "directory", kv.RoleReader, ""))
	js, err := jetstream.New(reader.Conn)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := js.Consumer(t.Context(), "IM_LOG", "directory")
	if err != nil {
		t.Fatal(err)
	}
	a, b := s.RegisterFriends(t)
	before := ask(t, reader, "directory", "log", "").Last
	here, _ := s.Login(t, a)
	there, _ := s.Login(t, a) // a second session changes nothing
	receiver, _ := s.Login(t, b)
	here.Send(t, dialogue(`"1"`, b.ID, `"hello"`))
	receiver.Want(t, dialogueFrame(`"1"`, a.ID, `"hello"`))
	for _, session := range []*bridgetest.Session{here, there} {
		session.Close(t)
	}
	batch, err := consumer.Fetch(6, jetstream.FetchMaxWait(bridgetest.WaitTimeout))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"user.created." + a.ID, "user.created." + b.ID, "friend.added." + a.ID + "." + b.ID,
		"presence.online." + a.ID, "presence.online." + b.ID, "presence.offline." + a.ID}
	var got []string
	for m := range batch.Messages() {
		got = append(got, strings.TrimPrefix(m.Subject(), "im.log."))
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		if isBefore := len(got) <= 3; isBefore != (meta.Sequence.Stream <= before) {
			t.Errorf("%s has the sequence %d, and the position was %d", m.Subject(), meta.Sequence.Stream, before)
		}
		if err := m.Ack(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the reader got %v, want %v", got, want)
	}
	for _, filter := range []string{"dialogue.>", ">", "session.>", "*.created.>"} {
		if _, _, err := s.Attachments.Add(t.Context(), "other", kv.RoleReader, filter); !errors.Is(err, kv.ErrAttachmentInvalid) {
			t.Errorf("a reader of %s: error %v", filter, err)
		}
	}
}
