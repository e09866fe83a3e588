package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"imctl/bridge/bridgetest"
	"imctl/bridge/governor"
	"imctl/bridge/subject"
	"imctl/kv"
)

type fields = map[string]string

// answer is the answer to a call.
type answer struct {
	status   int
	Code     int
	Verified *bool
	Sessions []sessionEntry
}

type sessionEntry struct {
	Session, Address, Agent string
	Issued, Expires         time.Time
	Online, Current         bool
}

// call makes a call of a user over HTTP: a GET without a body if fields is nil.
func call(t testing.TB, s *bridgetest.Server, u bridgetest.User, path string, more fields) answer {
	t.Helper()
	method, address, body := http.MethodGet, s.URL+path+"?"+url.Values{"id": {u.ID}, "token": {u.Token}}.Encode(), []byte(nil)
	if more != nil {
		all := fields{"id": u.ID, "token": u.Token}
		for k, v := range more {
			all[k] = v
		}
		var err error
		if body, err = json.Marshal(all); err != nil {
			t.Fatal(err)
		}
		method, address = http.MethodPost, s.URL+path
	}
	q, err := http.NewRequestWithContext(t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: r.StatusCode}
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %s, %v", path, got, err)
	}
	return a
}

func want(t testing.TB, what string, got answer, code int) {
	t.Helper()
	if got.Code != code {
		t.Errorf("%s: got code %d, want %d", what, got.Code, code)
	}
}

// token stores a token of u whose record has the given fields, and returns u with it. No method of the store does.
func token(t testing.TB, s *bridgetest.Server, u bridgetest.User, record map[string]any) bridgetest.User {
	t.Helper()
	u.Token = kv.NewID()
	s.Secret(u.Token)
	body, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	key := subject.BucketKeys(subject.Prefix("im").Buckets("").Tokens) + u.ID + "." + kv.TokenHash(u.Token)
	if _, err := s.NC.Request(key, body, bridgetest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestStolenToken: a token that a login with the password has not issued just now changes neither password nor mail
// and deletes no account, unless the caller also knows the password.
func TestStolenToken(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	now := time.Now().UTC()
	records := map[string]map[string]any{
		"an old login":     {"issued": now.Add(-11 * time.Minute), "login": now.Add(-11 * time.Minute)},
		"renewed":          {"issued": now, "login": now, "renewed": true},
		"an older version": {"issued": now, "session": "x"},
	}
	for what, record := range records {
		owner := s.Register(t)
		s.Secret("a thief's")
		thief := token(t, s, owner, record)
		for field, value := range map[string]string{"password": "a thief's", "mail": "thief@example.org"} {
			want(t, what+", "+field, call(t, s, thief, "/im/profile/update", fields{field: value}), 505)
			want(t, what+", with a wrong password, "+field, call(t, s, thief, "/im/profile/update", fields{field: value, "old_password": "x"}), 505)
		}
		want(t, what+", delete", call(t, s, thief, "/im/account/delete", fields{}), 505)
		want(t, what+", delete with a wrong password", call(t, s, thief, "/im/account/delete", fields{"password": "x"}), 505)
		u, err := s.Store.Users.Get(t.Context(), owner.ID)
		if err != nil {
			t.Fatal(err)
		}
		want(t, what+", other fields", call(t, s, thief, "/im/profile/update", fields{"sign": "x", "mail": u.Mail}), 200)
		s.Login(t, owner)
		want(t, what+", mail with the password", call(t, s, thief, "/im/profile/update", fields{"mail": "new@example.org", "old_password": owner.Password}), 200)
		want(t, what+", password with the password", call(t, s, thief, "/im/profile/update", fields{"password": owner.Password + "2", "old_password": owner.Password}), 200)
		s.Secret(owner.Password + "2")
		want(t, what+", with the password of before", call(t, s, thief, "/im/profile/update", fields{"mail": "m@example.org", "old_password": owner.Password}), 505)
	}
}

// TestFreshLogin: a client that has just logged in with the password, as clients of the protocol do, needs no
// old_password, but a wrong one is refused.
func TestFreshLogin(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	u := s.Register(t)
	_, login := s.Login(t, u)
	u.Token = login.Token
	s.Secret("the second")
	want(t, "wrong old_password", call(t, s, u, "/im/profile/update", fields{"mail": "a@example.org", "old_password": "x"}), 505)
	want(t, "empty old_password", call(t, s, u, "/im/profile/update", fields{"mail": "a@example.org", "old_password": ""}), 505)
	want(t, "mail", call(t, s, u, "/im/profile/update", fields{"mail": "a@example.org"}), 200)
	want(t, "password", call(t, s, u, "/im/profile/update", fields{"password": "the second"}), 200)
	u.Password = "the second"
	s.Login(t, u)
}

// TestOldPasswordByNATS: a NATS client has no token, and always needs old_password.
func TestOldPasswordByNATS(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{})
	u := s.Register(t)
	c := s.AsUser(t, u)
	s.Secret("the second")
	calls := "im.call." + u.ID + "."
	for _, body := range []string{`{"password":"the second"}`, `{"mail":"a@example.org"}`, `{"password":"the second","old_password":"x"}`} {
		if got := c.Ask(t, calls+"profile", body); !strings.HasPrefix(got, `{"code":505,`) {
			t.Errorf("%s: %s", body, got)
		}
	}
	if got := c.Ask(t, calls+"profile", `{"mail":"a@example.org","old_password":`+strconv.Quote(u.Password)+`}`); !strings.HasPrefix(got, `{"code":200,`) {
		t.Errorf("with old_password: %s", got)
	}
	if got := c.Ask(t, calls+"delete", `{}`); !strings.HasPrefix(got, `{"code":505,`) {
		t.Errorf("delete: %s", got)
	}
	if got := c.Ask(t, calls+"delete", `{"password":`+strconv.Quote(u.Password)+`}`); !strings.HasPrefix(got, `{"code":200,`) {
		t.Errorf("delete with the password: %s", got)
	}
	c.WantClosed(t, "deleted")
	waitUntilDeleted(t, s, u)
}

// TestOldPasswordGuesses: a password that is given as a proof counts, and is not checked over the limit.
func TestOldPasswordGuesses(t *testing.T) {
	t.Parallel()
	s := bridgetest.Start(t, bridgetest.Options{Limits: governor.Options{Passwords: governor.Rate{Events: 2, Per: time.Hour}}})
	u := s.Register(t)
	for range 2 {
		want(t, "a guess", call(t, s, u, "/im/profile/update", fields{"mail": "a@example.org", "old_password": "x"}), 505)
	}
	for path, more := range map[string]fields{
		"/im/profile/update": {"mail": "a@example.org", "old_password": u.Password}, "/im/account/delete": {"password": u.Password},
	} {
		if got := call(t, s, u, path, more); got.status != http.StatusTooManyRequests || got.Code != 403 {
			t.Errorf("%s after two guesses: status %d, code %d", path, got.status, got.Code)
		}
	}
	want(t, "a change without a password", call(t, s, u, "/im/profile/update", fields{"sign": "x"}), 200)
}
