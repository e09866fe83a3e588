package cmd

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// registering returns the body of a registration with these names and values besides a password and a mail.
func registering(fields ...string) string {
	all := map[string]string{"password": "pw-full", "mail": "m"}
	for i := 0; i < len(fields); i += 2 {
		all[fields[i]] = fields[i+1]
	}
	body, _ := json.Marshal(all)
	return string(body)
}

// testNames checks that no account and no name can pass for another one.
func testNames(t *testing.T, w *world) {
	account := fresh("ada-")
	n := strings.TrimPrefix(account, "ada-")
	w.register(t, 0, registering("account", account)).want(t, "account", replyBody(200))
	for what, row := range map[string]struct {
		account string
		want    int
	}{
		"Cyrillic":                {"аda-" + n, 504},
		"full width":              {"ａｄａ-" + n, 504},
		"mathematical":            {"𝐚𝐝𝐚-" + n, 504},
		"another dash":            {"ada‐" + n, 504},
		"zero width space":        {"a\u200bda-" + n, 403},
		"joiner":                  {"a\u200dda-" + n, 403},
		"soft hyphen":             {"ada\u00ad-" + n, 403},
		"Hangul filler":           {"ada-\u3164" + n, 403},
		"Hangul Choseong filler":  {"ada-" + n + "\u115f", 403},
		"halfwidth Hangul filler": {"\uffa0ada-" + n, 403},
		"bidi override":           {"\u202eada-" + n, 403},
		"only invisible":          {"\u3164\u3164" + strings.Repeat("\u115f", int(serial.Add(1))%9), 403},
		"line separator":          {"ada\u2028" + n, 403},
		"emoji sequence":          {"👩\u200d👧" + n, 403},
	} {
		w.register(t, 0, registering("account", row.account)).want(t, what, replyBody(row.want))
		if row.want == 403 {
			w.register(t, 0, registering("account", fresh("name"), "name", row.account)).want(t, what+" in a name", replyBody(map[bool]int{true: 200, false: 403}[what == "emoji sequence"]))
		}
	}
	for what, separator := range map[string]string{"U+2028": "\u2028", "U+2029": "\u2029", "U+0085": "\u0085"} {
		for _, field := range []string{"name", "sex", "birthday", "mail"} {
			w.register(t, 0, registering("account", fresh("line"), field, "a"+separator+"b")).want(t, what+" in "+field, replyBody(403))
		}
	}
	lower, upper := fmt.Sprintf("\uab70%d", serial.Add(1)), ""
	upper = strings.ReplaceAll(lower, "\uab70", "\u13a0")
	w.register(t, 0, registering("account", lower)).want(t, "Cherokee", replyBody(200))
	w.register(t, 0, registering("account", upper)).want(t, "Cherokee in another case", replyBody(504))
	w.entry(t, upper, "pw-full")
	persian := "می\u200cخواهم" + n
	w.register(t, 0, registering("account", persian, "sign", "free\u200b \u202etext")).want(t, "ZWNJ in Persian", replyBody(200))
	w.entry(t, persian, "pw-full")

	two := w.newMembers(t, 2)
	alice, bob := two[0], two[1]
	alice.update(t, `"name":"A\u202ed"`).want(t, "bidi override in a new name", replyBody(403))
	alice.update(t, `"name":"👩\u200d👧"`).want(t, "emoji sequence in a new name", replyBody(200))
	bob.call(t, "request", "to", alice.id, "note", "free\u200b \u202etext").want(t, "request", replyBody(200))
	alice.call(t, "add", "from", bob.id, "name", "B\u200bob").want(t, "invisible character in an alias", replyBody(403))
	alice.call(t, "add", "from", bob.id, "name", "B❤\ufe0f").want(t, "emoji in an alias", replyBody(200))
}

// testAccountsNotListed checks that a refused password does not tell whether the account exists.
func testAccountsNotListed(t *testing.T, w *world) {
	existing := w.newMember(t, 0)
	for _, account := range []string{existing.account, fresh("unlisted")} {
		w.register(t, 0, registering("account", account, "password", strings.Repeat("x", 300))).want(t, "password too long", replyBody(403))
		w.register(t, 0, registering("account", account, "sex", strings.Repeat("x", 300))).want(t, "sex too long", replyBody(403))
		w.register(t, 0, registering("account", account, "password", "")).want(t, "no password", replyBody(502))
		w.register(t, 0, registering("account", account, "mail", "")).want(t, "no mail", replyBody(503))
	}
}

// TestMinLength checks passwords.min_length where a password is set.
func TestMinLength(t *testing.T) {
	t.Parallel()
	w := newWorld(t, start(t, tableSettings, func(c *Config) { c.Passwords.MinLength = 4 }))
	account := fresh("min")
	for password, want := range map[string]int{"": 502, "abc": 403, "u\u0308u\u0308u\u0308": 403} {
		w.register(t, 0, registering("account", account, "password", password)).want(t, fmt.Sprintf("password %q", password), replyBody(want))
	}
	w.register(t, 0, registering("account", account, "password", "abcd")).want(t, "four characters", replyBody(200))
	p := &member{w: w, account: account, password: "abcd"}
	p.login(t)
	p.update(t, `"password":"abc"`).want(t, "three characters in an update", replyBody(403))
	p.login(t)
}
