package identity_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/nats-io/nats.go"

	"imctl/bridge"
	"imctl/bridge/bridgetest"
	"imctl/bridge/identity"
	"imctl/kv"
)

const secret = "0123456789abcdef0123456789abcdef"

// token returns a token of an account that is valid for a time.
func token(t *testing.T, account string, life time.Duration) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(map[string]any{"sub": account, "name": "Name of " + account, "exp": time.Now().Add(life).Unix(),
		"groups": strings.Repeat("x", 1500)}).Serialize() // as long as those of a large issuer
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// start starts a server that asks these modes.
func start(t *testing.T, timeout time.Duration, modes ...string) *bridgetest.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := identity.ReadSecret(file)
	if err != nil {
		t.Fatal(err)
	}
	tokens := identity.NewTokens(identity.TokensOptions{Keys: keys, Log: slog.New(slog.DiscardHandler)})
	return bridgetest.Start(t, bridgetest.Options{Identity: bridge.Identity{Modes: modes, Tokens: tokens, Timeout: timeout, MaxAge: time.Hour}})
}

// post makes a call and returns the code of the answer, and the answer.
func post(t *testing.T, s *bridgetest.Server, path string, fields map[string]string) (code int, answer map[string]any) {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Post(s.URL+path, "application/json", strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	number, _ := answer["code"].(float64)
	return int(number), answer
}

// refused fails the test unless a login is answered with the code.
func refused(t *testing.T, s *bridgetest.Server, account, password string, code int) {
	t.Helper()
	frame := s.OpenSession(t, bridgetest.User{Account: account, Password: password}).Next(t)
	if !strings.HasPrefix(frame, fmt.Sprintf(`{"code":%d,`, code)) {
		t.Errorf("the login of %s is answered %s, want %d", account, frame, code)
	}
}

// TestTokenLogin logs clients in that know only the protocol, with a token in place of the password.
func TestTokenLogin(t *testing.T) {
	t.Parallel()
	s := start(t, 0, "jwt", "builtin")
	bob := s.Register(t)
	ann := bridgetest.User{Account: "ann", Password: token(t, "ann", time.Hour)}
	session, me := s.Login(t, ann)
	s.Secret(ann.Password)
	user, err := s.Store.Users.ByAccount(t.Context(), "ann")
	if err != nil || user.Name != "Name of ann" || user.External.Source != identity.JWT {
		t.Fatalf("the account is %+v, %v", user, err)
	}
	ann.ID, ann.Token = user.ID, me.Token
	s.Befriend(t, ann, bob)
	other, _ := s.Login(t, bob)
	session.Send(t, fmt.Sprintf(`{"id":"1","toFriend":%q,"payload":"hello"}`, bob.ID))
	if frame := other.Next(t); !strings.Contains(frame, `"hello"`) {
		t.Errorf("bob gets %s", frame)
	}
	session.Want(t, `{"code":200,"message":"Success","ok":true,"id":"1"}`)

	refused(t, s, "ann", token(t, "ann", -time.Second), 505)
	refused(t, s, "ann", token(t, "bob", time.Hour), 505)
	refused(t, s, bob.Account, token(t, bob.Account, time.Hour), 505)
	refused(t, s, "ann", "a password", 505)
	if code, _ := post(t, s, "/im/session", map[string]string{"account": "ann", "password": ann.Password}); code != 200 {
		t.Errorf("a ticket by a token: %d", code)
	}
	if code, _ := post(t, s, "/im/session", map[string]string{"account": "ann", "password": token(t, "ann", -time.Second)}); code != 505 {
		t.Errorf("a ticket by an expired token: %d", code)
	}
	byNATS := s.AsUser(t, ann)
	byNATS.WantAnswer(t, "im.call."+ann.ID+".friends", "{}", byNATS.Ask(t, "im.call."+ann.ID+".friends", "{}"))
	if c, err := s.Dial("ann", token(t, "ann", -time.Second)); err == nil {
		c.Close()
		t.Error("NATS admits a client with an expired token")
	}

	auth := map[string]string{"id": ann.ID, "token": ann.Token}
	with := func(name, value string) map[string]string { return map[string]string{"id": auth["id"], "token": auth["token"], name: value} }
	if code, _ := post(t, s, "/im/profile/update", with("password", "new")); code != 527 {
		t.Errorf("a new password: %d", code)
	}
	if code, _ := post(t, s, "/im/account/delete", with("password", "wrong")); code != 505 {
		t.Errorf("the account is deleted with a wrong password: %d", code)
	}
	if err := s.Accounts.SetDisabled(t.Context(), ann.ID, true); err != nil {
		t.Fatal(err)
	}
	session.WantClosed(t, 1008)
	byNATS.WantClosed(t, "the account is disabled")
	refused(t, s, "ann", ann.Password, 505)
	if err := s.Accounts.SetDisabled(t.Context(), ann.ID, false); err != nil {
		t.Fatal(err)
	}
	_, again := s.Login(t, ann)
	auth["token"] = again.Token
	if code, _ := post(t, s, "/im/account/delete", with("password", token(t, "ann", time.Hour))); code != 200 {
		t.Errorf("the account is not deleted: %d", code)
	}
}

// TestDirectoryLogin logs clients in whose passwords a program checks.
func TestDirectoryLogin(t *testing.T) {
	t.Parallel()
	s := start(t, 500*time.Millisecond, "nats")
	bob := s.Register(t)
	ann := bridgetest.User{Account: "ann", Password: "Q4 pencil"}
	s.Secret(ann.Password)
	refused(t, s, "ann", ann.Password, 500) // no program is there

	program := s.AsAttachment(t, s.AddAttachment(t, "directory", kv.RoleAuth, ""))
	if _, err := program.QueueSubscribe("im.auth.login", "directory", func(m *nats.Msg) {
		var q struct{ Account, Password, Address string }
		if err := json.Unmarshal(m.Data, &q); err != nil || q.Address == "" {
			t.Errorf("the request is %s", m.Data)
		}
		answer := `{"result":"no"}`
		switch {
		case q.Account == "hangs":
			return
		case q.Account == "ann" && q.Password == ann.Password:
			answer = `{"result":"yes","account":"Ann","name":"Ann B.","mail":"ann@example.org"}`
		case q.Account != "ann":
			answer = `{"result":"unknown"}`
		}
		if err := m.Respond([]byte(answer)); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := program.Flush(); err != nil {
		t.Fatal(err)
	}
	session, _ := s.Login(t, ann)
	user, err := s.Store.Users.ByAccount(t.Context(), "ann")
	if err != nil || user.Account != "Ann" || user.Mail != "ann@example.org" || user.External.Source != identity.NATS {
		t.Errorf("the account is %+v, %v", user, err)
	}
	ann.ID = user.ID
	s.AsUser(t, ann)
	refused(t, s, "ann", "wrong", 505)
	refused(t, s, "nobody", "wrong", 505)
	refused(t, s, bob.Account, bob.Password, 505) // the server keeps no passwords
	refused(t, s, "hangs", "x", 500)
	if code, _ := post(t, s, "/im/register", map[string]string{"account": "x", "password": "x", "mail": "x@example.org"}); code != 527 {
		t.Errorf("a registration: %d", code)
	}
	program.Close()
	refused(t, s, "ann", ann.Password, 500)
	session.Send(t, `{"id":"1"}`) // the session goes on
	if frame := session.Next(t); !strings.Contains(frame, `"id":"1"`) {
		t.Errorf("the session gets %s", frame)
	}
}
