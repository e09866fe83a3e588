package cmd

import (
	"strings"
	"testing"

	"imctl/kv"
)

// TestPageInvite: the link of an invite opens the form of registration with the invite, and the page says why a visitor
// cannot register.
func TestPageInvite(t *testing.T) { anyBrowser(t, "en-US", testPageInvite) }

func testPageInvite(t *testing.T, browser webBrowser) {
	s := start(t, func(c *Config) { c.Registration = "invite" })
	_, secret, err := s.app.backend.store.Invites.Create(t.Context(), kv.Invite{Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	url := s.app.URL() + pagePath
	register := func(b *tab, name string) {
		b.fill("Account", name)
		b.fill("Password", passwordOf(name))
		b.fill("Mail address", strings.ToLower(name)+"@example.org")
		b.press("Create account")
	}
	ann := openTab(t, browser, "ann", url+"#invite="+secret, desk)
	ann.until("document.querySelector('[name=invite]')?.value === " + quote(secret))
	register(ann, "Ann")
	ann.until("count('nav') === 1")
	if hash := ask[string](ann, "location.hash"); hash != "" {
		t.Errorf("the address still has %s", hash)
	}
	bob := openTab(t, browser, "bob", url, phone)
	bob.press("Create account")
	bob.sees("This server needs an invite.")
	register(bob, "Bob")
	bob.until("has('.fault', 'This server needs an invite.')")
	bob.fill("Invite", secret)
	bob.press("Create account")
	bob.sees("This invite is not valid")

	c := *s.app.config
	c.Registration = "closed"
	s.app.Reload(t.Context(), &c)
	eve := openTab(t, browser, "eve", url, phone)
	eve.sees("The administrator creates the accounts here.")
	eve.until("!named('button', 'Create account')")
	eve.navigate("about:blank")
	eve.navigate(url + "#invite=" + secret)
	eve.sees("Registration is closed on this server.")
}
