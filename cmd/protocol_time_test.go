package cmd

import (
	"testing"
	"time"
)

// TestTokenExpires checks that a token expires after tokens.ttl, and that its tunnel stays open.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Tokens.TTL = 2 * time.Second }))
	a, b := w.newFriends(t)
	const good = `{"code":200,"found":null,"message":"Success","ok":true}`
	a.login(t)
	a.call(t, "found", "name", fresh("nobody")).want(t, "a new token", good)
	eventually(t, "515", func() bool { return a.call(t, "found", "name", fresh("nobody")).code() == 515 })
	for call, own := range calls {
		a.call(t, call, own...).want(t, call+" with a token of before", replyBody(515))
	}
	if code := a.talk(t, b, "1"); code != 200 {
		t.Errorf("dialogue after the token has expired: got code %d, want 200", code)
	}
	a.login(t)
	a.call(t, "found", "name", fresh("nobody")).want(t, "the next token", good)
}

// TestUnknownAccountTiming checks that the duration of a login does not tell whether the account exists.
func TestUnknownAccountTiming(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, func(c *Config) { c.Passwords.Memory, c.Passwords.Passes = 64*MiB, 4 }))
	p := w.newMember(t, 0)
	refusal := func(account string) time.Duration {
		started := time.Now()
		c := w.dial(t, 0, "/im/login?"+query("account", account, "password", "wrong"))
		c.want(t, replyBody(505))
		return time.Since(started)
	}
	// Alternate, and compare the minimum of each, since other load only adds time. A hash takes much longer than all else.
	known, unknown := time.Hour, time.Hour
	for range 5 {
		known, unknown = min(known, refusal(p.account)), min(unknown, refusal(fresh("nobody")))
	}
	t.Logf("a wrong password is refused in %v, an unknown account in %v", known, unknown)
	if unknown < known/4 || known < unknown/4 {
		t.Errorf("a wrong password is refused in %v, an unknown account in %v", known, unknown)
	}
}
