package bridge

import (
	"encoding/json"
	"testing"
	"time"

	"imctl/bridge/natstest"
	"imctl/bridge/subject"
	"imctl/bridge/wire"
	"imctl/kv"
)

// TestResumeRenews: a login with a token past half of its life is answered with a new token. The old one stays valid.
func TestResumeRenews(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, t.TempDir(), -1).ClientURL()
	n := startNode(t, url)
	u := n.users(t, "u", 1)[0]
	fresh := n.login(t, u).login.Token
	if got := n.resume(t, u, fresh).login.Token; got != fresh {
		t.Error("a new token was replaced")
	}
	// A token that expires a TTL from now, and was issued longer ago than that. No method of the store writes one.
	old := kv.NewID()
	record, err := json.Marshal(map[string]any{"issued": time.Now().Add(-n.opts.Store.Tokens.TTL() * 12 / 10).UTC(), "session": "s"})
	if err != nil {
		t.Fatal(err)
	}
	key := subject.BucketKeys(subject.Prefix("im").Buckets("").Tokens) + u.ID + "." + kv.TokenHash(old)
	if _, err := natstest.Connect(t, url).Request(key, record, time.Minute); err != nil {
		t.Fatal(err)
	}
	first := n.resume(t, u, old)
	if first.login.Token == old || first.login.Token == "" {
		t.Fatal("the old token was not replaced")
	}
	if second := n.resume(t, u, old).login.Token; second == old || second == first.login.Token {
		t.Error("the second login with the old token was not answered with a new one")
	}
	for what, token := range map[string]string{"old": old, "new": first.login.Token} {
		s := &session{id: u.ID, login: wire.Login{Token: token}}
		if code := n.call(t, s, "/im/friends/found", map[string][]string{"name": {"nobody"}}); code != wire.Success {
			t.Errorf("call with the %s token: got code %d, want 200", what, code)
		}
	}
	if got := n.resume(t, u, first.login.Token).login.Token; got != first.login.Token {
		t.Error("the new token was replaced")
	}
}
